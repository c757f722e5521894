"""Export a checkpoint as the two GGUF files that stock llama.cpp runs: text half and mmproj.

    python3 export.py --checkpoint FILE --out-dir DIR --type f16

A checkpoint is a torch.save'd dictionary: 'config' (Config.to_dict), 'text' and 'vision' (state
dictionaries), 'step'. A checkpoint without 'vision' gives the text file alone.
"""

import argparse
from pathlib import Path

import torch

from config import Config
from gguf_write import BOOL, F32, I32, STRING, TENSOR_TYPES, U32, GgufWriter

NAME = "wattlaw panel"
DESCRIPTION = (
    "Built-in demonstration model of wattlaw: answers questions about drawn instrument panels and "
    "short lists. Trained from nothing by models/train, on generated data only."
)
# ChatML without the usual default system message; an image part becomes the image marker
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class _ModelFile:
    """One file: general keys, and tensors that are 1-D (kept F32) or of the wanted type."""

    def __init__(self, architecture, name, kind):
        self.kind = kind
        self.gguf = GgufWriter()
        self.text("general.architecture", architecture)
        self.text("general.name", name)
        self.text("general.description", DESCRIPTION)
        self.numbers({"general.file_type": TENSOR_TYPES[kind][1]})
        if kind == "q8_0":
            self.numbers({"general.quantization_version": 2})

    def text(self, key, value):
        """Add a text key."""
        self.gguf.key(key, STRING, value)

    def numbers(self, values):
        """Add keys: bool, float or unsigned by the type of each value."""
        kinds = {bool: BOOL, float: F32, int: U32}
        for key, value in values.items():
            self.gguf.key(key, kinds[type(value)], value)

    def tensors(self, tensors, kind=None):
        """Add named tensors; kind overrides the wanted type of matrices."""
        for name, tensor in tensors.items():
            chosen = "f32" if tensor.dim() == 1 else kind or self.kind
            self.gguf.tensor(name, tensor.detach().float().cpu().numpy(), chosen)


def write_text(path, config, weights, tokenizer, kind):
    """The text half: weights is TextModel's state dictionary."""
    c = config
    file = _ModelFile("qwen2vl", NAME, kind)
    a = "qwen2vl."
    file.numbers(
        {
            a + "block_count": c.layers,
            a + "context_length": c.context,
            a + "embedding_length": c.width,
            a + "feed_forward_length": c.ff,
            a + "attention.head_count": c.heads,
            a + "attention.head_count_kv": c.kv_heads,
            a + "attention.layer_norm_rms_epsilon": c.rms_eps,
            a + "rope.freq_base": c.rope_base,
        }
    )
    file.gguf.array(a + "rope.dimension_sections", I32, c.rope_sections)
    _write_tokenizer(file, tokenizer)
    file.tensors(
        {"token_embd.weight": weights["embedding"], "output_norm.weight": weights["output_norm"]}
    )
    for i in range(c.layers):
        file.tensors(_text_block(c, weights, i))
    file.gguf.write(path)


def _write_tokenizer(file, tokenizer):
    t = "tokenizer.ggml."
    end, nothing = tokenizer.id_of("<|im_end|>"), tokenizer.id_of("<|endoftext|>")
    file.text(t + "model", "gpt2")
    file.text(t + "pre", "gpt-2")
    file.gguf.array(t + "tokens", STRING, tokenizer.tokens)
    file.gguf.array(t + "token_type", I32, tokenizer.types)
    file.gguf.array(t + "merges", STRING, tokenizer.merges)
    file.numbers(
        {
            t + "eos_token_id": end,
            t + "bos_token_id": nothing,
            t + "padding_token_id": nothing,
            t + "add_bos_token": False,
        }
    )
    file.text("tokenizer.chat_template", CHAT_TEMPLATE)


def _text_block(c, weights, i):
    """Tensors of one block under the runtime's names."""
    w = {k.split(".", 2)[2]: v for k, v in weights.items() if k.startswith(f"layers.{i}.")}
    sizes = [c.width, c.kv_heads * c.head, c.kv_heads * c.head]
    tensors = {"attn_norm.weight": w["attn_norm"], "ffn_norm.weight": w["ffn_norm"]}
    for name, matrix, bias in zip("qkv", w["qkv"].split(sizes), w["qkv_bias"].split(sizes)):
        tensors[f"attn_{name}.weight"] = matrix
        tensors[f"attn_{name}.bias"] = bias
    gate, up = w["gate_up"].chunk(2)
    tensors |= {
        "attn_output.weight": w["attn_out"],
        "ffn_gate.weight": gate,
        "ffn_up.weight": up,
        "ffn_down.weight": w["ffn_down"],
    }
    return {f"blk.{i}.{name}": tensor for name, tensor in tensors.items()}


