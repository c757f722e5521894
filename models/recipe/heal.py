#!/usr/bin/env python3
"""Heal a compressed model on a machine with a GPU: full distillation from the original.

    python3 heal.py --teacher original.gguf --student small.gguf --out healed.gguf \
        --text text.jsonl --steps 2000

Both files are those that `wattlaw compress` read and wrote; text.jsonl comes from
`wattlaw compress --export-recipe`. All matrices and norms of the student learn to give the
teacher's next-token distribution (Kullback-Leibler divergence); the last twentieth of the text is
held out, and the best weights on it are written. Needs PyTorch and numpy, nothing else. The
student's matrices must be F32, F16, BF16 or Q8_0: compress without --type, heal, then
`wattlaw compress healed.gguf -o q4.gguf --type Q4_K`.

Architectures: llama, deci, qwen2, qwen2vl (its text half), qwen3.
"""

import argparse
import json
import math
import random
import struct
import sys
import time

import numpy
import torch
from torch.nn import functional

FLOAT_TYPES = {0: ('<f4', 1, 4), 1: ('<f2', 1, 2), 30: ('<u2', 1, 2), 8: (None, 32, 34)}
TYPE_NAMES = {0: 'F32', 1: 'F16', 30: 'BF16', 8: 'Q8_0'}
SCALARS = {0: '<B', 1: '<b', 2: '<H', 3: '<h', 4: '<I', 5: '<i', 6: '<f', 7: '<?', 10: '<Q',
           11: '<q', 12: '<d'}
STRING, ARRAY = 8, 9


class Gguf:
    """Keys and tensors of a GGUF file, read from a memory map."""

    def __init__(self, path):
        self.path = path
        self.data = numpy.memmap(path, dtype=numpy.uint8, mode='r')
        self.at = 0
        if bytes(self.data[:4]) != b'GGUF':
            raise ValueError(f'{path} is not a GGUF file')
        self.at = 4
        version, n_tensors, n_keys = self.number('<I'), self.number('<Q'), self.number('<Q')
        if version != 3:
            raise ValueError(f'{path}: expected GGUF version 3, found {version}')
        self.keys = {}
        for _ in range(n_keys):
            name = self.text()
            self.keys[name] = self.value(self.number('<I'))
        self.tensors = {}
        for _ in range(n_tensors):
            name = self.text()
            shape = [self.number('<Q') for _ in range(self.number('<I'))]
            self.tensors[name] = (shape, self.number('<I'), self.number('<Q'))
        alignment = self.keys.get('general.alignment', 32)
        self.start = (self.at + alignment - 1) // alignment * alignment

    def number(self, form):
        size = struct.calcsize(form)
        value = struct.unpack(form, self.data[self.at:self.at + size].tobytes())[0]
        self.at += size
        return value

    def text(self):
        length = self.number('<Q')
        value = self.data[self.at:self.at + length].tobytes().decode('utf-8', 'replace')
        self.at += length
        return value

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            inner, n = self.number('<I'), self.number('<Q')
            return [self.value(inner) for _ in range(n)]
        return self.number(SCALARS[kind])

    def place(self, name):
        """(first byte, number of bytes, type, shape as numpy has it) of a tensor."""
        shape, kind, offset = self.tensors[name]
        if kind not in FLOAT_TYPES:
            raise ValueError(f"{self.path}: '{name}' has a type that cannot be trained; expected "
                             f"{', '.join(TYPE_NAMES.values())}: compress without --type")
        _, per_block, block_bytes = FLOAT_TYPES[kind]
        n = math.prod(shape) // per_block * block_bytes
        return self.start + offset, n, kind, tuple(reversed(shape))

    def tensor(self, name):
        """As a float32 torch tensor; None when there is none."""
        if name not in self.tensors:
            return None
        first, n, kind, shape = self.place(name)
        raw = numpy.array(self.data[first:first + n])
        if kind == 0:
            values = raw.view('<f4')
        elif kind == 1:
            values = raw.view('<f2').astype(numpy.float32)
        elif kind == 30:
            values = (raw.view('<u2').astype(numpy.uint32) << 16).view(numpy.float32)
        else:
            blocks = raw.reshape(-1, 34)
            scales = blocks[:, :2].copy().view('<f2').astype(numpy.float32)
            values = scales * blocks[:, 2:].view(numpy.int8).astype(numpy.float32)
        return torch.from_numpy(numpy.ascontiguousarray(values).reshape(shape).astype('<f4'))


