"""Random instrument panels: what is on them, where it lies, and what may be asked about them.

A panel is described in unit coordinates (0..1 of the width and of the height), so that the same
panel can be drawn at any size and aspect. It always has a number, a serial number, one to three
coloured shapes, a row of lights, a dial, and a dark or light ground. Every part has a slot of its
own, so nothing overlaps at any aspect; round things stay round.

The picture itself is made in drawing.py. Here are also the dense labels: for each cell of 28x28
pixels (one image token) the FEATURES, bound facts such as "number digit 2 is 7", that it shows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SHAPES = ('circle', 'square', 'triangle')
COLOURS = ('red', 'green', 'blue', 'yellow', 'purple', 'orange')
GROUNDS = ('dark', 'light')
ORDINALS = ('first', 'second', 'third', 'fourth')
KINDS = ('number', 'serial', 'shapes', 'colour', 'which', 'lights', 'light', 'dial', 'ground')

NUMBER_DIGITS = 3
SERIAL_DIGITS = 2
MAX_SHAPES = 3
MAX_LIGHTS = 4
DIAL_STEPS = 10

# --- features ---------------------------------------------------------------------------------


def _feature_names():
    """All features in the order of their ids, which must stay as they are."""
    names = [f'number digit {place} is {value}'
             for place in range(1, NUMBER_DIGITS + 1) for value in range(10)]
    names += [f'serial digit {place} is {value}'
              for place in range(1, SERIAL_DIGITS + 1) for value in range(10)]
    names += [f'{colour} {shape}' for shape in SHAPES for colour in COLOURS]
    names += [f'shape {place}' for place in range(1, MAX_SHAPES + 1)]
    names += [f'light {place} {state}'
              for place in range(1, MAX_LIGHTS + 1) for state in ('off', 'on')]
    names += [f'dial {value}' for value in range(DIAL_STEPS)]
    names += [f'ground {ground}' for ground in GROUNDS]
    return names + ['strip']


FEATURES = _feature_names()
FEATURE_ID = {name: number for number, name in enumerate(FEATURES)}
STRIP = FEATURE_ID['strip']

# A cell is said to show a thing when this share of the cell, or of the thing, lies in the other.
MIN_OVERLAP = 0.12


# --- the panel --------------------------------------------------------------------------------


class Slot(NamedTuple):
    """The room of one part in unit coordinates, how much of it to use, and where in it to stand."""

    left: float
    top: float
    right: float
    bottom: float
    size: float          # height wanted, as a share of the picture's height
    anchor_x: float      # 0 = at the slot's left side, 1 = at its right side
    anchor_y: float


class Style(NamedTuple):
    """All that only concerns looks. Colours are (r, g, b) of 0..255."""

    ground: tuple
    ground_end: tuple          # the gradient's other end
    gradient_across: bool      # from left to right instead of from top to bottom
    line: tuple                # frame and rules
    has_rules: bool
    has_screws: bool
    display: tuple             # None: the digits stand on the ground itself
    digit: tuple
    has_unlit_segments: bool
    digit_aspect: float
    segment: float             # thickness of a segment as a share of the digit's height
    slant: float
    plate: tuple               # None: the serial number stands on the ground itself
    serial: tuple
    light: tuple
    dial_face: tuple
    dial_ink: tuple
    needle: tuple
    needle_error: float        # in steps of the dial
    shape_colours: tuple
    shape_outline: tuple


@dataclass(frozen=True)
class Panel:
    """One panel: facts, slots (by part), and style. `rules` are heights of thin lines."""

    ground: str
    number: tuple
    serial: tuple
    shapes: tuple        # (shape, colour) from left to right
    lights: tuple        # True = on, from left to right
    dial: int
    slots: dict
    rules: tuple
    style: Style


class Placed(NamedTuple):
    """A thing in pixels: its box, the outline that fills the box, and the features it shows."""

    left: float
    top: float
    width: float
    height: float
    outline: str         # 'box', 'disc' or 'triangle'
    features: tuple


# --- random panels ----------------------------------------------------------------------------


def random_panel(rng):
    """A panel drawn from `rng` (random.Random)."""
    ground = rng.choice(GROUNDS)
    n_shapes = rng.randint(1, MAX_SHAPES)
    n_lights = rng.randint(2, MAX_LIGHTS)
    lit = set(rng.sample(range(n_lights), rng.randint(0, n_lights)))
    shapes = tuple(zip(rng.sample(SHAPES, n_shapes), rng.sample(COLOURS, n_shapes)))
    slots, rules = _random_slots(rng)
    return Panel(ground=ground,
                 number=tuple(rng.randrange(10) for _ in range(NUMBER_DIGITS)),
                 serial=tuple(rng.randrange(10) for _ in range(SERIAL_DIGITS)),
                 shapes=shapes,
                 lights=tuple(place in lit for place in range(n_lights)),
                 dial=rng.randrange(DIAL_STEPS),
                 slots=slots,
                 rules=rules,
                 style=_random_style(rng, ground, [colour for _, colour in shapes]))


def _random_slots(rng):
    """Choose one of three arrangements; returns (slots by part, heights of the rules)."""
    arrange = rng.choice((_bench, _tower, _gauge))
    margin, gap = rng.uniform(0.05, 0.065), rng.uniform(0.025, 0.04)
    rows = arrange(rng, 1 - 2 * margin - 2 * gap)
    rng.shuffle(rows)
    slots, rules, top = {}, [], margin
    for row_height, cells in rows:
        _fill_row(rng, slots, cells, (margin, top, 1 - margin, top + row_height), gap)
        top += row_height + gap
        rules.append(top - gap / 2)
    return slots, tuple(rules[:-1])


def _fill_row(rng, slots, cells, box, gap):
    """Share a row's box among its cells: (share of the width, [(part, size, share of height)])."""
    left, top, right, bottom = box
    width = right - left - gap * (len(cells) - 1)
    if rng.random() < 0.5:
        cells = cells[::-1]
    for share, parts in cells:
        part_top, height = top, bottom - top - gap / 2 * (len(parts) - 1)
        parts = rng.sample(parts, len(parts))
        for part, size, share_of_height in parts:
            part_bottom = part_top + height * share_of_height
            slots[part] = Slot(left, part_top, left + width * share, part_bottom, size,
                               rng.uniform(0.05, 0.95), rng.uniform(0.1, 0.9))
            part_top = part_bottom + gap / 2
        left += width * share + gap


