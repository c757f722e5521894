"""Operations of the two halves: fused CPU kernels, and plain torch twins of them.

Activations between matrix products are bf16; the residual stream, the parameters and their
gradients are f32. The kernels (kernels/, compiled at first use) are taken for CPU tensors when a
C compiler is there; otherwise, and on a GPU, the twins named *_plain do the same with autograd.
Inside `exact()` everything is f32 and plain.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.autograd import Function

HERE = Path(__file__).resolve().parent
BUILD_DIR = HERE.parents[1] / "build" / "train"
# no -ffast-math: a NaN must stay one; the two flags only free the square root from errno
FLAGS = "-O3 -march=native -fopenmp-simd -fno-math-errno -fno-trapping-math -shared -fPIC".split()
KERNEL_HEAD = 32  # the head size that the attention kernels are written for
KERNEL_LANES = 16  # widths must be whole multiples of it

_activation = torch.bfloat16
_use_kernels = True
_runtime_gelu = False


@contextmanager
def exact(runtime_gelu=False):
    """Compute in f32 throughout, for reference figures and parity tests.

    runtime_gelu: take llama.cpp's GELU, the tanh form by a table from F16 to F16.
    """
    global _activation, _runtime_gelu
    before = _activation, _runtime_gelu
    _activation, _runtime_gelu = torch.float32, runtime_gelu
    try:
        yield
    finally:
        _activation, _runtime_gelu = before


@contextmanager
def plain():
    """Use the twins even where the kernels could be used."""
    global _use_kernels
    before, _use_kernels = _use_kernels, False
    try:
        yield
    finally:
        _use_kernels = before


# ---- the compiled kernels ----


def _cpu_flags():
    """What -march=native depends on, so that a shared folder serves several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _compile():
    """Path of the shared library made from the present kernels/, or None without a compiler."""
    sources = sorted((HERE / "kernels").glob("*.[ch]"))
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        return None
    key = " ".join([*(source.read_text() for source in sources), *FLAGS, _cpu_flags()])
    library = BUILD_DIR / f"kernels-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        BUILD_DIR.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(f".{os.getpid()}.tmp")
        programs = [str(source) for source in sources if source.suffix == ".c"]
        subprocess.run([compiler, *FLAGS, *programs, "-o", str(unfinished), "-lm"], check=True)
        unfinished.replace(library)
    return library


def _keep_memory():
    """Let malloc keep freed memory: else each large activation costs fresh zeroed pages."""
    trim_threshold, mmap_max = -1, -4
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
    except (OSError, AttributeError):
        pass  # not glibc: slower, nothing else