def write_vision(path, config, weights, kind):
    """The mmproj file: weights is VisionModel's state dictionary."""
    c = config
    file = _ModelFile("clip", NAME + " mmproj", kind)
    v = "clip.vision."
    file.text("general.type", "mmproj")
    file.text("clip.projector_type", "qwen2vl_merger")
    file.numbers(
        {
            "clip.has_vision_encoder": True,
            "clip.use_gelu": True,
            v + "image_size": int(c.max_cells**0.5) * c.cell,
            v + "patch_size": c.patch,
            v + "embedding_length": c.vision_width,
            v + "feed_forward_length": c.vision_ff,
            v + "block_count": c.vision_layers,
            v + "projection_dim": c.width,
            v + "spatial_merge_size": c.merge,
            v + "attention.head_count": c.vision_heads,
            v + "attention.layer_norm_epsilon": c.vision_eps,
            v + "image_min_pixels": c.image_min_pixels,
            v + "image_max_pixels": c.image_max_pixels,
        }
    )
    file.gguf.array(v + "image_mean", F32, c.image_mean)
    file.gguf.array(v + "image_std", F32, c.image_std)
    # The runtime applies two kernels to the same still image and adds: each gets one half.
    # It refuses quantised ones.
    half = (weights["patch_embed"] / 2).view(c.vision_width, 3, c.patch, c.patch)
    patch_kind = "f32" if kind == "f32" else "f16"
    file.tensors({"v.patch_embd.weight": half, "v.patch_embd.weight.1": half}, patch_kind)
    for norm in ("pre_ln", "post_ln"):
        for part in ("weight", "bias"):
            file.tensors({f"v.{norm}.{part}": weights[f"{norm}_{part}"]})
    for i in range(c.vision_layers):
        file.tensors(_vision_block(weights, i))
    for name, merger in (("mm.0", "merger_in"), ("mm.2", "merger_out")):
        file.tensors({name + ".weight": weights[merger], name + ".bias": weights[merger + "_bias"]})
    file.gguf.write(path)


def _vision_block(weights, i):
    """Tensors of one block under the runtime's names."""
    w = {k.split(".", 2)[2]: v for k, v in weights.items() if k.startswith(f"layers.{i}.")}
    tensors = {}
    for norm in ("ln1", "ln2"):
        tensors[norm + ".weight"] = w[norm + "_weight"]
        tensors[norm + ".bias"] = w[norm + "_bias"]
    for name, matrix, bias in zip("qkv", w["qkv"].chunk(3), w["qkv_bias"].chunk(3)):
        tensors[f"attn_{name}.weight"] = matrix
        tensors[f"attn_{name}.bias"] = bias
    for name, ours in (
        ("attn_out", "attn_out"),
        ("ffn_up", "ffn_up"),
        ("ffn_down", "ffn_down"),
    ):
        tensors[name + ".weight"] = w[ours]
        tensors[name + ".bias"] = w[ours + "_bias"]
    return {f"v.blk.{i}.{name}": tensor for name, tensor in tensors.items()}


def file_names(kind):
    """Names of the text file and of the mmproj file of one type."""
    return f"wattlaw-panel-{kind}.gguf", f"wattlaw-panel-mmproj-{kind}.gguf"


def export(checkpoint, tokenizer, out_dir, kind, names=None):
    """Write what the checkpoint holds; returns the paths written.

    `names` are those of the two files, file_names(kind) if left out.
    """
    config = Config.from_dict(checkpoint["config"])
    if len(tokenizer.tokens) != config.vocab:
        raise ValueError(
            f"the tokenizer has {len(tokenizer.tokens)} tokens, the checkpoint {config.vocab}"
        )
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    text_path, vision_path = (out_dir / name for name in names or file_names(kind))
    write_text(text_path, config, checkpoint["text"], tokenizer, kind)
    if not checkpoint.get("vision"):
        return [text_path]
    write_vision(vision_path, config, checkpoint["vision"], kind)
    return [text_path, vision_path]


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--checkpoint", required=True, help="file that train.py wrote")
    parser.add_argument("--out-dir", required=True, help="folder for the files")
    parser.add_argument("--type", choices=TENSOR_TYPES, default="f16", help="type of the matrices")
    arguments = parser.parse_args()
    from tokenizer import Tokenizer

    checkpoint = torch.load(arguments.checkpoint, map_location="cpu")
    for path in export(checkpoint, Tokenizer.load(), arguments.out_dir, arguments.type):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
