"""The picture preprocessing of llama.cpp's libmtmd for `qwen2vl_merger` models, reproduced.

A picture becomes a grid of cells of 28x28 pixels (one token each). libmtmd chooses a target size in
whole cells ("smart resize"), scales the picture to fit while keeping its aspect, and centres it on
black. A trainer that leaves out the black strips, or stretches instead, trains on pictures that the
model will never be shown.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

CELL = 28
MIN_TOKENS = 4
MAX_TOKENS = 144


class Placement(NamedTuple):
    """Where the scaled picture lies inside the target: its corner, its size, and its scale."""

    left: int
    top: int
    width: int
    height: int
    scale: float


def smart_size(width, height, min_tokens=MIN_TOKENS, max_tokens=MAX_TOKENS):
    """The target size (width, height), in multiples of 28, that libmtmd chooses.

    Inside the limits both sides are rounded; above the upper limit both are scaled and rounded
    down, below the lower one scaled and rounded up. So the limit itself is often not reached.
    """
    target_width = max(CELL, _round_to_cells(width))
    target_height = max(CELL, _round_to_cells(height))
    min_pixels, max_pixels = min_tokens * CELL * CELL, max_tokens * CELL * CELL
    if target_width * target_height > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        target_width = max(CELL, int(width / shrink // CELL) * CELL)
        target_height = max(CELL, int(height / shrink // CELL) * CELL)
    elif target_width * target_height < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        target_width = math.ceil(width * grow / CELL) * CELL
        target_height = math.ceil(height * grow / CELL) * CELL
    return target_width, target_height


def _round_to_cells(length):
    """Round to a multiple of 28, halves up, in single precision as libmtmd does."""
    return math.floor(float(np.float32(length) / np.float32(CELL)) + 0.5) * CELL


def placement(width, height, target_width, target_height):
    """Where a width x height picture comes to lie in the target."""
    scale = min(np.float32(target_width) / np.float32(width),
                np.float32(target_height) / np.float32(height))
    inner_width = min(math.ceil(np.float32(width) * scale), target_width)
    inner_height = min(math.ceil(np.float32(height) * scale), target_height)
    return Placement((target_width - inner_width) // 2, (target_height - inner_height) // 2,
                     inner_width, inner_height, float(scale))


def fit(rgb, target_width, target_height):
    """Scale an array [h, w, 3] into the target, centred on black; returns (array, Placement)."""
    height, width = rgb.shape[:2]
    place = placement(width, height, target_width, target_height)
    if (width, height) != (place.width, place.height):
        # Pillow's bicubic filter is antialiased, and libmtmd's is the same filter.
        rgb = np.asarray(Image.fromarray(rgb).resize((place.width, place.height), Image.BICUBIC))
    if (place.width, place.height) == (target_width, target_height):
        return rgb, place
    out = np.zeros((target_height, target_width, 3), np.uint8)
    out[place.top:place.top + place.height, place.left:place.left + place.width] = rgb
    return out, place


def preprocess(rgb, min_tokens=MIN_TOKENS, max_tokens=MAX_TOKENS):
    """What the model sees of an array [h, w, 3]: (array, offset x, offset y, scale)."""
    height, width = rgb.shape[:2]
    out, place = fit(rgb, *smart_size(width, height, min_tokens, max_tokens))
    return out, place.left, place.top, place.scale