class _Attention(ctypes.Structure):
    """struct attention of kernels/attention.c."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("qkv", "bias", "cos", "sin", "q", "k", "v", "out", "log_sum")
    ] + [
        ("batch", ctypes.c_long),
        ("n", ctypes.c_long),
        ("heads", ctypes.c_int),
        ("kv_heads", ctypes.c_int),
        ("causal", ctypes.c_int),
    ]


_P, _L, _I, _F = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_float
_SIGNATURES = {
    "f32_to_bf16": [_P, _P, _L],
    "bf16_to_f32": [_P, _P, _L],
    "rms_norm_forward": [_P, _P, _P, _P, _L, _I, _F],
    "rms_norm_backward": [_P, _P, _P, _P, _P, _P, _L, _I],
    "layer_norm_forward": [_P, _P, _P, _P, _P, _L, _I, _F],
    "layer_norm_backward": [_P, _P, _P, _P, _P, _P, _P, _L, _I],
    "add_forward": [_P, _P, _P, _P, _L, _I],
    "add_backward": [_P, _P, _P, _L, _I],
    "swiglu_forward": [_P, _P, _L, _I],
    "swiglu_backward": [_P, _P, _P, _L, _I],
    "bias_gelu_forward": [_P, _P, _P, _L, _I],
    "bias_gelu_backward": [_P, _P, _P, _P, _P, _L, _I],
    "attention_forward": [ctypes.POINTER(_Attention)],
    "attention_backward": [ctypes.POINTER(_Attention), _P, _P, _P],
}
_library = None  # None: not tried yet; False: not to be had
_loading = threading.Lock()  # the first use may come from several threads at once


def kernels():
    """The loaded kernels, compiled when needed, or False where there is no compiler."""
    global _library
    if _library is None:
        with _loading:
            if _library is None:
                _library = _load()
    return _library


def _load():
    path = _compile()
    if not path:
        return False
    library = ctypes.CDLL(str(path))
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    _keep_memory()
    return library


def _fused(x, width=KERNEL_LANES):
    """Whether the kernels serve this tensor, whose rows are `width` long."""
    return (
        _use_kernels
        and _activation is torch.bfloat16
        and x.device.type == "cpu"
        and width % KERNEL_LANES == 0
        and bool(kernels())
    )


def _at(tensor):
    """Address of a contiguous tensor, or NULL for None."""
    return None if tensor is None else tensor.data_ptr()


def _rows(x):
    return x.numel() // x.shape[-1]


# ---- between the types ----


def _narrow(x):
    """f32 -> bf16 copy by the kernel."""
    x = x.contiguous()
    y = torch.empty(x.shape, dtype=torch.bfloat16)
    kernels().f32_to_bf16(_at(x), _at(y), x.numel())
    return y


def _widen(x):
    """bf16 -> f32 copy by the kernel."""
    x = x.contiguous()
    y = torch.empty(x.shape)
    kernels().bf16_to_f32(_at(x), _at(y), x.numel())
    return y


class _ToActivation(Function):
    @staticmethod
    def forward(ctx, x):
        return _narrow(x)

    @staticmethod
    def backward(ctx, grad):
        return _widen(grad)


class _ToResidual(Function):
    @staticmethod
    def forward(ctx, x):
        return _widen(x)

    @staticmethod
    def backward(ctx, grad):
        return _narrow(grad)


def to_activation(x):
    """Any float tensor -> the type used between matrix products."""
    if x.dtype is torch.float32 and _fused(x):
        return _ToActivation.apply(x)
    return x.to(_activation)


def to_residual(x):
    """Any float tensor -> f32."""
    if x.dtype is torch.bfloat16 and _fused(x):
        return _ToResidual.apply(x)
    return x.float()


# ---- matrix product ----


class _Linear(Function):
    @staticmethod
    def forward(ctx, x, weight):
        rows = x.reshape(-1, x.shape[-1])
        narrow = _narrow(weight)
        ctx.save_for_backward(rows, narrow)
        return torch.mm(rows, narrow.t()).view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx, grad):
        # transposed operands stay views: the library takes them as fast, a copy would cost half
        rows, narrow = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(grad_rows, narrow).view(*grad.shape[:-1], narrow.shape[1])
        if ctx.needs_input_grad[1]:
            dweight = _widen(torch.mm(grad_rows.t(), rows))
        return dx, dweight


def linear_plain(x, weight):
    """Twin of linear."""
    return torch.matmul(x, weight.to(_activation).t())


def linear(x, weight):
    """Activation [..., in] times weight f32 [out, in] -> activation [..., out], no bias."""
    return _Linear.apply(x, weight) if _fused(x) else linear_plain(x, weight)


# ---- norms ----


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        x = x.contiguous()
        y = torch.empty(x.shape, dtype=torch.bfloat16)
        scale = torch.empty(_rows(x))
        kernels().rms_norm_forward(
            _at(x), _at(weight), _at(y), _at(scale), _rows(x), x.shape[-1], eps
        )
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, scale = ctx.saved_tensors
        grad = grad.contiguous()
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        kernels().rms_norm_backward(
            *map(_at, (grad, x, weight, scale, dx, dweight)), _rows(x), x.shape[-1]
        )
        return dx, dweight, None


def rms_norm_plain(x, weight, eps):
    """Twin of rms_norm."""
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight).to(_activation)


def rms_norm(x, weight, eps):
    """f32 [..., width] -> activation, each row with a root mean square of one, times weight."""
    if _fused(x, x.shape[-1]):
        return _RmsNorm.apply(x, weight, eps)
    return rms_norm_plain(x, weight, eps)


class _LayerNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        x = x.contiguous()
        y = torch.empty(x.shape, dtype=torch.bfloat16)
        stats = torch.empty(_rows(x), 2)
        kernels().layer_norm_forward(
            *map(_at, (x, weight, bias, y, stats)), _rows(x), x.shape[-1], eps
        )
        ctx.save_for_backward(x, weight, stats)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, stats = ctx.saved_tensors
        grad = grad.contiguous()
        dx, dweight, dbias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        kernels().layer_norm_backward(
            *map(_at, (grad, x, weight, stats, dx, dweight, dbias)), _rows(x), x.shape[-1]
        )
        return dx, dweight, dbias, None


def layer_norm_plain(x, weight, bias, eps):
    """Twin of layer_norm."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps).to(_activation)


def layer_norm(x, weight, bias, eps):
    """f32 [..., width] -> activation, each row with mean 0 and deviation 1, times weight + bias."""
    if _fused(x, x.shape[-1]):
        return _LayerNorm.apply(x, weight, bias, eps)
    return layer_norm_plain(x, weight, bias, eps)


# ---- residual stream ----


class _Add(Function):
    @staticmethod
    def forward(ctx, x, y, bias):
        x, y = x.contiguous(), y.contiguous()
        out = torch.empty_like(x)
        kernels().add_forward(*map(_at, (x, y, bias, out)), _rows(x), x.shape[-1])
        ctx.has_bias = bias is not None
        return out

    @staticmethod
    def backward(ctx, grad):
        grad = grad.contiguous()
        dy = torch.empty(grad.shape, dtype=torch.bfloat16)
        dbias = torch.zeros(grad.shape[-1]) if ctx.has_bias else None
        kernels().add_backward(_at(grad), _at(dy), _at(dbias), _rows(grad), grad.shape[-1])
        return grad, dy, dbias


def add_plain(x, y, bias=None):
    """Twin of add."""
    return x + (y.float() if bias is None else y.float() + bias)