def encode(values, kind):
    """float32 numpy values as the bytes of a tensor type."""
    if kind == 0:
        return values.astype('<f4').tobytes()
    if kind == 1:
        return values.astype('<f2').tobytes()
    if kind == 30:
        bits = values.astype('<f4').view('<u4').astype(numpy.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype('<u2').tobytes()
    blocks = values.reshape(-1, 32)
    scale = numpy.abs(blocks).max(axis=1, keepdims=True) / 127
    inverse = numpy.divide(1, scale, out=numpy.zeros_like(scale), where=scale > 0)
    out = numpy.empty((len(blocks), 34), numpy.uint8)
    out[:, :2] = scale.astype('<f2').view(numpy.uint8)
    out[:, 2:] = numpy.rint(blocks * inverse).astype(numpy.int8).view(numpy.uint8)
    return out.tobytes()


class Model(torch.nn.Module):
    """A decoder as llama.cpp computes it, with the tensors of a GGUF file."""

    KNOWN = ('llama', 'deci', 'qwen2', 'qwen2vl', 'qwen3')

    def __init__(self, gguf, learns):
        super().__init__()
        self.arch = gguf.keys['general.architecture']
        if self.arch not in self.KNOWN:
            raise ValueError(f"{gguf.path}: architecture '{self.arch}' is not known here; "
                             f"expected one of {', '.join(self.KNOWN)}")
        self.layers = self.key(gguf, 'block_count')
        self.heads = self.per_layer(self.key(gguf, 'attention.head_count'))
        self.kv_heads = self.per_layer(self.key(gguf, 'attention.head_count_kv', self.heads))
        # llama.cpp computes qwen2vl with 0, whatever the file says
        self.eps = 0.0 if self.arch == 'qwen2vl' else \
            self.key(gguf, 'attention.layer_norm_rms_epsilon')
        width = self.key(gguf, 'embedding_length')
        head = self.key(gguf, 'attention.key_length', width // max(self.heads))
        self.turn = self.key(gguf, 'rope.dimension_count', head)
        self.base = self.key(gguf, 'rope.freq_base', 10000.0)
        self.has_pairs = self.arch in ('llama', 'deci')
        self.names = {}
        for name in gguf.tensors:
            values = gguf.tensor(name)
            key = name.replace('.', '_')
            self.names[key] = name
            is_fixed = name == 'rope_freqs.weight' or not learns
            self.register_parameter(key, torch.nn.Parameter(values, requires_grad=not is_fixed))

    def key(self, gguf, name, default=None):
        value = gguf.keys.get(f'{self.arch}.{name}', default)
        if value is None:
            raise ValueError(f"{gguf.path}: no key '{self.arch}.{name}'")
        return value

    def per_layer(self, value):
        return value if isinstance(value, list) else [value] * self.layers

    def get(self, name):
        return getattr(self, name.replace('.', '_'), None)

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.get(name)

    def linear(self, x, name):
        return functional.linear(x, self.get(name + '.weight'), self.get(name + '.bias'))

    def rotate(self, x, cosine, sine):
        if self.has_pairs:
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack((a * cosine - b * sine, a * sine + b * cosine), -1).flatten(-2)
        a, b = x.chunk(2, -1)
        return torch.cat((a * cosine - b * sine, a * sine + b * cosine), -1)

    def turns(self, n, device):
        rate = self.base ** (-torch.arange(0, self.turn, 2, device=device).float() / self.turn)
        factors = self.get('rope_freqs.weight')
        rate = rate / factors if factors is not None else rate
        angle = torch.arange(n, device=device).float()[:, None] * rate
        return angle.cos(), angle.sin()

    def attention(self, x, layer, turns):
        heads, kv_heads = self.heads[layer], self.kv_heads[layer]
        block = f'blk.{layer}.'
        if heads == 0:
            return x
        u = self.norm(x, block + 'attn_norm.weight')
        if kv_heads == 0:
            return x + self.linear(u, block + 'attn_output')
        batch, n, _ = x.shape
        q, k, v = (self.linear(u, f'{block}attn_{part}').view(batch, n, -1, self.turn)
                   for part in 'qkv')
        if self.get(block + 'attn_q_norm.weight') is not None:
            q = self.norm(q, block + 'attn_q_norm.weight')
            k = self.norm(k, block + 'attn_k_norm.weight')
        q, k = (self.rotate(t.transpose(1, 2), *turns) for t in (q, k))
        v = v.transpose(1, 2)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.turn)
        mask = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        out = scores.masked_fill(mask, float('-inf')).softmax(-1) @ v
        return x + self.linear(out.transpose(1, 2).reshape(batch, n, -1), block + 'attn_output')

    def forward(self, tokens):
        x = functional.embedding(tokens, self.get('token_embd.weight'))
        turns = self.turns(tokens.shape[1], tokens.device)
        for layer in range(self.layers):
            x = self.attention(x, layer, turns)
            u = self.norm(x, f'blk.{layer}.ffn_norm.weight')
            h = functional.silu(self.linear(u, f'blk.{layer}.ffn_gate')) * \
                self.linear(u, f'blk.{layer}.ffn_up')
            x = x + self.linear(h, f'blk.{layer}.ffn_down')
        x = self.norm(x, 'output_norm.weight')
        head = self.get('output.weight')
        return functional.linear(x, self.get('token_embd.weight') if head is None else head)


def read_text(path, length):
    """Token sequences of a JSON-lines file with "tokens", cut into pieces of at most `length`."""
    pieces = []
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            tokens = json.loads(line)['tokens']
            pieces += [tokens[i:i + length] for i in range(0, len(tokens), length)]
    return [piece for piece in pieces if len(piece) > 1]


def divergence(teacher, student, batch, device):
    """Mean KL of the student from the teacher over the tokens of a batch, and their number."""
    longest = max(map(len, batch))
    tokens = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), longest)
    for row, piece in enumerate(batch):
        tokens[row, :len(piece)] = torch.tensor(piece)
        mask[row, :len(piece)] = 1
    tokens, mask = tokens.to(device), mask.to(device)
    with torch.no_grad():
        p = teacher(tokens).float().log_softmax(-1)
    q = student(tokens).float().log_softmax(-1)
    return ((p.exp() * (p - q)).sum(-1) * mask).sum() / mask.sum(), int(mask.sum())


