"""The accuracy table of a checkpoint: every kind, every size, counts that add up."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', '..', 'models', 'train')]

try:
    import batches
    import evaluate
    import panel
    import text_tasks
    import torch
    from small_checkpoint import small_checkpoint
    from tokenizer import Tokenizer
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs numpy, Pillow and torch: {missing}')


class Evaluate(unittest.TestCase):
    def test_every_kind_is_counted(self):
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint, table = (os.path.join(folder, name) for name in ('a.pt', 'a.json'))
            torch.save(small_checkpoint(Tokenizer.load()), checkpoint)
            told = io.StringIO()
            with mock.patch.object(evaluate, 'SIZES', ((84, 84), (250, 190))), \
                    mock.patch.object(batches, 'LENGTH_CLASSES', ((16, 64),)), \
                    contextlib.redirect_stdout(told):
                evaluate.main(['--checkpoint', checkpoint, '--items', '5', '--json', table])
            with open(table, encoding='utf-8') as file:
                found = json.load(file)
        (text,) = found['text']
        self.assertEqual(set(text['kinds']), set(text_tasks.EVAL_KINDS))
        self.assertEqual([one['size'] for one in found['pictures']], [[84, 84], [250, 190]])
        self.assertEqual({n for _, n in text['kinds'].values()}, {5})
        for size in found['pictures']:
            self.assertLessEqual(set(size['kinds']), set(panel.KINDS))
            self.assertEqual(sum(n for _, n in size['kinds'].values()), 5 * len(panel.KINDS))
            self.assertTrue(all(right <= n for right, n in size['kinds'].values()))
        self.assertIn('picture 250x190', told.getvalue())


if __name__ == '__main__':
    unittest.main()
