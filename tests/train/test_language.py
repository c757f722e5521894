"""The language model's recipe: what is prose, the split, the vocabulary, resuming, the export."""

import contextlib
import gzip
import io
import os
import struct
import sys
import tempfile
import unittest
import zlib
from pathlib import Path
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', '..', 'models', 'train')]

try:
    import numpy as np
    import torch
    import language
    import language_export
    import language_parity
    import language_text
    import muon
    import ops
    from config import Config
    from test_export import GgufReader
    from tokenizer import END_OF_TEXT, Tokenizer
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs numpy and torch: {missing}')

PROSE = 'The act or process of laying bare the roots of trees to expose them to the air.'
SMALL = Config(vocab=1024, width=64, layers=2, heads=2, kv_heads=1, ff=96, context=512,
               rms_eps=1e-5, lookback_strength=0.0)


class Cleaning(unittest.TestCase):
    def test_prose_stays(self):
        for text in (PROSE, 'Abjurer n. One who abjures, as in a court.',
                     '"It is a truth," he said; "and the others know it as well as I do!"'):
            self.assertTrue(language_text.is_prose(language_text.tidy(text)), text)

    def test_what_is_no_prose_goes(self):
        for text in ('for (i = 0; i < n; i++) { a[i] = b[i] + 1; }', 'Next: Index, Up: Top',
                     'Der Hund liegt vor dem Haus und schläft den ganzen Tag.', 'Too short.',
                     '东京是日本的首都。', '0x1000 0x2000 0x3000 the table of the addresses.', ''):
            self.assertFalse(language_text.is_prose(language_text.tidy(text)), text)

    def test_tidy_makes_ascii_of_types_and_accents(self):
        self.assertEqual(language_text.tidy('\u201cCaf\u00e9\u201d \u2013\n it\u2019s'),
                         '"Cafe" - it\'s')

    def test_a_paragraph_is_kept_once(self):
        cleaner = language_text.Cleaner()
        self.assertEqual(cleaner.clean([PROSE, 'x', PROSE.upper().lower()]), PROSE)
        self.assertEqual(cleaner.clean([PROSE.replace(' ', '  ')]), '')

    def test_split_goes_by_name_and_is_about_its_share(self):
        names = [f'package page {i}' for i in range(6400)]
        held_out = [name for name in names if language_text.is_held_out(name)]
        self.assertEqual(held_out, [n for n in names[::-1] if language_text.is_held_out(n)][::-1])
        self.assertTrue(60 < len(held_out) < 150, len(held_out))


class Readers(unittest.TestCase):
    def paragraphs(self, reader, files):
        """All paragraphs that are prose."""
        cleaner = language_text.Cleaner()
        return [cleaner.clean(paragraphs) for _, paragraphs in reader(files)]

    def test_page(self):
        page = (f'<html><head><title>{PROSE}</title></head><body><nav>{PROSE}</nav><p>It is a '
                f'<em>page</em> of the manual &amp; a good one.</p><pre>{PROSE}</pre></body>')
        files = [('a.html.gz', gzip.compress(page.encode()))]
        got = self.paragraphs(language_text.read_page, files)
        self.assertEqual(got, ['It is a page of the manual & a good one.'])

    def test_pod(self):
        pod = ('=head1 The name of it.\n\nThis is the C<< B<open> >> of\na file in it.\n\n'
               '  code of the.\n')
        got = self.paragraphs(language_text.read_pod, [('a.pod', pod.encode())])
        self.assertEqual(got, ['This is the open of a file in it.'])

    def test_gcide(self):
        text = ('Abjurer \\Ab*jur"er\\ (-[e^]r), n. [L. abjurare to deny\n   upon oath.]\n   One who '
                'abjures, as {in} a court.\n   [1913 Webster]\n\n')
        files = [('g.dict.dz', gzip.compress(text.encode()))]
        got = self.paragraphs(language_text.read_gcide, files)
        self.assertEqual(got, ['Abjurer n. One who abjures, as in a court.'])

    def test_glosses(self):
        line = ('00001740 03 n 02 entity 0 thing_one 1 001 ~ 0001 n 0000 | '
                'that which is known in it  \n')
        files = [('data.noun', (2 * line).encode())]
        got = self.paragraphs(language_text.read_glosses, files)
        self.assertEqual(got, ['entity, thing one: that which is known in it.'])

    def test_sword(self):
        verse = f'<chapter osisID="a.1"/><verse><w x="y">{PROSE}</w><note>the note</note></verse>'
        block = zlib.compress(verse.encode())
        files = [('x/nt.bzs', struct.pack('<3I', 3, len(block), len(verse))),
                 ('x/nt.bzz', b'xyz' + block)]
        self.assertEqual(self.paragraphs(language_text.read_sword, files), [PROSE])


