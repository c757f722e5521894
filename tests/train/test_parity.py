"""Reference figures: what the file holds, and that libllama and libmtmd compute the same."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', '..', 'models', 'train')]

try:
    import export
    import ops
    import parity
    import torch
    from small_checkpoint import small_checkpoint
    from tokenizer import Tokenizer
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs numpy, Pillow and torch: {missing}')

NAMES = 'text.gguf', 'mmproj.gguf'


def comparing_program():
    """The program that runs a pair in llama.cpp, or None where it was not built."""
    program = Path(os.environ.get('WATTLAW_BUILD_DIR', '')) / 'tests' / 'builtin_parity'
    return program if program.exists() else None


class Reference(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.tokenizer = Tokenizer.load()
        cls.checkpoint = small_checkpoint(cls.tokenizer)
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = Path(cls.folder.name) / 'reference.json'
        figures = parity.reference(cls.checkpoint, cls.tokenizer, 'f16', NAMES, n_answers=1)
        parity.write(cls.path, figures)
        cls.figures = json.loads(cls.path.read_text(encoding='utf-8'))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_head(self):
        self.assertEqual(self.figures['format'], 'wattlaw-parity-1')
        self.assertEqual((self.figures['text'], self.figures['mmproj']), NAMES)
        self.assertEqual(self.figures['vocab'], len(self.tokenizer))
        self.assertEqual(self.figures['logit_ids'][-1], len(self.tokenizer) - 1)
        self.assertEqual(len(set(self.figures['logit_ids'])), parity.N_LOGITS)
        self.assertGreater(self.figures['tolerance']['embedding'], 0)

    def test_cases(self):
        for case in self.figures['cases']:
            self.assertEqual(len(case['logits']), parity.N_LOGITS, case['name'])
            self.assertEqual(case['cells'] > 0, bool(case['embedding']), case['name'])
            self.assertGreaterEqual(case['margin'], 0)
        image = next(case for case in self.figures['cases'] if case['image'])
        self.assertEqual(image['cells'], image['image']['width'] * image['image']['height'] // 784)
        self.assertEqual(len(image['embedding']), parity.N_CELLS)
        self.assertEqual(self.tokenizer.tokens[image['before'][-1]], '<|vision_start|>')
        self.assertEqual(self.tokenizer.tokens[image['after'][0]], '<|vision_end|>')

    def test_answers(self):
        text, panel = self.figures['answers']
        self.assertIsNone(text['image'])
        self.assertTrue((parity.TASKS / panel['image']['file']).exists())
        self.assertLessEqual(len(text['answer']), text['limit'])
        self.assertNotIn(self.figures['end'], text['answer'])
        self.assertEqual(self.tokenizer.decode(text['answer']), text['reads'])

    def test_an_answer_is_the_likeliest_continuation(self):
        pair = parity.Pair(self.checkpoint, self.tokenizer, 'f16')
        expected = self.figures['answers'][0]
        ids = expected['before'] + expected['answer']
        pos = parity.positions(len(ids), 0, 0, 0)
        with torch.no_grad(), ops.exact(runtime_gelu=True):
            hidden = pair.text.hidden(pair.text.embed(torch.tensor([ids])), pos)
            best = pair.text.logits(hidden[0]).argmax(-1).tolist()
        start = len(expected['before'])
        self.assertEqual(best[start - 1:start - 1 + len(expected['answer'])], expected['answer'])

    def test_pattern(self):
        pixels = parity.pattern(30, 20)
        self.assertEqual(pixels.shape, (20, 30, 3))
        self.assertEqual(int(pixels[19, 29, 2]), (29 * 7 + 19 * 13 + 2 * 29) & 255)

    def test_items_of_other_kinds_for_pictures(self):
        items = parity.task_items(parity.TASKS / 'panel.jsonl', 6)
        self.assertEqual(len({item['kind'] for item in items}), 6)

    def test_llama_cpp_computes_the_same(self):
        program = comparing_program()
        if not program:
            self.skipTest('builtin_parity was not built ($WATTLAW_BUILD_DIR)')
        for kind in ('f32', 'f16', 'q8_0'):
            with tempfile.TemporaryDirectory() as folder:
                export.export(self.checkpoint, self.tokenizer, folder, kind, NAMES)
                figures = parity.reference(self.checkpoint, self.tokenizer, kind, NAMES, 0)
                parity.write(Path(folder) / 'reference.json', figures)
                done = subprocess.run([program, folder, parity.TASKS], capture_output=True,
                                      text=True, check=False)
                self.assertEqual(done.returncode, 0, f'{kind}: {done.stdout}{done.stderr}')


if __name__ == '__main__':
    unittest.main()
