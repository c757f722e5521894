"""Fused operations: values and gradients against the plain twins and against f32."""

import os
import sys
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..', 'models', 'train'))

try:
    import torch
    import ops
    from config import Config
    from model import TextModel, VisionModel, patchify, positions, text_rope
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs torch: {missing}')

BF16 = torch.bfloat16


def setUpModule():
    torch.set_num_threads(1)
    if not ops.kernels():
        raise unittest.SkipTest('no C compiler: only the plain twins exist here')


def relative(value, reference):
    return float((value.float() - reference.float()).norm() / (reference.float().norm() + 1e-12))


def shake_vectors(model):
    """Norms and biases away from their start, where mistakes in them do not show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn_like(parameter)


class FirstUse(unittest.TestCase):
    def test_several_threads_at_once_compile_once(self):
        at_once = threading.Barrier(4)

        def load(_):
            at_once.wait()
            return ops.kernels()

        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.object(ops, 'BUILD_DIR', Path(folder) / 'new'), \
                mock.patch.object(ops, '_library', None), \
                ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(load, range(4)))
            self.assertTrue(loaded[0])
            self.assertTrue(all(library is loaded[0] for library in loaded))
            self.assertEqual(len(list((Path(folder) / 'new').iterdir())), 1)


class Twins(unittest.TestCase):
    """Each kernel against its twin, forward and backward, on odd sizes."""

    def setUp(self):
        torch.manual_seed(1)

    def check(self, fused, twin, *inputs, tolerance=0.01):
        results = []
        for function in (fused, twin):
            leaves = [x.clone().requires_grad_() for x in inputs]
            out = function(*leaves)
            torch.manual_seed(2)
            out.backward(torch.randn(out.shape).to(out.dtype))
            results.append([out.detach(), *(leaf.grad for leaf in leaves)])
        for mine, theirs in zip(*results):
            self.assertEqual(mine.dtype, theirs.dtype)
            self.assertLess(relative(mine, theirs), tolerance)

    def test_rms_norm(self):
        self.check(lambda x, w: ops.rms_norm(x, w, 1e-6),
                   lambda x, w: ops.rms_norm_plain(x, w, 1e-6),
                   torch.randn(3, 5, 48) * 3, torch.randn(48))

    def test_layer_norm(self):
        self.check(lambda x, w, b: ops.layer_norm(x, w, b, 1e-6),
                   lambda x, w, b: ops.layer_norm_plain(x, w, b, 1e-6),
                   torch.randn(7, 192) * 3 + 2, torch.randn(192), torch.randn(192))

    def test_linear(self):
        self.check(ops.linear, ops.linear_plain,
                   torch.randn(2, 9, 64).to(BF16), torch.randn(48, 64))

    def test_add(self):
        inputs = torch.randn(2, 9, 64), torch.randn(2, 9, 64).to(BF16)
        self.check(ops.add, ops.add_plain, *inputs)
        self.check(ops.add, ops.add_plain, *inputs, torch.randn(64))

    def test_swiglu(self):
        self.check(ops.swiglu, ops.swiglu_plain, (torch.randn(11, 96) * 4).to(BF16))

    def test_swiglu_of_extreme_gates_is_finite(self):
        gates = torch.tensor([-1e4, -90.0, 90.0, 1e4]).repeat(8).to(BF16)
        values = torch.ones(32).to(BF16)
        out = ops.swiglu(torch.cat((gates, values))[None])
        self.assertTrue(torch.isfinite(out).all())
        self.assertEqual(float(out[0, 3]), float(gates[3]))

    def test_bias_gelu(self):
        self.check(ops.bias_gelu, ops.bias_gelu_plain,
                   (torch.randn(11, 96) * 4).to(BF16), torch.randn(96))

    def test_attention(self):
        for n, heads, kv_heads, causal in ((1, 8, 2, True), (37, 8, 2, True), (130, 4, 2, True),
                                           (16, 6, 6, False), (100, 6, 6, False)):
            with self.subTest(n=n, heads=heads, kv_heads=kv_heads, causal=causal):
                angle = torch.randn(n, 16)
                rows = (heads + 2 * kv_heads) * 32
                self.check(
                    lambda x, b: ops.attention(x, b, angle.cos(), angle.sin(),
                                               heads, kv_heads, causal),
                    lambda x, b: ops.attention_plain(x, b, angle.cos(), angle.sin(),
                                                     heads, kv_heads, causal),
                    torch.randn(2, n, rows).to(BF16), torch.randn(rows), tolerance=0.02)

    def test_attention_of_large_scores_is_finite(self):
        angle = torch.randn(70, 16)
        qkv = (torch.randn(1, 70, 384) * 100).to(BF16).requires_grad_()
        out = ops.attention(qkv, torch.zeros(384), angle.cos(), angle.sin(), 8, 2, True)
        out.sum().backward()
        self.assertTrue(torch.isfinite(out).all() and torch.isfinite(qkv.grad).all())

    def test_causal_attention_never_looks_ahead(self):
        angle = torch.randn(80, 16)
        qkv = torch.randn(1, 80, 384).to(BF16)
        changed = qkv.clone()
        changed[:, 50:] = 3
        outs = [ops.attention(x, torch.zeros(384), angle.cos(), angle.sin(), 8, 2, True)
                for x in (qkv, changed)]
        self.assertTrue(torch.equal(outs[0][:, :50], outs[1][:, :50]))
        self.assertFalse(torch.equal(outs[0][:, 50:], outs[1][:, 50:]))

    def test_odd_sizes_fall_back_to_the_twin(self):
        out = ops.rms_norm(torch.randn(3, 20), torch.ones(20), 1e-6)
        self.assertEqual(out.dtype, BF16)


class WholeModels(unittest.TestCase):
    """bf16 gradients of whole models within a few per cent of f32 ones, matrix by matrix."""

    def check_gradients(self, model, loss):
        gradients = []
        with ops.exact():
            gradients.append(self.gradients_of(model, loss))
        gradients.append(self.gradients_of(model, loss))
        for name in gradients[0]:
            self.assertLess(relative(gradients[1][name], gradients[0][name]), 0.04, name)

    @staticmethod
    def gradients_of(model, loss):
        model.zero_grad(set_to_none=True)
        loss().backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    def test_text(self):
        torch.manual_seed(5)
        model = TextModel(Config(vocab=288, layers=3))
        shake_vectors(model)
        ids = torch.randint(0, 288, (3, 70))
        pos = positions(20, 4, 6, 26)

        def loss():
            h = model.hidden(model.embed(ids), pos)[:, :-1]
            return torch.nn.functional.cross_entropy(model.logits(h).flatten(0, 1),
                                                     ids[:, 1:].flatten())

        self.check_gradients(model, loss)

    def test_vision(self):
        torch.manual_seed(6)
        model = VisionModel(Config(vocab=288, vision_layers=3))
        shake_vectors(model)
        pixels, goal = torch.randn(2, 3, 84, 112), torch.randn(2, 12, 256)
        self.check_gradients(model, lambda: (model(pixels) * goal).mean())


class Layouts(unittest.TestCase):
    def test_positions_of_text_image_text(self):
        expected = [[0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
                    [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
                    [0, 1, 2, 3, 4, 2, 3, 4, 5, 6]]
        self.assertEqual(positions(2, 2, 3, 2).tolist(), expected)
        self.assertEqual(positions(3, 0, 0, 1).tolist(), [[0, 1, 2, 3]] * 3)

    def test_patches_of_a_cell_are_neighbours(self):
        rows, columns = torch.meshgrid(torch.arange(56), torch.arange(84), indexing='ij')
        pixels = torch.stack((rows // 14, columns // 14, torch.zeros_like(rows)))[None].float()
        patches = patchify(pixels, 14, 2)[0].view(-1, 3, 196)[:, :2, 0].int().tolist()
        self.assertEqual(patches[:8], [[0, 0], [0, 1], [1, 0], [1, 1],
                                       [0, 2], [0, 3], [1, 2], [1, 3]])
        self.assertEqual(patches[12], [2, 0])

    def test_a_start_head_looks_back_by_its_offset(self):
        config = Config(vocab=288)
        model = TextModel(config)
        bias = model.layers[0].qkv_bias.detach()
        cos, sin = text_rope(config, positions(40, 0, 0, 0))
        for head in range(config.heads):
            q = ops._rotate(bias[head * 32:(head + 1) * 32].expand(40, 32), cos, sin)
            at = config.width + head // 4 * 32
            k = ops._rotate(bias[at:at + 32].expand(40, 32), cos, sin)
            self.assertEqual(int((q[30] * k[:31]).sum(-1).argmax()), 30 - (1 + head), head)


if __name__ == '__main__':
    unittest.main()