class Vocabulary(unittest.TestCase):
    def test_merges_join_what_is_frequent_and_make_a_tokenizer(self):
        text = ('the cat and the dog and the bird. ' * 50) + PROSE * 5
        merges = language_text.learn_merges(text, 40)
        self.assertEqual(len(merges), 40)
        tokenizer = Tokenizer(merges)
        self.assertEqual(len(tokenizer.encode(' the')), 1)
        self.assertEqual(tokenizer.decode(tokenizer.encode(PROSE)), PROSE)

    def test_merges_are_those_of_counting_anew_every_time(self):
        text = 'abab abc bcbc aab cabab bab ' * 9 + (PROSE + ' ') * 4
        pieces = [p for p in language_text.PIECES.findall(text) if text.count(p) > 3]
        symbols = [[language_text.BYTE_TO_SYMBOL[b] for b in piece.encode()] for piece in pieces]
        for merge in language_text.learn_merges(text, 40):
            counts = {}
            for one in symbols:
                for pair in zip(one, one[1:]):
                    counts[pair] = counts.get(pair, 0) + 1
            best = min(counts, key=lambda pair: (-counts[pair], pair))
            self.assertEqual(merge, ' '.join(best))
            symbols = [language_text._Pairs._joined(one, best) for one in symbols]


def small_folder(folder):
    """A folder as language_text leaves it, of a few kilobytes."""
    words = [w for w in PROSE.lower().strip('.').split()]
    rng = np.random.default_rng(3)
    lines = [' '.join(rng.choice(words, 12)) + '.' for _ in range(400)]
    text = '\n'.join(lines)
    for part, share in (('train', lines), ('heldout', lines[:80])):
        chunks = ['\n'.join(share[i:i + 20]) for i in range(0, len(share), 20)]
        (folder / f'{part}.txt').write_text(''.join(c + f'\n{END_OF_TEXT}\n' for c in chunks))
    merges = language_text.learn_merges(text, 100)
    (folder / 'merges.json').write_text('[' + ','.join(map(language_text.json.dumps, merges)) + ']')
    language_text.write_tokens(folder)


