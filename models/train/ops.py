"""Operations between the matrix products, plain first version (fused kernels follow)."""

from contextlib import contextmanager

import torch
import torch.nn.functional as F

_activation = torch.bfloat16


@contextmanager
def exact():
    """Compute in f32 throughout, for reference figures and parity tests."""
    global _activation
    before, _activation = _activation, torch.float32
    try:
        yield
    finally:
        _activation = before


def to_activation(x):
    """Any float tensor -> the type used between matrix products."""
    return x.to(_activation)


def to_residual(x):
    """Any float tensor -> f32."""
    return x.float()


def rms_norm(x, weight, eps):
    """x f32 -> activation."""
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight).to(_activation)


def layer_norm(x, weight, bias, eps):
    """x f32 -> activation."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps).to(_activation)


def linear(x, weight):
    """Activation [..., in] times weight f32 [out, in] -> activation [..., out]."""
    return torch.matmul(x, weight.to(_activation).t())


def add(x, y, bias=None):
    """Residual stream f32 plus activation (plus bias) -> f32."""
    return x + (y.float() if bias is None else y.float() + bias)


def swiglu(gate_up):
    """Activation [..., 2 * ff] (gate, up) -> silu(gate) * up."""
    gate, up = gate_up.float().chunk(2, -1)
    return (F.silu(gate) * up).to(_activation)


def bias_gelu(x, bias):
    """gelu(x + bias), erf form."""
    return F.gelu(x.float() + bias).to(_activation)


def _rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def attention(qkv, bias, cos, sin, heads, kv_heads, causal):
    """Joined projections [B, N, (heads + 2 kv_heads) * head] -> mixed values [B, N, heads * head].

    Adds the bias, turns pairs (i, i + head/2) of q and k; query head j uses KV head
    j // (heads / kv_heads).
    """
    batch, n, rows = qkv.shape
    head = rows // (heads + 2 * kv_heads)
    x = (qkv.float() + bias).view(batch, n, -1, head).transpose(1, 2)
    q, k, v = x.split([heads, kv_heads, kv_heads], 1)
    q = (_rotate(q, cos, sin) * head**-0.5).to(_activation)
    k, v = _rotate(k, cos, sin).to(_activation), v.to(_activation)
    group = heads // kv_heads
    q = q.reshape(batch, kv_heads, group * n, head)
    scores = torch.matmul(q, k.transpose(2, 3)).float().view(batch, kv_heads, group, n, n)
    if causal:
        ahead = torch.ones(n, n, dtype=torch.bool, device=qkv.device).triu(1)
        scores = scores.masked_fill(ahead, float("-inf"))
    share = scores.softmax(-1).to(_activation).view(batch, kv_heads, group * n, n)
    mixed = torch.matmul(share, v).view(batch, heads, n, head)
    return mixed.transpose(1, 2).reshape(batch, n, heads * head)
