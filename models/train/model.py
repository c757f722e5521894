"""The two halves of the built-in model, as llama.cpp computes them (qwen2vl, qwen2vl_merger).

Activations between matrix products are bf16 and the residual stream is f32, except inside
`ops.exact()`, where all is f32. Layouts and position codes must stay those of the runtime:
a change here that training does not notice makes the exported file compute something else.
"""

import math

import torch
from torch import nn

import ops


def positions(n_before, grid_h, grid_w, n_after):
    """Position codes int64 [3, N] (time, row, column) of text, image cells and text again.

    Cells are in raster order. An image takes max(grid_h, grid_w) positions, not its cell count.
    """
    before = torch.arange(n_before).expand(3, n_before)
    cell = torch.arange(grid_h * grid_w)
    image = torch.stack((torch.zeros_like(cell), cell // max(grid_w, 1), cell % max(grid_w, 1)))
    start_after = n_before + max(grid_h, grid_w)
    after = (start_after + torch.arange(n_after)).expand(3, n_after)
    return torch.cat((before, n_before + image, after), 1)


def normal(rows, columns, gain=1.0):
    """A matrix parameter that keeps the variance of its input, times gain squared."""
    return nn.Parameter(torch.randn(rows, columns) * (gain / math.sqrt(columns)))


class TextLayer(nn.Module):
    """One transformer block of the text half; matrices of one input are kept joined."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        out_gain = 1 / math.sqrt(2 * config.layers)
        self.attn_norm = nn.Parameter(torch.ones(config.width))
        self.qkv = normal(config.qkv_rows, config.width)
        self.qkv_bias = nn.Parameter(torch.zeros(config.qkv_rows))
        self.attn_out = normal(config.width, config.width, out_gain)
        self.ffn_norm = nn.Parameter(torch.ones(config.width))
        self.gate_up = normal(2 * config.ff, config.width)
        self.ffn_down = normal(config.width, config.ff, out_gain)

    def forward(self, x, cos, sin):
        """x f32 [B, N, width] -> the same after attention and feed-forward."""
        c = self.config
        qkv = ops.linear(ops.rms_norm(x, self.attn_norm, c.rms_eps), self.qkv)
        mixed = ops.attention(qkv, self.qkv_bias, cos, sin, c.heads, c.kv_heads, causal=True)
        x = ops.add(x, ops.linear(mixed, self.attn_out))
        gate_up = ops.linear(ops.rms_norm(x, self.ffn_norm, c.rms_eps), self.gate_up)
        return ops.add(x, ops.linear(ops.swiglu(gate_up), self.ffn_down))


class TextModel(nn.Module):
    """Decoder with tied embeddings; works on embeddings, so image cells can be mixed in."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.vocab, config.width) * 0.05)
        self.layers = nn.ModuleList(TextLayer(config) for _ in range(config.layers))
        self.output_norm = nn.Parameter(torch.ones(config.width))
        start_lookback(self)

    def embed(self, ids):
        """Token ids [B, N] -> f32 [B, N, width]."""
        return nn.functional.embedding(ids, self.embedding)

    def hidden(self, x, pos):
        """Embeddings f32 [B, N, width] and positions int64 [3, N] -> f32 after output_norm."""
        cos, sin = text_rope(self.config, pos)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return ops.rms_norm(x, self.output_norm, self.config.rms_eps).float()

    def logits(self, h):
        """Outputs of hidden, [..., width] -> f32 [..., vocab]."""
        return ops.linear(ops.to_activation(h), self.embedding).float()


def text_rope(config, pos):
    """Cosines and sines f32 [N, head/2]; each pair follows the time, row or column position."""
    half = config.head // 2
    frequency = config.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    axis = [axis for axis, n in enumerate(config.rope_sections) for _ in range(n)]
    angle = pos[axis].t().float() * frequency.to(pos.device)
    return angle.cos(), angle.sin()


@torch.no_grad()
def start_lookback(model):
    """Set q and k biases so that early heads look back a fixed number of tokens from step 0.

    Without it such heads take very long to form, and content matching needs them. A pair that
    turns by a per token scores cos(a * (distance - offset)): the sum peaks at the offset.
    """
    c = model.config
    if not c.lookback_strength:
        return
    half = c.head // 2
    turn = c.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    strength = c.lookback_strength * (turn > 0.05)  # slower pairs cannot tell near offsets apart
    group = c.heads // c.kv_heads
    plan = [(0, c.heads, c.lookback_first), (1, group, c.lookback_second)]
    for index, n_heads, n_offsets in plan[: c.layers]:
        layer = model.layers[index]
        for head in range(n_heads):
            offset = 1 + head % n_offsets
            rows = slice(head * c.head, (head + 1) * c.head)
            layer.qkv_bias[rows] = torch.cat(
                (strength * torch.cos(offset * turn), -strength * torch.sin(offset * turn))
            )
            layer.qkv[rows] *= 0.3  # content must not drown the pattern
        for kv_head in range(n_heads // group):
            rows = slice(c.width + kv_head * c.head, c.width + (kv_head + 1) * c.head)
            layer.qkv_bias[rows] = torch.cat((strength, torch.zeros(half)))
            layer.qkv[rows] *= 0.3


class VisionLayer(nn.Module):
    """One transformer block of the vision half: full attention, GELU feed-forward."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        width, ff = config.vision_width, config.vision_ff
        out_gain = 1 / math.sqrt(2 * config.vision_layers)
        self.ln1_weight = nn.Parameter(torch.ones(width))
        self.ln1_bias = nn.Parameter(torch.zeros(width))
        self.qkv = normal(3 * width, width)
        self.qkv_bias = nn.Parameter(torch.zeros(3 * width))
        self.attn_out = normal(width, width, out_gain)
        self.attn_out_bias = nn.Parameter(torch.zeros(width))
        self.ln2_weight = nn.Parameter(torch.ones(width))
        self.ln2_bias = nn.Parameter(torch.zeros(width))
        self.ffn_up = normal(ff, width)
        self.ffn_up_bias = nn.Parameter(torch.zeros(ff))
        self.ffn_down = normal(width, ff, out_gain)
        self.ffn_down_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x, cos, sin):
        """x f32 [B, patches, width] -> the same after attention and feed-forward."""
        c = self.config
        heads = c.vision_heads
        qkv = ops.linear(ops.layer_norm(x, self.ln1_weight, self.ln1_bias, c.vision_eps), self.qkv)
        mixed = ops.attention(qkv, self.qkv_bias, cos, sin, heads, heads, causal=False)
        x = ops.add(x, ops.linear(mixed, self.attn_out), self.attn_out_bias)
        normed = ops.layer_norm(x, self.ln2_weight, self.ln2_bias, c.vision_eps)
        up = ops.bias_gelu(ops.linear(normed, self.ffn_up), self.ffn_up_bias)
        return ops.add(x, ops.linear(up, self.ffn_down), self.ffn_down_bias)


class VisionModel(nn.Module):
    """Image encoder with the 2x2 merger: one output vector per cell of 28x28 pixels."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        width = config.vision_width
        merged = width * config.merge**2
        self.patch_embed = normal(width, 3 * config.patch**2)
        self.pre_ln_weight = nn.Parameter(torch.ones(width))
        self.pre_ln_bias = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.vision_layers))
        self.post_ln_weight = nn.Parameter(torch.ones(width))
        self.post_ln_bias = nn.Parameter(torch.zeros(width))
        self.merger_in = normal(merged, merged)
        self.merger_in_bias = nn.Parameter(torch.zeros(merged))
        self.merger_out = normal(config.width, merged)
        self.merger_out_bias = nn.Parameter(torch.zeros(config.width))

    def forward(self, pixels):
        """Normalised pixels f32 [B, 3, H, W] -> f32 [B, cells, width], cells in raster order."""
        return self.project(self.merged(pixels))

    def merged(self, pixels):
        """Pixels -> input of the last matrix [B, cells, 4 * vision_width] (for refitting it)."""
        c = self.config
        patches = ops.to_activation(patchify(pixels, c.patch, c.merge))
        x = ops.to_residual(ops.linear(patches, self.patch_embed))
        # the runtime keeps the stream after this norm, so it must be f32 here as well
        x = ops.to_residual(
            ops.layer_norm(x, self.pre_ln_weight, self.pre_ln_bias, c.vision_eps)
        )
        cos, sin = vision_rope(c, pixels.shape[2] // c.patch, pixels.shape[3] // c.patch)
        cos, sin = cos.to(pixels.device), sin.to(pixels.device)
        for layer in self.layers:
            x = layer(x, cos, sin)
        x = ops.layer_norm(x, self.post_ln_weight, self.post_ln_bias, c.vision_eps)
        x = x.view(x.shape[0], -1, c.merge**2 * c.vision_width)
        return ops.bias_gelu(ops.linear(x, self.merger_in), self.merger_in_bias)

    def project(self, merged):
        """Output of merged -> f32 [B, cells, width]."""
        return ops.linear(merged, self.merger_out).float() + self.merger_out_bias


def patchify(pixels, patch, merge):
    """Pixels [B, 3, H, W] -> [B, patches, 3 * patch**2], the patches of one cell side by side.

    Cells are in raster order and patches inside a cell are row by row, so that merging a cell
    is a plain reshape. A patch is laid out as colour, row, column.
    """
    batch, colours, height, width = pixels.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    x = pixels.reshape(batch, colours, rows, merge, patch, columns, merge, patch)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)
    return x.reshape(batch, rows * columns * merge**2, colours * patch**2)


def vision_rope(config, grid_h, grid_w):
    """Cosines and sines f32 [patches, head/2] in the order of patchify: row pairs, column pairs.

    grid_h and grid_w count patches.
    """
    quarter, m = config.vision_head // 4, config.merge
    frequency = config.vision_rope_base ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
    cells = (grid_h // m, grid_w // m, m, m)
    row = torch.arange(grid_h).view(grid_h // m, 1, m, 1).expand(cells).reshape(-1, 1)
    column = torch.arange(grid_w).view(1, grid_w // m, 1, m).expand(cells).reshape(-1, 1)
    angle = torch.cat((row * frequency, column * frequency), 1)
    return angle.cos(), angle.sin()