def add(x, y, bias=None):
    """Residual stream f32 plus activation (plus bias) -> f32."""
    return _Add.apply(x, y, bias) if _fused(x, x.shape[-1]) else add_plain(x, y, bias)


# ---- activation functions ----


class _Swiglu(Function):
    @staticmethod
    def forward(ctx, gate_up):
        gate_up = gate_up.contiguous()
        ff = gate_up.shape[-1] // 2
        y = torch.empty(*gate_up.shape[:-1], ff, dtype=torch.bfloat16)
        kernels().swiglu_forward(_at(gate_up), _at(y), _rows(gate_up), ff)
        ctx.save_for_backward(gate_up)
        return y

    @staticmethod
    def backward(ctx, grad):
        (gate_up,) = ctx.saved_tensors
        grad, dx = grad.contiguous(), torch.empty_like(gate_up)
        kernels().swiglu_backward(*map(_at, (grad, gate_up, dx)), _rows(grad), grad.shape[-1])
        return dx


def swiglu_plain(gate_up):
    """Twin of swiglu."""
    gate, up = gate_up.float().chunk(2, -1)
    return (F.silu(gate) * up).to(_activation)


def swiglu(gate_up):
    """Activation [..., 2 * ff] (gates, then values) -> silu(gate) * value."""
    if _fused(gate_up, gate_up.shape[-1] // 2):
        return _Swiglu.apply(gate_up)
    return swiglu_plain(gate_up)


class _BiasGelu(Function):
    @staticmethod
    def forward(ctx, x, bias):
        x = x.contiguous()
        y = torch.empty_like(x)
        kernels().bias_gelu_forward(*map(_at, (x, bias, y)), _rows(x), x.shape[-1])
        ctx.save_for_backward(x, bias)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, bias = ctx.saved_tensors
        grad, dx, dbias = grad.contiguous(), torch.empty_like(x), torch.zeros_like(bias)
        kernels().bias_gelu_backward(
            *map(_at, (grad, x, bias, dx, dbias)), _rows(x), x.shape[-1]
        )
        return dx, dbias


def bias_gelu_plain(x, bias):
    """Twin of bias_gelu."""
    if _runtime_gelu:
        return F.gelu((x + bias).half().float(), approximate="tanh").half().float()
    return F.gelu(x.float() + bias).to(_activation)


def bias_gelu(x, bias):
    """gelu(x + bias) in its erf form; the runtime's tanh form differs by less than 5e-4."""
    return _BiasGelu.apply(x, bias) if _fused(x, x.shape[-1]) else bias_gelu_plain(x, bias)


# ---- attention ----


class _FusedAttention(Function):
    @staticmethod
    def forward(ctx, qkv, bias, cos, sin, heads, kv_heads, causal):
        qkv = qkv.contiguous()
        batch, n, _ = qkv.shape
        q = torch.empty(batch, heads, n, KERNEL_HEAD, dtype=torch.bfloat16)
        k = torch.empty(batch, kv_heads, n, KERNEL_HEAD, dtype=torch.bfloat16)
        v = torch.empty_like(k)
        out = torch.empty(batch, n, heads * KERNEL_HEAD, dtype=torch.bfloat16)
        log_sum = torch.empty(batch, heads, n)
        ctx.tensors = (bias, cos.contiguous(), sin.contiguous(), q, k, v, out, log_sum)
        ctx.sizes = (batch, n, heads, kv_heads, causal)
        task = _Attention(_at(qkv), *map(_at, ctx.tensors), *ctx.sizes)
        kernels().attention_forward(ctypes.byref(task))
        # the output must be saved the official way, or it would keep itself alive
        ctx.save_for_backward(out)
        ctx.tensors = (*ctx.tensors[:6], None, log_sum)
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        bias, cos, sin, q, k, v, _, log_sum = ctx.tensors
        batch, n, heads, kv_heads, _ = ctx.sizes
        grad = grad.contiguous()
        dqkv = torch.empty(batch, n, (heads + 2 * kv_heads) * KERNEL_HEAD, dtype=torch.bfloat16)
        dbias = torch.zeros_like(bias)
        pointers = map(_at, (None, bias, cos, sin, q, k, v, out, log_sum))
        task = _Attention(*pointers, *ctx.sizes)
        kernels().attention_backward(ctypes.byref(task), _at(grad), _at(dqkv), _at(dbias))
        return dqkv, dbias, None, None, None, None, None


def _rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def attention_plain(qkv, bias, cos, sin, heads, kv_heads, causal):
    """Twin of attention."""
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


def attention(qkv, bias, cos, sin, heads, kv_heads, causal):
    """Joined projections [B, N, (heads + 2 kv_heads) * head] -> mixed values [B, N, heads * head].

    Adds the bias, turns the pairs (i, i + head/2) of q and k by cos, sin [N, head/2]; query head
    j uses KV head j // (heads / kv_heads).
    """
    head = qkv.shape[-1] // (heads + 2 * kv_heads)
    if head == KERNEL_HEAD and _fused(qkv):
        return _FusedAttention.apply(qkv, bias, cos, sin, heads, kv_heads, causal)
    return attention_plain(qkv, bias, cos, sin, heads, kv_heads, causal)