class WithFolder(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for patch in (mock.patch.object(language, 'new_config', lambda vocab: SMALL),
                      mock.patch.object(language, 'ROWS', 4)):
            patch.start()
            self.addCleanup(patch.stop)
        with contextlib.redirect_stdout(io.StringIO()):
            small_folder(self.folder)

    def run_it(self, folder, *arguments):
        with contextlib.redirect_stdout(io.StringIO()):
            language.main(['--folder', str(folder), *arguments])
        return torch.load(folder / 'language.pt', map_location='cpu')


class Training(WithFolder):
    TOKENS = 4 * language.ROW / 1e6  # of one step

    def test_learns_and_goes_on_where_it_was(self):
        other = self.folder / 'other'
        other.mkdir()
        for path in self.folder.glob('*.*'):
            os.link(path, other / path.name)
        whole = self.run_it(self.folder, '--until', str(6 * self.TOKENS))
        self.assertEqual(whole['counters']['step'], 6)
        real, steps = language.learn, []

        def killed(*arguments):
            steps.append(1)
            if len(steps) == 4:
                raise KeyboardInterrupt
            return real(*arguments)

        with mock.patch.object(language, 'learn', killed), \
                mock.patch.object(language, 'CHECKPOINT_SECONDS', -1), \
                self.assertRaises(KeyboardInterrupt):
            self.run_it(other, '--until', str(6 * self.TOKENS))
        resumed = self.run_it(other, '--until', str(6 * self.TOKENS), '--resume')
        self.assertEqual(resumed['counters']['step'], 6)
        for name, value in whole['text'].items():
            self.assertTrue(torch.equal(value, resumed['text'][name]), name)

    def test_a_checkpoint_is_not_overwritten_by_mistake(self):
        self.run_it(self.folder, '--until', str(self.TOKENS))
        with self.assertRaisesRegex(SystemExit, '--resume'):
            self.run_it(self.folder, '--until', str(self.TOKENS))

    def test_workers_share_a_step_without_changing_it(self):
        gradients = []
        for workers in (1, 2):
            torch.manual_seed(5)
            stage = language.LanguageStage(self.folder, SMALL, workers)
            stage.step(np.random.default_rng(1), 4)
            gradients.append(torch.cat([p.grad.flatten() for p in stage.parameters()]))
        difference = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
        self.assertLess(float(difference), 0.02)


class Exporting(WithFolder):
    def test_files_hold_what_the_checkpoint_holds(self):
        checkpoint = self.run_it(self.folder, '--until', '0.001')
        with contextlib.redirect_stdout(io.StringIO()):
            language_export.main(['--folder', str(self.folder), '--curves', str(self.folder)])
        read = GgufReader(self.folder / 'language-f32.gguf')
        self.assertEqual(read.keys['general.architecture'], 'llama')
        self.assertEqual(read.keys['llama.attention.head_count_kv'], 1)
        self.assertEqual(len(read.keys['tokenizer.ggml.tokens']), 1024)
        weights = checkpoint['text']
        np.testing.assert_array_equal(read.tensors['token_embd.weight'][1], weights['embedding'])
        np.testing.assert_array_equal(read.tensors['blk.1.attn_v.weight'][1],
                                      weights['layers.1.qkv'][96:])
        self.assertNotIn('output.weight', read.tensors)
        half = GgufReader(self.folder / 'language-f16.gguf')
        self.assertEqual(half.tensors['blk.0.ffn_down.weight'][0], 1)
        self.assertEqual(half.tensors['blk.0.ffn_norm.weight'][0], 0)

    def test_turning_neighbours_is_turning_halves(self):
        torch.manual_seed(2)
        rows, x, angle = torch.randn(64, 5), torch.randn(5), torch.rand(16)
        halves = (rows @ x).view(2, 2, 16)
        turned = torch.stack((halves[:, 0] * angle.cos() - halves[:, 1] * angle.sin(),
                              halves[:, 1] * angle.cos() + halves[:, 0] * angle.sin()), 1)
        pairs = (language_export.in_neighbours(rows, 2) @ x).view(2, 16, 2)
        want = torch.stack((pairs[..., 0] * angle.cos() - pairs[..., 1] * angle.sin(),
                            pairs[..., 1] * angle.cos() + pairs[..., 0] * angle.sin()), -1)
        torch.testing.assert_close(turned.transpose(1, 2), want)

    def test_biases_are_refused(self):
        checkpoint = self.run_it(self.folder, '--until', '0.001')
        checkpoint['text']['layers.0.qkv_bias'][3] = 1
        with self.assertRaisesRegex(ValueError, 'biases'):
            language_export.export(checkpoint, Tokenizer.load(self.folder / 'merges.json'),
                                   self.folder / 'x.gguf', 'f32')


class Parity(WithFolder):
    """With the programs of llama.cpp where the build has brought them."""

    def test_llama_cpp_computes_the_same(self):
        if not (language_parity.LLAMA / 'llama-perplexity').exists():
            self.skipTest('no llama-perplexity in .deps/bin')
        self.run_it(self.folder, '--until', '0.01')
        with contextlib.redirect_stdout(io.StringIO()) as said, \
                mock.patch.object(language_parity, 'sample', self.long_sample):
            language_export.main(['--folder', str(self.folder), '--curves', str(self.folder)])
            self.assertEqual(language_parity.main(['--folder', str(self.folder)]), 0,
                             said.getvalue())

    def long_sample(self, folder):
        return (folder / 'train.txt').read_text().replace(END_OF_TEXT, '')


class Orthogonal(unittest.TestCase):
    def test_singular_values_become_alike(self):
        torch.manual_seed(4)
        for shape in ((48, 16), (16, 48), (32, 32)):
            values = torch.linalg.svdvals(muon.orthogonalised(torch.randn(shape)).float())
            self.assertGreater(float(values.min()), 0.3)
            self.assertLess(float(values.max()), 1.4)


if __name__ == '__main__':
    unittest.main()
