"""Held-out accuracy of a checkpoint: text by kind and prompt length, pictures by kind and size.

    python3 evaluate.py --checkpoint ../../build/train/join.pt [--items 30] [--json FILE]

An answer counts when every token of it, its end included, is the likeliest one after the right
tokens before it: the same as exact match of the greedy answer. All is computed in f32. The prompts
and panels come from seeds that training does not use.
"""

import argparse
import json
import random
import sys

import numpy as np
import torch

import batches
import ops
import panel
import stages
from preprocess import preprocess
from config import Config
from drawing import draw
from model import TextModel, VisionModel
from tokenizer import Tokenizer

SEED = 'evaluation'
SIZES = ((56, 56), (84, 84), (112, 112), (168, 168), (224, 224), (280, 280), (336, 336),
         (250, 190), (400, 300), (640, 480), (896, 896), (1024, 768), (672, 896))
CHUNK = 16  # prompts at a time
PICTURES = 4


def load(path):
    """(tokenizer, text, vision or None) of a checkpoint."""
    state = torch.load(path, map_location='cpu')
    config = Config.from_dict(state['config'])
    text = TextModel(config)
    text.load_state_dict(state['text'])
    vision = None
    if 'vision' in state:
        vision = VisionModel(config)
        vision.load_state_dict(state['vision'])
    return Tokenizer.load(), text, vision


def text_accuracy(tokenizer, text, n_per_cell):
    """{(kind, length class): (right, n)} on held-out prompts."""
    cases = batches.heldout_text(tokenizer, SEED, n_per_cell)
    cases.sort(key=lambda case: len(case.ids))
    table = {}
    for first in range(0, len(cases), CHUNK):
        chunk = cases[first:first + CHUNK]
        rows = [batches.Row(case.ids, [0.0] * case.start + [1.0] * (len(case.ids) - case.start),
                            [(case.start, len(case.ids), case.kind)], '') for case in chunk]
        ids, weight, spans = batches.pad_rows(rows, 0)
        ids, weight = torch.from_numpy(ids), torch.from_numpy(weight)
        pos = stages.positions(0, 0, 0, ids.shape[1])
        _, right = stages.answer_loss(text, text.embed(ids), pos, ids, weight)
        for case, span in zip(chunk, spans):
            key = case.kind, case.length_class
            hits, n = table.get(key, (0, 0))
            table[key] = hits + bool(right[span.row, span.start:span.end].all()), n + 1
    return table


def picture_accuracy(tokenizer, text, vision, size, n_panels, max_tokens):
    """{kind: (right, n)} for panels drawn at `size`, asked as often as there are kinds."""
    rng = random.Random(f'{SEED} {size}')
    table = {}
    for first in range(0, n_panels, PICTURES):
        shown = [panel.random_panel(rng) for _ in range(min(PICTURES, n_panels - first))]
        drawn = [np.asarray(draw(one, *size).convert('RGB')) for one in shown]
        pixels = np.stack([preprocess(one, max_tokens=max_tokens)[0] for one in drawn])
        grid_h, grid_w = pixels.shape[1] // 28, pixels.shape[2] // 28
        batch = batches.image_rows(tokenizer, shown, grid_h, grid_w, rng, len(panel.KINDS))
        cells = vision(stages.normalised(pixels, vision.config))
        _, right = stages.image_answer_loss(text, batch, cells)
        for row, start, end, kind in batch.spans:
            hits, n = table.get(kind, (0, 0))
            table[kind] = hits + bool(right[row, start:end].all()), n + 1
    return table


def show(title, table):
    """Print one line: the share right by key."""
    hits, n = (sum(values) for values in zip(*table.values()))
    parts = [f'{key} {100 * right / total:.0f}' for key, (right, total) in sorted(table.items())]
    print(f"{title:<22} {100 * hits / n:5.1f} of {n:<5} | {' '.join(parts)}", flush=True)


def main(arguments):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--checkpoint', required=True)
    parser.add_argument('--items', type=int, default=30,
                        help='prompts of each kind and class, panels of each size')
    parser.add_argument('--max-tokens', type=int, default=144, help='image budget')
    parser.add_argument('--json', help='also write the counts to this file')
    options = parser.parse_args(arguments)
    tokenizer, text, vision = load(options.checkpoint)
    found = {'text': [], 'pictures': []}
    with torch.no_grad(), ops.exact():
        table = text_accuracy(tokenizer, text, options.items)
        for bounds in batches.LENGTH_CLASSES:
            part = {kind: value for (kind, at), value in table.items() if at == bounds}
            show(f'text {bounds[0]}..{bounds[1]}', part)
            found['text'].append({'tokens': bounds, 'kinds': part})
        for size in SIZES if vision else ():
            part = picture_accuracy(tokenizer, text, vision, size, options.items,
                                    options.max_tokens)
            show(f'picture {size[0]}x{size[1]}', part)
            found['pictures'].append({'size': size, 'kinds': part})
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(found, file, indent=1)


if __name__ == '__main__':
    main(sys.argv[1:])