# Height of a display box or of a plate, in heights of the digits on it.
DISPLAY_HEIGHT = 1.3
PLATE_HEIGHT = 1.5


def _bench(rng, room):
    """Number / dial and shapes / lights and serial number."""
    digits = rng.uniform(0.18, 0.34)
    rest = room - digits * DISPLAY_HEIGHT
    middle = rest * rng.uniform(0.60, 0.68)
    dial, lights = rng.uniform(0.34, 0.42), rng.uniform(0.54, 0.60)
    return [(digits * DISPLAY_HEIGHT, [(1, [('number', digits, 1)])]),
            (middle, [(dial, [('dial', _dial_size(rng), 1)]),
                      (1 - dial, [('shapes', _shape_size(rng), 1)])]),
            (rest - middle, [(lights, [('lights', _light_size(rng), 1)]),
                             (1 - lights, [('serial', _serial_size(rng), 1)])])]


def _tower(rng, room):
    """Number / shapes / dial, beside it the lights and the serial number one above the other."""
    digits = rng.uniform(0.17, 0.30)
    rest = room - digits * DISPLAY_HEIGHT
    block = rest * rng.uniform(0.55, 0.62)
    dial = rng.uniform(0.40, 0.48)
    lights = rng.uniform(0.50, 0.56)
    return [(digits * DISPLAY_HEIGHT, [(1, [('number', digits, 1)])]),
            (rest - block, [(1, [('shapes', _shape_size(rng), 1)])]),
            (block, [(dial, [('dial', _dial_size(rng), 1)]),
                     (1 - dial, [('lights', _light_size(rng), lights),
                                 ('serial', _serial_size(rng), 1 - lights)])])]


