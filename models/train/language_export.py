"""Export language.py's checkpoint as GGUF files of architecture llama, which stock llama.cpp runs.

    python3 language_export.py            # build/train/language/language-{f32,f16}.gguf
    python3 language_parity.py            # do they compute the same in llama.cpp?

A checkpoint of a training that still runs will do. The curve goes to curves/language.csv.
"""

import argparse
from pathlib import Path

import torch

import language_text
import release
from config import Config
from gguf_write import BOOL, F32, I32, STRING, TENSOR_TYPES, U32, GgufWriter
from tokenizer import END_OF_TEXT, Tokenizer

NAME = "wattlaw language"
DESCRIPTION = (
    "English language model of wattlaw, to try compression on. Trained from nothing by "
    "models/train on free documentation and dictionaries; it continues text and knows no chat."
)
CURVES = Path(__file__).resolve().parent / "curves"


def in_neighbours(rows, n_heads):
    """Rows of a query or key matrix, from pairs (i, i + head/2) to llama's pairs (2i, 2i + 1)."""
    heads = rows.view(n_heads, 2, -1, rows.shape[-1])
    return heads.transpose(1, 2).reshape(rows.shape)


def _keys(config, kind):
    """(name, type, value) of all keys but the vocabulary's."""
    a = "llama."
    return [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, NAME),
        ("general.description", STRING, DESCRIPTION),
        ("general.file_type", U32, TENSOR_TYPES[kind][1]),
        ("general.quantization_version", U32, 2),
        (a + "block_count", U32, config.layers),
        (a + "context_length", U32, config.context),
        (a + "embedding_length", U32, config.width),
        (a + "feed_forward_length", U32, config.ff),
        (a + "attention.head_count", U32, config.heads),
        (a + "attention.head_count_kv", U32, config.kv_heads),
        (a + "attention.layer_norm_rms_epsilon", F32, config.rms_eps),
        (a + "rope.dimension_count", U32, config.head),
        (a + "rope.freq_base", F32, config.rope_base),
        (a + "vocab_size", U32, config.vocab),
    ]


def _write_vocabulary(gguf, tokenizer):
    t = "tokenizer.ggml."
    gguf.key(t + "model", STRING, "gpt2")
    gguf.key(t + "pre", STRING, "gpt-2")
    gguf.array(t + "tokens", STRING, tokenizer.tokens)
    gguf.array(t + "token_type", I32, tokenizer.types)
    gguf.array(t + "merges", STRING, tokenizer.merges)
    for name in ("bos", "eos", "padding"):
        gguf.key(f"{t}{name}_token_id", U32, tokenizer.id_of(END_OF_TEXT))
    gguf.key(t + "add_bos_token", BOOL, False)


def tensors(config, weights):
    """(name, tensor) under the runtime's names; the output matrix is the embedding."""
    c = config
    yield "token_embd.weight", weights["embedding"]
    yield "output_norm.weight", weights["output_norm"]
    sizes = [c.width, c.kv_heads * c.head, c.kv_heads * c.head]
    for i in range(c.layers):
        w = {k.split(".", 2)[2]: v for k, v in weights.items() if k.startswith(f"layers.{i}.")}
        q, k, v = w["qkv"].split(sizes)
        gate, up = w["gate_up"].chunk(2)
        block = {
            "attn_norm": w["attn_norm"],
            "attn_q": in_neighbours(q, c.heads),
            "attn_k": in_neighbours(k, c.kv_heads),
            "attn_v": v,
            "attn_output": w["attn_out"],
            "ffn_norm": w["ffn_norm"],
            "ffn_gate": gate,
            "ffn_up": up,
            "ffn_down": w["ffn_down"],
        }
        for name, tensor in block.items():
            yield f"blk.{i}.{name}.weight", tensor


def export(checkpoint, tokenizer, path, kind):
    """Write the model with its matrices as `kind`."""
    config = Config.from_dict(checkpoint["config"])
    if len(tokenizer) != config.vocab:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the model {config.vocab}")
    if any(v.any() for k, v in checkpoint["text"].items() if k.endswith("qkv_bias")):
        raise ValueError("a llama has no biases, and this checkpoint has")
    gguf = GgufWriter()
    for name, value_kind, value in _keys(config, kind):
        gguf.key(name, value_kind, value)
    _write_vocabulary(gguf, tokenizer)
    for name, tensor in tensors(config, checkpoint["text"]):
        gguf.tensor(name, tensor.float().numpy(), "f32" if tensor.dim() == 1 else kind)
    gguf.write(path)


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=language_text.FOLDER)
    parser.add_argument("--checkpoint", type=Path, help="default: language.pt in the folder")
    parser.add_argument("--type", action="append", choices=TENSOR_TYPES,
                        help="of the matrices; may be repeated (default: f32 and f16)")
    parser.add_argument("--curves", type=Path, default=CURVES, help="folder of the curve")
    options = parser.parse_args(arguments)
    path = options.checkpoint or options.folder / "language.pt"
    checkpoint = torch.load(path, map_location="cpu")
    amount = checkpoint["counters"]["amount"]
    tokenizer = Tokenizer.load(options.folder / "merges.json")
    for kind in options.type or ("f32", "f16"):
        path = options.folder / f"language-{kind}.gguf"
        export(checkpoint, tokenizer, path, kind)
        print(f"{path}: {path.stat().st_size} bytes, {amount} tokens seen")
    log = options.folder / "language.jsonl"
    if log.exists():
        options.curves.mkdir(parents=True, exist_ok=True)
        release.write_curve(log, options.curves / "language.csv")


if __name__ == "__main__":
    main()
