"""Exported files: readable GGUF, the keys and tensors llama.cpp asks for, true values."""

import os
import string
import struct
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', '..', 'models', 'train')]

try:
    import numpy as np
    import torch
    import export
    import gguf_write
    import ops
    from small_checkpoint import small_checkpoint
    from tokenizer import Tokenizer
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs numpy and torch: {missing}')


class GgufReader:
    """Reads what gguf_write writes, from the format's description and not from the writer."""

    SCALARS = {4: '<I', 5: '<i', 6: '<f', 7: '<?'}

    def __init__(self, path):
        with open(path, 'rb') as file:
            self.data = file.read()
        self.at = 4
        assert self.data[:4] == b'GGUF'
        self.version, n_tensors, n_keys = self.unpack('<IQQ')
        self.keys = {}
        for _ in range(n_keys):
            name = self.text()
            self.keys[name] = self.value(self.unpack('<I')[0])
        infos = [self.info() for _ in range(n_tensors)]
        start = -(-self.at // 32) * 32
        self.tensors = {name: (kind, self.values(shape, kind, start + offset))
                        for name, shape, kind, offset in infos}

    def unpack(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self):
        (length,) = self.unpack('<Q')
        self.at += length
        return self.data[self.at - length:self.at].decode('utf-8')

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, n = self.unpack('<IQ')
            return [self.value(inner) for _ in range(n)]
        return self.unpack(self.SCALARS[kind])[0]

    def info(self):
        name = self.text()
        (n_dims,) = self.unpack('<I')
        shape = self.unpack(f'<{n_dims}Q')[::-1]
        kind, offset = self.unpack('<IQ')
        assert offset % 32 == 0
        return name, shape, kind, offset

    def values(self, shape, kind, at):
        count = int(np.prod(shape))
        if kind == 8:
            block = np.dtype([('scale', '<f2'), ('q', 'i1', 32)])
            blocks = np.frombuffer(self.data, block, count // 32, at)
            return (blocks['scale'].astype(np.float32)[:, None] * blocks['q']).reshape(shape)
        return np.frombuffer(self.data, '<f4' if kind == 0 else '<f2', count, at).reshape(shape)


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.tokenizer = Tokenizer(['t h', 'th e'])
        cls.checkpoint = small_checkpoint(cls.tokenizer)
        cls.folder = tempfile.TemporaryDirectory()
        cls.files = {}
        for kind in gguf_write.TENSOR_TYPES:
            paths = export.export(cls.checkpoint, cls.tokenizer, cls.folder.name, kind)
            cls.files[kind] = [GgufReader(path) for path in paths]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_text_keys(self):
        keys = self.files['f16'][0].keys
        self.assertEqual(keys['general.architecture'], 'qwen2vl')
        self.assertEqual(keys['general.name'], 'wattlaw panel')
        self.assertEqual(keys['general.file_type'], 1)
        self.assertNotIn('general.license', keys)
        self.assertEqual(keys['qwen2vl.rope.dimension_sections'], [2, 5, 9, 0])
        self.assertEqual(keys['qwen2vl.block_count'], 2)
        self.assertEqual(keys['tokenizer.ggml.pre'], 'gpt-2')
        self.assertEqual(len(keys['tokenizer.ggml.tokens']), len(self.tokenizer.tokens))
        self.assertEqual(keys['tokenizer.ggml.merges'], ['t h', 'th e'])
        end = keys['tokenizer.ggml.eos_token_id']
        self.assertEqual(keys['tokenizer.ggml.tokens'][end], '<|im_end|>')
        self.assertEqual(keys['tokenizer.ggml.token_type'][end], 3)
        self.assertIs(keys['tokenizer.ggml.add_bos_token'], False)
        self.assertIn('<|im_start|>', keys['tokenizer.chat_template'])

    def test_vision_keys(self):
        keys = self.files['q8_0'][1].keys
        self.assertEqual(keys['general.architecture'], 'clip')
        self.assertEqual(keys['general.type'], 'mmproj')
        self.assertEqual(keys['clip.projector_type'], 'qwen2vl_merger')
        self.assertEqual(keys['clip.vision.image_max_pixels'], 144 * 784)
        self.assertEqual(keys['clip.vision.image_min_pixels'], 4 * 784)
        self.assertEqual(keys['clip.vision.image_size'], 336)
        self.assertEqual(keys['clip.vision.image_std'], [0.25] * 3)
        self.assertIs(keys['clip.use_gelu'], True)

    def test_tensors_hold_the_weights(self):
        text, vision = self.checkpoint['text'], self.checkpoint['vision']
        expected = {
            'token_embd.weight': text['embedding'],
            'blk.1.attn_k.weight': text['layers.1.qkv'][256:320],
            'blk.1.attn_v.bias': text['layers.1.qkv_bias'][320:],
            'blk.0.ffn_up.weight': text['layers.0.gate_up'][768:],
            'v.patch_embd.weight.1': vision['patch_embed'].view(192, 3, 14, 14) / 2,
            'v.blk.1.attn_v.weight': vision['layers.1.qkv'][384:],
            'v.blk.0.ffn_down.bias': vision['layers.0.ffn_down_bias'],
            'v.post_ln.weight': vision['post_ln_weight'],
            'mm.2.weight': vision['merger_out'],
        }
        for kind, tolerance in (('f32', 0), ('f16', 1e-3), ('q8_0', 0.02)):
            tensors = {**self.files[kind][0].tensors, **self.files[kind][1].tensors}
            for name, values in expected.items():
                stored, values = tensors[name][1], values.numpy()
                self.assertEqual(stored.shape, values.shape, name)
                error = np.abs(stored - values).max() / np.abs(values).max()
                self.assertLessEqual(error, tolerance, (kind, name))

    def test_types_of_tensors(self):
        text, vision = (file.tensors for file in self.files['q8_0'])
        self.assertEqual(text['blk.0.attn_norm.weight'][0], 0)
        self.assertEqual(text['blk.0.attn_q.weight'][0], 8)
        self.assertEqual(vision['v.patch_embd.weight'][0], 1, 'the runtime refuses quantised ones')
        self.assertNotIn('v.patch_embd.bias', vision)
        self.assertNotIn('output.weight', text)

    def test_every_parameter_is_exported(self):
        for half, file in zip(('text', 'vision'), self.files['f32']):
            stored = sum(values.size for _, values in file.tensors.values())
            once = sum(weights.numel() for weights in self.checkpoint[half].values())
            twice = self.checkpoint[half].get('patch_embed', torch.empty(0)).numel()
            self.assertEqual(stored, once + twice)

    def test_text_alone(self):
        alone = {k: v for k, v in self.checkpoint.items() if k != 'vision'}
        with tempfile.TemporaryDirectory() as folder:
            paths = export.export(alone, self.tokenizer, folder, 'f16', ('a.gguf', 'b.gguf'))
            self.assertEqual([path.name for path in paths], ['a.gguf'])

    def test_a_foreign_tokenizer_is_refused(self):
        letters = string.ascii_letters
        foreign = Tokenizer([f'{a} {b}' for a in letters for b in letters])
        self.assertNotEqual(len(foreign.tokens), len(self.tokenizer.tokens))
        with self.assertRaisesRegex(ValueError, 'tokens'):
            export.export(self.checkpoint, foreign, self.folder.name, 'f16')

    def test_q8_0_rejects_part_blocks_and_keeps_zeros(self):
        with self.assertRaisesRegex(ValueError, '32'):
            gguf_write.quantize_q8_0(np.zeros((2, 40), np.float32))
        zeros = gguf_write.quantize_q8_0(np.zeros((2, 64), np.float32))
        self.assertFalse(gguf_write.dequantize_q8_0(zeros).any())

    def test_runtime_gelu_is_near_the_trained_one(self):
        x, bias = torch.linspace(-6, 6, 97), torch.zeros(97)
        with ops.exact():
            trained = ops.bias_gelu(x, bias)
        with ops.exact(runtime_gelu=True):
            runtime = ops.bias_gelu(x, bias)
        self.assertLess(float((trained - runtime).abs().max()), 3e-3)


if __name__ == '__main__':
    unittest.main()