def _gauge(rng, room):
    """Number beside the dial / shapes / lights and serial number."""
    digits = rng.uniform(0.18, 0.34)
    first = max(digits * DISPLAY_HEIGHT, rng.uniform(0.32, 0.42))
    rest = room - first
    shapes = rest * rng.uniform(0.58, 0.65)
    dial, lights = rng.uniform(0.32, 0.38), rng.uniform(0.54, 0.60)
    return [(first, [(dial, [('dial', _dial_size(rng), 1)]),
                     (1 - dial, [('number', digits, 1)])]),
            (shapes, [(1, [('shapes', _shape_size(rng), 1)])]),
            (rest - shapes, [(lights, [('lights', _light_size(rng), 1)]),
                             (1 - lights, [('serial', _serial_size(rng), 1)])])]


def _dial_size(rng):
    return rng.uniform(0.28, 0.42)


def _shape_size(rng):
    return rng.uniform(0.16, 0.30)


def _light_size(rng):
    return rng.uniform(0.075, 0.115)


def _serial_size(rng):
    return rng.uniform(0.055, 0.075)


# --- random looks -----------------------------------------------------------------------------

_DARK_GROUNDS = ((34, 38, 44), (24, 32, 52), (30, 46, 42), (48, 40, 36), (40, 34, 50), (28, 30, 33))
_LIGHT_GROUNDS = ((226, 226, 220), (238, 232, 214), (206, 216, 226), (212, 224, 212),
                  (196, 198, 202), (242, 244, 246))
_DARK_DISPLAYS = ((8, 10, 12), (14, 6, 6), (6, 14, 10), (8, 10, 22))
_LIGHT_DISPLAYS = ((178, 190, 158), (196, 204, 196), (214, 206, 176), (188, 202, 214))
_BRIGHT_DIGITS = ((255, 70, 50), (80, 255, 110), (255, 190, 50), (240, 244, 248), (90, 220, 255))
_DARK_DIGITS = ((16, 18, 20), (24, 28, 96), (110, 16, 20), (14, 66, 30), (52, 44, 40))
# The last one, white, looks switched off on a light ground.
_LIGHTS = ((90, 255, 110), (255, 80, 64), (255, 200, 60), (90, 190, 255), (250, 250, 240))
_DARK_INKS = ((24, 24, 28), (50, 44, 42), (30, 40, 70))
_LIGHT_INKS = ((236, 238, 240), (214, 220, 214), (240, 226, 190))
SHAPE_RGB = {'red': (218, 34, 34), 'green': (36, 164, 60), 'blue': (48, 88, 232),
             'yellow': (242, 220, 44), 'purple': (152, 56, 196), 'orange': (246, 132, 24)}


def _random_style(rng, ground, colour_names):
    """Looks that keep everything legible: bright on dark or dark on light."""
    is_dark = ground == 'dark'
    base = _jitter(rng, rng.choice(_DARK_GROUNDS if is_dark else _LIGHT_GROUNDS), 8)
    slope = rng.uniform(-0.14, 0.14)
    display, digit = _random_display(rng, is_dark)
    has_plate = rng.random() < 0.7
    plate_is_dark = rng.random() < 0.5 if has_plate else is_dark
    face_is_dark = rng.random() < (0.6 if is_dark else 0.25)
    return Style(
        ground=base,
        ground_end=mix(base, (255, 255, 255) if slope > 0 else (0, 0, 0), abs(slope)),
        gradient_across=rng.random() < 0.3,
        line=mix(base, (255, 255, 255) if is_dark else (0, 0, 0), rng.uniform(0.15, 0.4)),
        has_rules=rng.random() < 0.4,
        has_screws=rng.random() < 0.75,
        display=display,
        digit=_jitter(rng, digit, 12),
        has_unlit_segments=display is not None and rng.random() < 0.5,
        digit_aspect=rng.uniform(0.50, 0.60),
        segment=rng.uniform(0.115, 0.16),
        slant=rng.choice((0, 0, rng.uniform(0.03, 0.10))),
        plate=_jitter(rng, (30, 32, 36) if plate_is_dark else (232, 230, 222), 14)
        if has_plate else None,
        serial=rng.choice(_LIGHT_INKS if plate_is_dark else _DARK_INKS),
        light=_jitter(rng, rng.choice(_LIGHTS if is_dark else _LIGHTS[:-1]), 10),
        dial_face=_jitter(rng, (26, 28, 32) if face_is_dark else (240, 238, 230), 10),
        dial_ink=rng.choice(_LIGHT_INKS if face_is_dark else _DARK_INKS),
        needle=rng.choice(((255, 80, 50), (255, 170, 40), (250, 250, 250)) if face_is_dark
                          else ((214, 30, 30), (20, 20, 24), (24, 60, 180))),
        needle_error=rng.uniform(-0.13, 0.13),
        shape_colours=tuple(_jitter(rng, SHAPE_RGB[name], 14) for name in colour_names),
        shape_outline=rng.choice(((245, 245, 245), None) if is_dark else ((20, 20, 20), None)))


