"""Batches of drawn panels with the labels of their cells, for the vision stage.

Each picture takes one of the ways a real one may take to the model: drawn at its size or drawn
larger and scaled down, of a size in whole cells or of an odd one that needs black strips, clean or
with noise, blur, JPEG artefacts and another brightness. All is a pure function of the random
generator handed in, so that processes can make batches in the background.
"""

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from drawing import draw
from panel import FEATURES, cell_targets, random_panel
from preprocess import CELL, fit, smart_size

MIN_SIDE, MAX_SIDE = 56, 336
FIRST_SIDES = (84, 168)          # the range of sizes at the start of the training
ALL_SIZES_FROM = 0.3             # the progress from which all sizes come
MAX_LOG_ASPECT = 0.6
UPPER_THIRD_SHARE = 0.3          # of the batches, besides those that fall there by chance
ODD_SHARE = 0.3                  # of the pictures: not of a size in whole cells
REDUCED_SHARE = 0.5              # of the pictures: drawn larger and scaled down
MAX_REDUCTION = 2.5


def batch(rng, progress, budget_patches):
    """Pictures of one size: (uint8 [B, H, W, 3], uint8 [B, cells, features], panels).

    `rng` is a random.Random, `progress` the share of the training that is over, and
    `budget_patches` bounds the batch (a cell has four patches; one picture is always made).
    """
    width, height = random_size(rng, progress)
    cells = width * height // CELL ** 2
    count = max(1, budget_patches // (4 * cells))
    pixels = np.empty((count, height, width, 3), np.uint8)
    targets = np.empty((count, cells, len(FEATURES)), np.uint8)
    panels = []
    for place in range(count):
        panel = random_panel(rng)
        pixels[place], targets[place] = picture(panel, rng, width, height)
        panels.append(panel)
    return pixels, targets, panels


def random_size(rng, progress):
    """A target size (width, height) in whole cells, as the curriculum has it at `progress`."""
    lowest, highest = side_range(progress)
    if rng.random() < UPPER_THIRD_SHARE:
        side = rng.uniform(lowest + (highest - lowest) * 2 / 3, highest)
    else:
        side = math.exp(rng.uniform(math.log(lowest), math.log(highest)))
    stretch = math.exp(rng.uniform(-MAX_LOG_ASPECT, MAX_LOG_ASPECT) / 2)
    return smart_size(round(side * stretch), round(side / stretch))


def side_range(progress):
    """The smallest and the largest side (of a square of the same area) at `progress`."""
    share = min(1.0, progress / ALL_SIZES_FROM)
    return (FIRST_SIDES[0] + (MIN_SIDE - FIRST_SIDES[0]) * share,
            FIRST_SIDES[1] + (MAX_SIDE - FIRST_SIDES[1]) * share)


def picture(panel, rng, width, height):
    """One picture of that size as the model gets it, and its labels: (pixels, targets)."""
    source_width, source_height = _source_size(rng, width, height)
    reduction, supersample = 1.0, None
    if rng.random() < REDUCED_SHARE:
        reduction = math.exp(rng.uniform(0.1, math.log(MAX_REDUCTION)))
        # The reduction smooths the edges: what is then left of the supersampling is not worth
        # its time.
        supersample = 1 if reduction > 1.4 else 2
    image = draw(panel, round(source_width * reduction), round(source_height * reduction),
                 supersample)
    pixels, place = fit(np.asarray(_wear_file(image, rng, reduction)), width, height)
    return _wear_pixels(pixels, place, rng), cell_targets(panel, width, height, strip=place)


def _source_size(rng, width, height):
    """A size for which libmtmd would choose the target (width, height): that one, or an odd one."""
    if rng.random() < ODD_SHARE:
        for _ in range(20):
            source = (width + rng.randint(1 - CELL // 2, CELL // 2 - 1),
                      height + rng.randint(1 - CELL // 2, CELL // 2 - 1))
            if smart_size(*source) == (width, height) and source != (width, height):
                return source
    return width, height


# --- wear -------------------------------------------------------------------------------------


def _wear_file(image, rng, scale):
    """What lenses and files do to a picture, before it is scaled down by `scale`."""
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.6) * scale))
    if rng.random() < 0.15:
        image = _through_jpeg(image, rng.randint(60, 95))
    return image


def _wear_pixels(pixels, place, rng):
    """Another brightness and contrast, and noise, on the scaled picture: it has fewer pixels.

    The black strips around it, if any, stay black.
    """
    inner = pixels[place.top:place.top + place.height, place.left:place.left + place.width]
    worn = inner
    if rng.random() < 0.7:
        worn = _tone_table(rng)[worn]
    amplitude = rng.choice((0, 0, rng.uniform(1, 6)))
    if amplitude:
        worn = _add_noise(worn, rng, amplitude)
    if inner.shape == pixels.shape:
        return worn
    pixels[place.top:place.top + place.height, place.left:place.left + place.width] = worn
    return pixels


def _tone_table(rng):
    """Another brightness and contrast: the new level of each of the 256 levels."""
    contrast, brightness = rng.uniform(0.8, 1.15), rng.uniform(-16, 16)
    levels = (np.arange(256) - 128) * contrast + 128 + brightness
    return np.clip(levels.round(), 0, 255).astype(np.uint8)


def _through_jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=quality)
    file.seek(0)
    return Image.open(file).convert('RGB')


@lru_cache(maxsize=1)
def _noise_store():
    """Uniform noise of -128..127, drawn once: taking a stretch of it is cheaper than drawing."""
    return np.random.default_rng(1).integers(-128, 128, 1 << 22, dtype=np.int16)


def _add_noise(pixels, rng, amplitude):
    store = _noise_store()
    start = rng.randrange(len(store) - pixels.size)
    noise = store[start:start + pixels.size].reshape(pixels.shape)
    # Products stay below 128 * 12, so 16 bits are enough; the shift divides by 256.
    noise = noise * np.int16(round(amplitude * 2)) >> 8
    return np.clip(noise + pixels, 0, 255).astype(np.uint8)
