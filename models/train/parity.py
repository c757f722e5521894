"""Write reference figures that a test of the runtime compares with libllama and libmtmd.

    python3 parity.py --checkpoint FILE --type f16 --text NAME --mmproj NAME --out FILE.json

All is computed in f32 from the weights as the exported file of that type holds them, with the
runtime's own GELU (tanh form, input and output rounded to F16). The file is one JSON object:

    format     "wattlaw-parity-1"
    type       "f32", "f16" or "q8_0": of the matrices in the files
    text       name of the text half's file, in the folder of this one
    mmproj     name of the image encoder's file
    vocab      number of logits of the model
    width      number of values of an image token
    tolerance  {"logits": largest absolute difference to accept, "embedding": the same}, for an F32
               KV cache without flash attention; it follows the scale of this model's figures
    logit_ids  the token ids whose logits the cases hold
    value_ids  the values of an image token that the cases hold
    end        id of the token that ends an answer
    cases      prompts whose figures are compared, see below
    answers    prompts whose greedy answers are compared

Each prompt has:

    name       for messages
    prompt     all of it, chat frame included; the image stands where it says "<__media__>"
    before     its token ids before the image (without an image: all of them)
    image      null, or in cases {"width", "height"} in pixels, multiples of the cell's 28: the
               value of pixel x, y, colour c (0 red, 1 green, 2 blue) is
               (x * 7 + y * 13 + c * 29) & 255; in answers {"file"} in models/tasks
    after      its token ids after the image
    cells      number of image tokens (0 without one)

A case also has:

    embedding  list of {"cell": index in raster order, "values": its output of the image encoder at
               value_ids}; empty without an image
    logits     at logit_ids, after the last token
    argmax     id of the largest logit
    margin     how far the second largest lies below it: compare argmax only where this is more
               than twice the tolerance

An answer also has:

    limit      most tokens to generate
    answer     the greedy answer's token ids, without `end`
    reads      the same as text, for messages

`before` ends with <|vision_start|> and `after` begins with <|vision_end|>, as libmtmd's text
chunks have them.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
import torch
from PIL import Image

import ops
from config import Config
from gguf_write import TENSOR_TYPES, dequantize_q8_0, quantize_q8_0
from model import TextModel, VisionModel, positions
from preprocess import preprocess

TASKS = Path(__file__).resolve().parent.parent / "tasks"
MARKER = "<__media__>"
USER, ASSISTANT = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
N_LOGITS, N_VALUES, N_CELLS = 32, 8, 4
N_ANSWERS = 8  # of each task file

LOG = "pump 7 running at 10:42\nvalve 31 failed at 10:45\nfan 2 stopped at 10:51\n"
SETTINGS = "amber level = 42\nriver mode = 17\ndelta gain = 63\n"
TEXT_CASES = (
    ("log", LOG + "Status of valve 31?"),
    ("settings", SETTINGS + "What is river mode?"),
    ("comparison", "Which is larger, 38 or 71?"),
)
# No grid is square: rows and columns must not be taken for each other.
IMAGE_CASES = (
    (84, 56, "Is the panel dark or light?"),
    (112, 84, "How many shapes?"),
    (84, 280, "What is the serial number?"),
    (448, 252, "What number is shown?"),
)
# Share of the largest logit or embedding value; about three times what random weights showed on
# x86 processors from SSE2 to AMX (trained ones showed less). The runtime rounds the activations to
# the type of the matrices; of the encoder's GELU, F16 either way, single steps remain.
TOLERANCE = {
    "f32": {"logits": 0.0001, "embedding": 0.001},
    "f16": {"logits": 0.0015, "embedding": 0.001},
    "q8_0": {"logits": 0.03, "embedding": 0.025},
}


class Prompt(NamedTuple):
    """What the model is asked; pixels are uint8 [height, width, 3], as the encoder sees them."""

    name: str
    text: str
    image: Optional[dict]  # as it goes into the file
    pixels: Optional[np.ndarray]

    def ids(self, tokenizer):
        """Token ids (before the image, after it)."""
        before, _, after = self.text.partition(MARKER)
        if self.image is None:
            return tokenizer.encode(before), []
        return tokenizer.encode(before + "<|vision_start|>"), tokenizer.encode(
            "<|vision_end|>" + after
        )


# ---- the models ----


def as_stored(weights, kind):
    """Weights rounded as the exported file of this type holds them."""
    return {name: _rounded(name, tensor.float(), kind) for name, tensor in weights.items()}


def _rounded(name, tensor, kind):
    if tensor.dim() == 1 or kind == "f32":
        return tensor
    if kind == "f16" or name == "patch_embed":
        return tensor.half().float()
    return torch.from_numpy(dequantize_q8_0(quantize_q8_0(tensor.numpy())))


class Pair:
    """Both halves of a checkpoint, their weights rounded, and the tokenizer."""

    def __init__(self, checkpoint, tokenizer, kind):
        config = Config.from_dict(checkpoint["config"])
        self.config, self.tokenizer = config, tokenizer
        self.text, self.vision = TextModel(config), VisionModel(config)
        self.text.load_state_dict(as_stored(checkpoint["text"], kind))
        self.vision.load_state_dict(as_stored(checkpoint["vision"], kind))

    def image(self, pixels):
        """uint8 [height, width, 3] in whole cells -> f32 [1, cells, width]."""
        mean, std = torch.tensor(self.config.image_mean), torch.tensor(self.config.image_std)
        values = (torch.from_numpy(pixels.copy()).float() / 255 - mean) / std
        return self.vision(values.permute(2, 0, 1)[None])

    def logits(self, before, image, grid, after):
        """Logits f32 [vocab] after the last token; `image` as image() gives it, or None."""
        x = self.text.embed(torch.tensor([before]))
        if image is not None:
            x = torch.cat((x, image), 1)
        if after:
            x = torch.cat((x, self.text.embed(torch.tensor([after]))), 1)
        hidden = self.text.hidden(x, positions(len(before), *grid, len(after)))
        return self.text.logits(hidden[0, -1:])[0]

    def encoded(self, prompt):
        """(image or None, its grid of cells) of a prompt."""
        if prompt.pixels is None:
            return None, (0, 0)
        height, width = prompt.pixels.shape[:2]
        return self.image(prompt.pixels), (height // self.config.cell, width // self.config.cell)


# ---- the prompts ----


def pattern(width, height):
    """The test image, uint8 [height, width, 3]."""
    y, x, colour = np.ogrid[:height, :width, :3]
    return ((x * 7 + y * 13 + colour * 29) & 255).astype(np.uint8)


def case_prompts():
    """The prompts whose figures are compared."""
    prompts = [Prompt(name, USER + asked + ASSISTANT, None, None) for name, asked in TEXT_CASES]
    for width, height, asked in IMAGE_CASES:
        prompts.append(
            Prompt(
                f"image {width}x{height}",
                USER + MARKER + asked + ASSISTANT,
                {"width": width, "height": height},
                pattern(width, height),
            )
        )
    return prompts


def task_items(path, n_items):
    """The first items of a task file; of those with images, the first of each kind."""
    items, kinds = [], set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        item = json.loads(line)
        if "images" not in item or item["kind"] not in kinds:
            kinds.add(item["kind"])
            items.append(item)
    return items[:n_items]


def task_prompt(item):
    """The prompt of a task, its picture brought to size as libmtmd does it."""
    if "images" not in item:
        return Prompt(item["id"], USER + item["prompt"] + ASSISTANT, None, None)
    (name,) = item["images"]
    with Image.open(TASKS / name) as picture:
        pixels = preprocess(np.array(picture.convert("RGB")))[0]
    return Prompt(item["id"], USER + MARKER + item["prompt"] + ASSISTANT, {"file": name}, pixels)


# ---- the figures ----


def prompt_fields(prompt, tokenizer, image):
    """What every prompt has in the file."""
    before, after = prompt.ids(tokenizer)
    return {
        "name": prompt.name,
        "prompt": prompt.text,
        "before": before,
        "image": prompt.image,
        "after": after,
        "cells": 0 if image is None else image.shape[1],
    }


def spread(n_wanted, n_all):
    """`n_wanted` different indices from 0 to n_all - 1, evenly spread, both ends among them."""
    return sorted({i * (n_all - 1) // (n_wanted - 1) for i in range(n_wanted)})


@torch.no_grad()
def case(pair, prompt):
    """Reference figures of one case, and the scales {"logits", "embedding"} of its figures."""
    image, grid = pair.encoded(prompt)
    fields = prompt_fields(prompt, pair.tokenizer, image)
    logits = pair.logits(fields["before"], image, grid, fields["after"])
    best = logits.topk(2)
    embedding = []
    if image is not None:
        values = spread(N_VALUES, pair.config.width)
        embedding = [
            {"cell": cell, "values": _short(image[0, cell, values])}
            for cell in spread(N_CELLS, image.shape[1])
        ]
    fields |= {
        "embedding": embedding,
        "logits": _short(logits[spread(N_LOGITS, len(logits))]),
        "argmax": int(best.indices[0]),
        "margin": round(float(best.values[0] - best.values[1]), 4),
    }
    return fields, {
        "logits": float(logits.abs().max()),
        "embedding": 0.0 if image is None else float(image.abs().max()),
    }


@torch.no_grad()
def answer(pair, prompt, limit):
    """The greedy answer to one prompt, token by token."""
    image, grid = pair.encoded(prompt)
    fields = prompt_fields(prompt, pair.tokenizer, image)
    end, said = pair.tokenizer.id_of("<|im_end|>"), []
    while len(said) < limit:
        logits = pair.logits(fields["before"], image, grid, fields["after"] + said)
        token = int(logits.argmax())
        if token == end:
            break
        said.append(token)
    return fields | {"limit": limit, "answer": said, "reads": pair.tokenizer.decode(said)}


def _short(values):
    return [round(float(v), 5) for v in values]


def reference(checkpoint, tokenizer, kind, names, n_answers=N_ANSWERS):
    """The whole content of the reference file; `names` are those of the two model files."""
    pair = Pair(checkpoint, tokenizer, kind)
    items = task_items(TASKS / "text.jsonl", n_answers)
    items += task_items(TASKS / "panel.jsonl", n_answers)
    with ops.exact(runtime_gelu=True):
        cases, scales = zip(*(case(pair, prompt) for prompt in case_prompts()))
        answers = [answer(pair, task_prompt(item), item["max_tokens"]) for item in items]
    tolerance = {
        what: round(share * max(scale[what] for scale in scales), 5)
        for what, share in TOLERANCE[kind].items()
    }
    return {
        "format": "wattlaw-parity-1",
        "type": kind,
        "text": names[0],
        "mmproj": names[1],
        "vocab": pair.config.vocab,
        "width": pair.config.width,
        "tolerance": tolerance,
        "logit_ids": spread(N_LOGITS, pair.config.vocab),
        "value_ids": spread(N_VALUES, pair.config.width),
        "end": tokenizer.id_of("<|im_end|>"),
        "cases": cases,
        "answers": answers,
    }


def write(path, figures):
    """The reference file: a line for each prompt, so that a change shows where it is."""
    plain = {key: value for key, value in figures.items() if key not in ("cases", "answers")}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in plain.items()]
    for key in ("cases", "answers"):
        prompts = ",\n".join("  " + json.dumps(prompt) for prompt in figures[key])
        lines.append(f' "{key}": [\n{prompts}\n ]' if prompts else f' "{key}": []')
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--checkpoint", required=True, help="file that train.py wrote")
    parser.add_argument("--type", choices=TENSOR_TYPES, default="f16", help="exported type")
    parser.add_argument("--text", required=True, help="name of the exported text file")
    parser.add_argument("--mmproj", required=True, help="name of the exported mmproj file")
    parser.add_argument("--out", required=True, help="JSON file to write, in the files' folder")
    options = parser.parse_args()
    from tokenizer import Tokenizer

    checkpoint = torch.load(options.checkpoint, map_location="cpu")
    names = options.text, options.mmproj
    write(options.out, reference(checkpoint, Tokenizer.load(), options.type, names))


if __name__ == "__main__":
    main()