def judge(teacher, student, pieces, device, size):
    total = count = 0
    with torch.no_grad():
        for i in range(0, len(pieces), size):
            kl, n = divergence(teacher, student, pieces[i:i + size], device)
            total += kl.item() * n
            count += n
    return total / count


def write(student, gguf, weights, path):
    """The student's file again, with the tensors that learnt in their own types."""
    with open(gguf.path, 'rb') as source, open(path, 'wb') as out:
        while chunk := source.read(1 << 24):
            out.write(chunk)
        for key, values in weights.items():
            first, n, kind, _ = gguf.place(student.names[key])
            data = encode(values.float().numpy().reshape(-1), kind)
            if len(data) != n:
                raise ValueError(f"'{student.names[key]}': {len(data)} bytes, expected {n}")
            out.seek(first)
            out.write(data)


def train(arguments):
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    rng = random.Random(arguments.seed)
    pieces = read_text(arguments.text, arguments.length)
    rng.shuffle(pieces)
    n_held_out = max(1, len(pieces) // 20)
    held_out, learnt = pieces[:n_held_out], pieces[n_held_out:]
    source = Gguf(arguments.student)
    teacher = Model(Gguf(arguments.teacher), False).to(device)
    student = Model(source, True).to(device)
    parameters = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=arguments.rate, betas=(0.9, 0.95),
                                  weight_decay=0.0)
    size = max(1, arguments.batch // arguments.length)
    best = first = judge(teacher, student, held_out, device, size)
    kept = {}
    print(f'{device}: {len(learnt)} sequences, held-out KL {first:.4f}', flush=True)
    begin = time.time()
    for step in range(arguments.steps):
        warm = min(1, (step + 1) / (0.05 * arguments.steps + 1))
        fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / arguments.steps))
        for group in optimizer.param_groups:
            group['lr'] = arguments.rate * warm * fall
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == 'cuda'):
            loss, _ = divergence(teacher, student, rng.sample(learnt, min(size, len(learnt))),
                                 device)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % arguments.check == 0 or step + 1 == arguments.steps:
            kl = judge(teacher, student, held_out, device, size)
            print(f'step {step + 1}: loss {loss.item():.4f}, held-out KL {kl:.4f}, '
                  f'{time.time() - begin:.0f} s', flush=True)
            if kl < best:
                best = kl
                kept = {key: p.detach().cpu().clone() for key, p in student.named_parameters()
                        if p.requires_grad}
    if not kept:
        sys.exit('the held-out divergence did not fall: nothing was written')
    write(student, source, kept, arguments.out)
    print(f'{arguments.out}: held-out KL {first:.4f} -> {best:.4f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--teacher', required=True, help='the original GGUF')
    parser.add_argument('--student', required=True, help='the compressed GGUF')
    parser.add_argument('--text', default='text.jsonl', help='from --export-recipe')
    parser.add_argument('--out', required=True, help='GGUF to write')
    parser.add_argument('--steps', type=int, default=2000)
    parser.add_argument('--batch', type=int, default=16384, help='tokens of a step')
    parser.add_argument('--length', type=int, default=512, help='tokens of a sequence')
    parser.add_argument('--rate', type=float, default=1e-4, help='peak learning rate')
    parser.add_argument('--check', type=int, default=100, help='steps between two checks')
    parser.add_argument('--seed', type=int, default=1)
    train(parser.parse_args())


if __name__ == '__main__':
    main()
