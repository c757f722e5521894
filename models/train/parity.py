"""Write reference figures that a test of the runtime compares with libllama and libmtmd.

    python3 parity.py --checkpoint FILE --type f16 --out FILE.json

All is computed in f32 from the weights as the exported file of that type holds them, with the
runtime's own GELU (tanh form, input and output rounded to F16). The file is one JSON object:

    format     "wattlaw-parity-1"
    type       "f32", "f16" or "q8_0": the files it belongs to
    vocab      number of logits of the model
    tolerance  {"logits": largest absolute difference to accept, "embedding": the same}, for the
               runtime's default context (F16 KV cache, flash attention on); it follows the
               scale of this model's figures
    cases      list of objects:
      name       for messages
      before     token ids before the image (for a text case: all of them)
      image      null, or {"width", "height"} in pixels, multiples of the cell's 28; the value of
                 pixel x, y, colour c (0 red, 1 green, 2 blue) is (x * 7 + y * 13 + c * 29) & 255
      after      token ids after the image
      cells      number of image tokens (0 for text)
      embedding  list of {"cell": index in raster order, "values": the first 8 values of that
                 cell's output of the image encoder}; empty for text
      logits     the first 32 logits after the last token
      argmax     id of the largest logit
      margin     how far the second largest lies below it: compare argmax only where this is more
                 than twice the tolerance

A reader decodes `before`, the image's embeddings and `after` in turn. `before` ends with
<|vision_start|> and `after` begins with <|vision_end|>, as libmtmd's text chunks have them.
"""

import argparse
import json

import torch

import export
import ops
from config import Config
from gguf_write import TENSOR_TYPES, dequantize_q8_0, quantize_q8_0
from model import TextModel, VisionModel, positions

N_LOGITS, N_VALUES, N_CELLS = 32, 8, 4
IMAGE_SIZES = ((56, 56), (112, 84), (84, 140), (336, 336))
QUESTION = "What number is shown?"
LIST = "pump 7: 42\nvalve 3: 18\nfan 2: stopped\nWhat is the value of pump 7?"
# Share of the largest logit or embedding value; three or more times what random weights showed.
# Q8_0 differs by more because the runtime rounds the activations to 8 bits as well.
TOLERANCE = {
    "f32": {"logits": 0.005, "embedding": 0.003},
    "f16": {"logits": 0.005, "embedding": 0.003},
    "q8_0": {"logits": 0.05, "embedding": 0.05},
}


def pattern(width, height):
    """The test image, uint8 [height, width, 3]."""
    y = torch.arange(height).view(-1, 1, 1) * 13
    x = torch.arange(width).view(1, -1, 1) * 7
    return ((x + y + torch.arange(3) * 29) & 255).to(torch.uint8)


def normalised(image, config):
    """uint8 [height, width, 3] -> f32 [1, 3, height, width] as the encoder gets it."""
    mean, std = torch.tensor(config.image_mean), torch.tensor(config.image_std)
    return ((image.float() / 255 - mean) / std).permute(2, 0, 1)[None]


def as_stored(weights, kind):
    """Weights rounded as the exported file of this type holds them."""
    return {name: _rounded(name, tensor.float(), kind) for name, tensor in weights.items()}


def _rounded(name, tensor, kind):
    if tensor.dim() == 1 or kind == "f32":
        return tensor
    if kind == "f16" or name == "patch_embed":
        return tensor.half().float()
    return torch.from_numpy(dequantize_q8_0(quantize_q8_0(tensor.numpy())))


def load_models(checkpoint, kind):
    """Both halves with their weights rounded."""
    config = Config.from_dict(checkpoint["config"])
    text, vision = TextModel(config), VisionModel(config)
    text.load_state_dict(as_stored(checkpoint["text"], kind))
    vision.load_state_dict(as_stored(checkpoint["vision"], kind))
    return text, vision


def prompts(tokenizer):
    """(name, ids before, image size or None, ids after) of every case."""
    start, end = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    encode = tokenizer.encode
    cases = [("short text", encode(start + "Hello." + end), None, [])]
    cases.append(("list", encode(start + LIST + end), None, []))
    for width, height in IMAGE_SIZES:
        before = encode(start + "<|vision_start|>")
        after = encode("<|vision_end|>" + QUESTION + end)
        cases.append((f"image {width}x{height}", before, (width, height), after))
    return cases


@torch.no_grad()
def run_case(text, vision, case):
    """Reference figures of one case, and the scales {"logits", "embedding"} of its figures."""
    name, before, size, after = case
    x, grid, embedding = text.embed(torch.tensor([before])), (0, 0), []
    cells, scales = 0, {"embedding": 0.0}
    if size:
        image = vision(normalised(pattern(*size), vision.config))
        cells = image.shape[1]
        scales["embedding"] = float(image.abs().max())
        x = torch.cat((x, image, text.embed(torch.tensor([after]))), 1)
        grid = (size[1] // text.config.cell, size[0] // text.config.cell)
        for cell in sorted({i * (cells - 1) // (N_CELLS - 1) for i in range(N_CELLS)}):
            embedding.append({"cell": cell, "values": _short(image[0, cell, :N_VALUES])})
    hidden = text.hidden(x, positions(len(before), *grid, len(after)))
    logits = text.logits(hidden[0, -1:])[0]
    scales["logits"] = float(logits.abs().max())
    best = logits.topk(2)
    figures = {
        "name": name,
        "before": before,
        "image": {"width": size[0], "height": size[1]} if size else None,
        "after": after,
        "cells": cells,
        "embedding": embedding,
        "logits": _short(logits[:N_LOGITS]),
        "argmax": int(best.indices[0]),
        "margin": round(float(best.values[0] - best.values[1]), 4),
    }
    return figures, scales


def _short(values):
    return [round(float(v), 5) for v in values]


def reference(checkpoint, tokenizer, kind):
    """The whole content of the reference file."""
    text, vision = load_models(checkpoint, kind)
    with ops.exact(runtime_gelu=True):
        cases, scales = zip(*(run_case(text, vision, case) for case in prompts(tokenizer)))
    tolerance = {
        what: round(share * max(scale[what] for scale in scales), 5)
        for what, share in TOLERANCE[kind].items()
    }
    return {
        "format": "wattlaw-parity-1",
        "type": kind,
        "files": export.file_names(kind),
        "vocab": text.config.vocab,
        "tolerance": tolerance,
        "cases": cases,
    }


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--checkpoint", required=True, help="file that train.py wrote")
    parser.add_argument("--type", choices=TENSOR_TYPES, default="f16", help="exported type")
    parser.add_argument("--out", required=True, help="JSON file to write")
    arguments = parser.parse_args()
    from tokenizer import Tokenizer

    checkpoint = torch.load(arguments.checkpoint, map_location="cpu")
    with open(arguments.out, "w", encoding="utf-8") as file:
        json.dump(reference(checkpoint, Tokenizer.load(), arguments.type), file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
