"""The release script: all files of the models' folder, and the learning curves as tables."""

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', '..', 'models', 'train')]

try:
    import parity
    import release
    import torch
    from small_checkpoint import small_checkpoint
    from tokenizer import Tokenizer
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs numpy, Pillow and torch: {missing}')

FILES = {'builtin.gguf', 'mmproj-builtin.gguf', 'builtin-q8_0.gguf', 'mmproj-builtin-q8_0.gguf',
         'reference.json'}


def figures(*_arguments, **_options):
    """Stands in for parity.reference, which has tests of its own."""
    return {'format': 'test', 'cases': [], 'answers': []}


class Models(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.checkpoint = small_checkpoint(Tokenizer.load())

    def run_it(self):
        path = self.folder / 'join.pt'
        torch.save(self.checkpoint, path)
        arguments = ['--checkpoint', str(path), '--out', str(self.folder / 'models'),
                     '--curves', str(self.folder / 'curves')]
        with mock.patch.object(parity, 'reference', figures), \
                contextlib.redirect_stdout(io.StringIO()):
            release.main(arguments)

    def test_files(self):
        (self.folder / 'join.jsonl').write_text('{"step": 1, "amount": 2, "rate": 0.1}\n')
        self.run_it()
        models = {path.name: path.stat().st_size for path in (self.folder / 'models').iterdir()}
        self.assertEqual(set(models), FILES)
        self.assertLess(models['builtin-q8_0.gguf'], 0.6 * models['builtin.gguf'])
        self.assertEqual(json.loads((self.folder / 'models' / 'reference.json').read_text()),
                         figures())
        self.assertTrue((self.folder / 'curves' / 'join.csv').exists())
        self.assertEqual({path.name for path in self.folder.iterdir()},
                         {'join.pt', 'join.jsonl', 'models', 'curves'}, 'nothing is left over')

    def test_half_a_checkpoint_is_refused(self):
        del self.checkpoint['vision']
        with self.assertRaisesRegex(SystemExit, 'join'):
            self.run_it()
        self.assertFalse((self.folder / 'models').exists())


class Curves(unittest.TestCase):
    def table(self, reports):
        with tempfile.TemporaryDirectory() as folder:
            log, out = Path(folder) / 'text.jsonl', Path(folder) / 'text.csv'
            log.write_text(''.join(json.dumps(report) + '\n' for report in reports))
            with contextlib.redirect_stdout(io.StringIO()):
                release.write_curve(log, out)
            with open(out, encoding='utf-8', newline='') as file:
                return list(csv.DictReader(file))

    def test_columns(self):
        rows = self.table([{'step': 1, 'ind': 0.25, 'rate': 0.001, 'loss': 6.5},
                           {'step': 2, 'status': 1.0, 'rate': 0.002, 'loss': 5.123456}])
        self.assertEqual(list(rows[0]), ['step', 'amount', 'cpu_seconds', 'rate', 'loss', 'ind',
                                         'status'])
        self.assertEqual([row['ind'] for row in rows], ['0.25', ''])
        self.assertEqual(rows[1]['loss'], '5.1235')

    def test_long_logs_are_thinned(self):
        rows = self.table([{'step': step} for step in range(1, 1001)])
        self.assertEqual(len(rows), release.CURVE_ROWS)
        self.assertEqual((rows[0]['step'], rows[-1]['step']), ('1', '1000'))

    def test_steps_done_again_after_a_kill_count_once(self):
        rows = self.table([{'step': step, 'loss': loss} for step, loss in
                           ((10, 1.0), (20, 2.0), (30, 3.0), (15, 4.0), (25, 5.0))])
        self.assertEqual([row['loss'] for row in rows], ['1', '4', '5'])


if __name__ == '__main__':
    unittest.main()