def _random_display(rng, is_dark):
    """(display colour or None, digit colour)."""
    kind = rng.choice(('bare', 'dark', 'dark', 'light'))
    if kind == 'bare':
        return None, rng.choice(_BRIGHT_DIGITS if is_dark else _DARK_DIGITS)
    if kind == 'dark':
        return _jitter(rng, rng.choice(_DARK_DISPLAYS), 5), rng.choice(_BRIGHT_DIGITS)
    return _jitter(rng, rng.choice(_LIGHT_DISPLAYS), 8), rng.choice(_DARK_DIGITS)


def mix(colour, other, share):
    """`colour` with `share` of `other` in it."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other))


def _jitter(rng, colour, amount):
    return tuple(min(255, max(0, value + rng.randint(-amount, amount))) for value in colour)


# --- geometry in pixels -----------------------------------------------------------------------

DIGIT_GAP = 0.34         # between two digits, in digit widths
SERIAL_ASPECT = 0.60     # of a digit of the serial number, and of the mark before it
SERIAL_GAP = 0.45


def stand(slot, width, height, group_width, group_height):
    """Top left corner, in pixels, of a group of that size in its slot."""
    left = slot.left * width + slot.anchor_x * ((slot.right - slot.left) * width - group_width)
    top = slot.top * height + slot.anchor_y * ((slot.bottom - slot.top) * height - group_height)
    return left, top


def _slot_size(slot, width, height):
    return (slot.right - slot.left) * width, (slot.bottom - slot.top) * height


def number_boxes(panel, width, height):
    """(box of the display, boxes of the digits): each (left, top, width, height)."""
    slot, style, count = panel.slots['number'], panel.style, len(panel.number)
    slot_width, slot_height = _slot_size(slot, width, height)
    # All lengths in digit heights; a slant adds to the width of each digit's box.
    digit_width = style.digit_aspect + style.slant
    pitch = digit_width + style.digit_aspect * DIGIT_GAP
    padding = (DISPLAY_HEIGHT - 1) / 2
    group_width = digit_width + pitch * (count - 1) + 2 * padding * 1.2
    size = min(slot.size * height, slot_height / DISPLAY_HEIGHT, slot_width / group_width)
    left, top = stand(slot, width, height, group_width * size, DISPLAY_HEIGHT * size)
    digits = [(left + (padding * 1.2 + pitch * place) * size, top + padding * size,
               digit_width * size, size) for place in range(count)]
    return (left, top, group_width * size, DISPLAY_HEIGHT * size), digits


def serial_boxes(panel, width, height):
    """(box of the plate, box of the mark, boxes of the digits)."""
    slot = panel.slots['serial']
    slot_width, slot_height = _slot_size(slot, width, height)
    padding = (PLATE_HEIGHT - 1) / 2
    mark_width = 1.05
    pitch = SERIAL_ASPECT * (1 + SERIAL_GAP)
    first = padding * 1.4 + mark_width + SERIAL_ASPECT * 0.75
    group_width = first + pitch * (SERIAL_DIGITS - 1) + SERIAL_ASPECT + padding * 1.4
    size = min(slot.size * height, slot_height / PLATE_HEIGHT, slot_width / group_width)
    left, top = stand(slot, width, height, group_width * size, PLATE_HEIGHT * size)
    digits = [(left + (first + pitch * place) * size, top + padding * size,
               SERIAL_ASPECT * size, size) for place in range(SERIAL_DIGITS)]
    mark = (left + padding * 1.4 * size, top + padding * size, mark_width * size, size)
    return (left, top, group_width * size, PLATE_HEIGHT * size), mark, digits


def row_boxes(slot, width, height, count, filling, max_pitch):
    """Square boxes side by side; `filling` is the largest share of the pitch that one takes."""
    slot_width, slot_height = _slot_size(slot, width, height)
    size = min(slot.size * height, slot_height, slot_width / count * filling)
    pitch = min(slot_width / count, size * max_pitch)
    left, top = stand(slot, width, height, pitch * count, size)
    return [(left + pitch * (place + 0.5) - size / 2, top, size, size) for place in range(count)]


def shape_boxes(panel, width, height):
    return row_boxes(panel.slots['shapes'], width, height, len(panel.shapes), 0.86, 1.7)


def light_boxes(panel, width, height):
    return row_boxes(panel.slots['lights'], width, height, len(panel.lights), 0.80, 1.9)


def dial_box(panel, width, height):
    return row_boxes(panel.slots['dial'], width, height, 1, 1.0, 1.0)[0]


def placed_things(panel, width, height):
    """Everything that carries features, in pixels of a width x height picture."""
    things = []
    for place, (box, value) in enumerate(zip(number_boxes(panel, width, height)[1], panel.number)):
        things.append(Placed(*box, 'box', (f'number digit {place + 1} is {value}',)))
    for place, (box, value) in enumerate(zip(serial_boxes(panel, width, height)[2], panel.serial)):
        things.append(Placed(*box, 'box', (f'serial digit {place + 1} is {value}',)))
    outlines = {'circle': 'disc', 'square': 'box', 'triangle': 'triangle'}
    boxes = shape_boxes(panel, width, height)
    for place, (box, (shape, colour)) in enumerate(zip(boxes, panel.shapes)):
        things.append(Placed(*box, outlines[shape], (f'{colour} {shape}', f'shape {place + 1}')))
    for place, (box, is_on) in enumerate(zip(light_boxes(panel, width, height), panel.lights)):
        state = 'on' if is_on else 'off'
        things.append(Placed(*box, 'disc', (f'light {place + 1} {state}',)))
    things.append(Placed(*dial_box(panel, width, height), 'disc', (f'dial {panel.dial}',)))
    return things


# --- labels of cells --------------------------------------------------------------------------

_SAMPLES = 20


def _outline_points():
    """Sample points in the unit square of each outline, to measure overlaps by counting."""
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    inside = {'box': np.ones(x.shape, bool),
              'disc': (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25,
              'triangle': np.abs(x - 0.5) <= y / 2}
    return {name: (x[mask], y[mask]) for name, mask in inside.items()}


_POINTS = _outline_points()


def cell_targets(panel, width, height, cell=28, strip=None):
    """The features of each cell as a multi-hot array uint8 [cells, len(FEATURES)], raster order.

    `width` and `height` are those of the preprocessed picture; `strip` is (left, top, width,
    height) of the panel in it when there are black strips around (the head of a
    preprocess.Placement), None when the panel fills it.
    """
    left, top, inner_width, inner_height = strip[:4] if strip else (0, 0, width, height)
    columns, rows = width // cell, height // cell
    targets = np.zeros((rows * columns, len(FEATURES)), np.uint8)
    for thing in placed_things(panel, inner_width, inner_height):
        x, y = _POINTS[thing.outline]
        in_column = ((x * thing.width + thing.left + left) / cell).astype(np.int64)
        in_row = ((y * thing.height + thing.top + top) / cell).astype(np.int64)
        hits = np.bincount(in_row * columns + in_column, minlength=rows * columns)
        of_thing = hits / len(x)
        of_cell = hits * (thing.width * thing.height / _SAMPLES ** 2 / cell ** 2)
        shown = (of_thing > MIN_OVERLAP) | (of_cell > MIN_OVERLAP)
        for feature in thing.features:
            targets[shown, FEATURE_ID[feature]] = 1
    in_panel = np.outer(_covered(rows, cell, top, inner_height),
                        _covered(columns, cell, left, inner_width)).ravel()
    is_empty = ~targets.any(1)
    targets[is_empty & (in_panel > MIN_OVERLAP), FEATURE_ID[f'ground {panel.ground}']] = 1
    targets[in_panel < 1 - MIN_OVERLAP, STRIP] = 1
    return targets


def _covered(count, cell, start, length):
    """The share of each of `count` cells along one axis that start..start+length covers."""
    edges = np.arange(count + 1) * cell
    inside = np.clip(edges, start, start + length)
    return np.diff(inside) / cell


def cell_features(panel, width, height, cell=28, strip=None):
    """The same as lists of feature ids, one list for each cell."""
    return [np.flatnonzero(row).tolist()
            for row in cell_targets(panel, width, height, cell, strip)]


# --- questions --------------------------------------------------------------------------------

ABSENT_SHARE = 0.2       # of the questions about shapes: those that must be answered "none"

# Answers name the fact before its value ("The circle is red."): when the value is due, its key
# stands just before it, where the heads that look back find it. A bare "red" would have to be
# found from the question first, which a small model learns ten times later. The characters of a
# display stay bare, one token each, behind a mark that tells which display it is.


def _ask_colour(panel, rng):
    present = dict(panel.shapes)
    shape = _pick(rng, list(present), [shape for shape in SHAPES if shape not in present])
    answer = f'The {shape} is {present[shape]}.' if shape in present else 'none'
    return f'What colour is the {shape}?', answer


def _ask_which(panel, rng):
    present = {colour: shape for shape, colour in panel.shapes}
    colour = _pick(rng, list(present), [colour for colour in COLOURS if colour not in present])
    answer = f'The {colour} shape is the {present[colour]}.' if colour in present else 'none'
    return f'Which shape is {colour}?', answer


def _pick(rng, present, absent):
    return rng.choice(absent if absent and rng.random() < ABSENT_SHARE else present)


def _ask_light(panel, rng):
    place = rng.randrange(len(panel.lights))
    state = 'on' if panel.lights[place] else 'off'
    return f'Is the {ORDINALS[place]} light on?', f'The {ORDINALS[place]} light is {state}.'


def _ask_lights(panel, _rng):
    count = sum(panel.lights)
    return 'How many lights are on?', f"{count} light{' is' if count == 1 else 's are'} on."


def _ask_shapes(panel, _rng):
    count = len(panel.shapes)
    return 'How many shapes?', f"{count} shape{'s' if count > 1 else ''}."


_ASK = {
    'number': lambda panel, rng: ('What number is shown?', '#' + ''.join(map(str, panel.number))),
    'serial': lambda panel, rng: ('What is the serial number?',
                                  'No.' + ''.join(map(str, panel.serial))),
    'shapes': _ask_shapes,
    'colour': _ask_colour,
    'which': _ask_which,
    'lights': _ask_lights,
    'light': _ask_light,
    'dial': lambda panel, rng: ('What does the dial show?', f'The dial is at {panel.dial}.'),
    'ground': lambda panel, rng: ('Is the panel dark or light?', f'The panel is {panel.ground}.'),
}


def questions(panel, rng, n, kinds=None):
    """`n` times (question, answer, kind), the kinds evenly likely.

    No question comes twice unless there are too few different ones.
    """
    kinds = kinds or KINDS
    asked, found = set(), []
    for _ in range(20 * n):
        if len(found) == n:
            break
        kind = rng.choice(kinds)
        question, answer = _ASK[kind](panel, rng)
        if question not in asked:
            asked.add(question)
            found.append((question, answer, kind))
    return found + [rng.choice(found) for _ in range(n - len(found))]
