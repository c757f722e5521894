"""Draws the panels of panel.py with Pillow.

Everything is drawn two to four times larger than wanted and then reduced, which gives smooth edges
and lets parts be placed to a fraction of a pixel.
"""

import math

import numpy as np
from PIL import Image, ImageDraw

import panel as panels

# The segments that make up each digit, in the usual lettering: a top, b c right, d bottom,
# e f left, g middle.
SEGMENTS_OF = ('abcdef', 'bc', 'abdeg', 'abcdg', 'bcfg', 'acdfg', 'acdefg', 'abc', 'abcdefg',
               'abcdfg')
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def draw(panel, width, height, supersample=None):
    """The panel as an RGB picture of that size."""
    factor = supersample or _default_supersample(width, height)
    image = _ground(panel.style, width * factor, height * factor)
    brush = _Brush(image)
    size = image.size
    _draw_frame(brush, panel, *size)
    _draw_number(brush, panel, *size)
    _draw_serial(brush, panel, *size)
    _draw_shapes(brush, panel, *size)
    _draw_lights(brush, panel, *size)
    _draw_dial(brush, panel, *size)
    return image if factor == 1 else image.reduce(factor)


def _default_supersample(width, height):
    """Small pictures need finer steps, and they are cheap."""
    area = width * height
    return 4 if area < 90 ** 2 else 3 if area < 180 ** 2 else 2


class _Brush:
    """Filled shapes in floating-point coordinates."""

    def __init__(self, image):
        self._draw = ImageDraw.Draw(image)

    def polygon(self, points, fill):
        # Pillow fills the pixels on the outline as well: half a pixel back makes up for it.
        self._draw.polygon([(x - 0.5, y - 0.5) for x, y in points], fill=fill)

    def box(self, left, top, width, height, fill, radius=0.0):
        corners = [left, top, max(left, left + width - 1), max(top, top + height - 1)]
        if radius >= 1:
            self._draw.rounded_rectangle(corners, radius=radius, fill=fill)
        else:
            self._draw.rectangle(corners, fill=fill)

    def disc(self, x, y, radius, fill):
        self._draw.ellipse([x - radius, y - radius, x + radius - 1, y + radius - 1], fill=fill)

    def ray(self, x, y, angle, start, end, width, fill):
        """A thick line from the distance `start` to `end` of (x, y); angle in radians."""
        along, across = math.cos(angle), -math.sin(angle)
        side_x, side_y = -across * width / 2, along * width / 2
        self.polygon([(x + along * start - side_x, y + across * start - side_y),
                      (x + along * end - side_x, y + across * end - side_y),
                      (x + along * end + side_x, y + across * end + side_y),
                      (x + along * start + side_x, y + across * start + side_y)], fill)


def _ground(style, width, height):
    """The ground with its gradient."""
    steps = np.linspace(0, 1, width if style.gradient_across else height)[:, None]
    ramp = np.array(style.ground) * (1 - steps) + np.array(style.ground_end) * steps
    ramp = (ramp + 0.5).astype(np.uint8)
    line = Image.fromarray(ramp[None] if style.gradient_across else ramp[:, None])
    return line.resize((width, height), Image.NEAREST)


def _draw_frame(brush, panel, width, height):
    """A frame, thin rules between the rows, and screws: things that mean nothing."""
    style, unit = panel.style, min(width, height)
    thin = max(1.0, unit * 0.005)
    edge = unit * 0.012
    for left, top, across, down in ((edge, edge, width - 2 * edge, thin),
                                    (edge, height - edge - thin, width - 2 * edge, thin),
                                    (edge, edge, thin, height - 2 * edge),
                                    (width - edge - thin, edge, thin, height - 2 * edge)):
        brush.box(left, top, across, down, style.line)
    if style.has_rules:
        for rule in panel.rules:
            brush.box(width * 0.06, height * rule - thin / 2, width * 0.88, thin, style.line)
    if style.has_screws:
        _draw_screws(brush, style, width, height, unit)


def _draw_screws(brush, style, width, height, unit):
    inset, radius = unit * 0.032, unit * 0.013
    for number, (x, y) in enumerate(((inset, inset), (width - inset, inset),
                                     (inset, height - inset), (width - inset, height - inset))):
        brush.disc(x, y, radius, panels.mix(style.line, BLACK, 0.4))
        brush.disc(x, y, radius * 0.8, panels.mix(style.line, WHITE, 0.3))
        turn = 0.6 + number * 0.9
        brush.ray(x, y, turn, -radius * 0.7, radius * 0.7, radius * 0.28,
                  panels.mix(style.line, BLACK, 0.5))


def _draw_number(brush, panel, width, height):
    style = panel.style
    box, digits = panels.number_boxes(panel, width, height)
    if style.display:
        rim = box[3] * 0.035
        brush.box(*_grown(box, rim), panels.mix(style.line, BLACK, 0.35), box[3] * 0.10)
        brush.box(*box, style.display, box[3] * 0.08)
    for digit, value in zip(digits, panel.number):
        if style.has_unlit_segments:
            _draw_digit(brush, digit, 8, style, panels.mix(style.display, style.digit, 0.07))
        _draw_digit(brush, digit, value, style, style.digit)


def _draw_digit(brush, box, value, style, fill):
    """A digit of seven bevelled segments, slanted to the right."""
    left, top, width, height = box
    lean = style.slant * height
    for segment in SEGMENTS_OF[value]:
        points = _segment_points(segment, width - lean, height, style.segment * height)
        brush.polygon([(left + x + lean * (1 - y / height), top + y) for x, y in points], fill)


def _segment_points(segment, width, height, thick):
    """The six corners of a segment in a digit of that size."""
    half, slit = thick / 2, thick * 0.08
    middle = height / 2
    if segment in 'agd':
        y = {'a': half, 'g': middle, 'd': height - half}[segment]
        start, end = half + slit, width - half - slit
        return [(start, y), (start + half, y - half), (end - half, y - half), (end, y),
                (end - half, y + half), (start + half, y + half)]
    x = half if segment in 'ef' else width - half
    start, end = (half, middle) if segment in 'bf' else (middle, height - half)
    start, end = start + slit, end - slit
    return [(x, start), (x + half, start + half), (x + half, end - half), (x, end),
            (x - half, end - half), (x - half, start + half)]


def _draw_serial(brush, panel, width, height):
    """The plate, the mark "No", and two plain digits."""
    style = panel.style
    plate, mark, digits = panels.serial_boxes(panel, width, height)
    if style.plate:
        brush.box(*_grown(plate, plate[3] * 0.05), panels.mix(style.plate, (128, 128, 128), 0.6),
                  plate[3] * 0.16)
        brush.box(*plate, style.plate, plate[3] * 0.12)
    _draw_mark(brush, mark, style.serial)
    for digit, value in zip(digits, panel.serial):
        _draw_plain_digit(brush, digit, value, style.serial)


def _draw_mark(brush, box, fill):
    """The letters "No": an N, and a small ring with a bar under it."""
    left, top, width, height = box
    thick, letter = height * 0.13, width * 0.52
    brush.box(left, top, thick, height, fill)
    brush.box(left + letter - thick, top, thick, height, fill)
    brush.polygon([(left, top), (left + thick, top), (left + letter, top + height),
                   (left + letter - thick, top + height)], fill)
    ring_left, ring = left + letter + width * 0.14, width * 0.34
    for side_left, side_top, across, down in (
            (0, 0, ring, thick), (0, ring * 1.3 - thick, ring, thick),
            (0, 0, thick, ring * 1.3), (ring - thick, 0, thick, ring * 1.3),
            (0, ring * 1.75, ring, thick)):
        brush.box(ring_left + side_left, top + side_top, across, down, fill)


def _draw_plain_digit(brush, box, value, fill):
    """A digit of seven rectangles that touch: small ones read better so."""
    left, top, width, height = box
    thick = height * 0.15
    upper, lower = height / 2 + thick / 2, height / 2 - thick / 2
    rectangles = {'a': (0, 0, width, thick), 'g': (0, lower, width, thick),
                  'd': (0, height - thick, width, thick), 'f': (0, 0, thick, upper),
                  'b': (width - thick, 0, thick, upper), 'e': (0, lower, thick, upper),
                  'c': (width - thick, lower, thick, upper)}
    for segment in SEGMENTS_OF[value]:
        x, y, across, down = rectangles[segment]
        brush.box(left + x, top + y, across, down, fill)


def _draw_shapes(brush, panel, width, height):
    style = panel.style
    boxes = panels.shape_boxes(panel, width, height)
    for box, (shape, _), fill in zip(boxes, panel.shapes, style.shape_colours):
        if style.shape_outline:
            _draw_shape(brush, shape, box, style.shape_outline)
            box = _inside_outline(shape, box, box[2] * 0.03)
        _draw_shape(brush, shape, box, fill)


def _draw_shape(brush, shape, box, fill):
    left, top, width, height = box
    if shape == 'circle':
        brush.disc(left + width / 2, top + height / 2, width / 2, fill)
    elif shape == 'square':
        brush.box(*_grown(box, -width * 0.06), fill)
    else:
        brush.polygon([(left + width / 2, top), (left, top + height), (left + width, top + height)],
                      fill)


def _inside_outline(shape, box, thick):
    """The box of the same shape with an outline of that thickness taken off."""
    if shape != 'triangle':
        return _grown(box, -thick)
    # A triangle that is as wide as high: its slanted sides take more off the tip than the base.
    left, top, width, height = box
    scale = 1 - thick * (math.sqrt(5) + 1) / height
    return (left + width * (1 - scale) / 2, top + height * (1 - scale) - thick,
            width * scale, height * scale)


def _draw_lights(brush, panel, width, height):
    style = panel.style
    rim = panels.mix(style.line, WHITE if panel.ground == 'dark' else BLACK, 0.35)
    for (left, top, size, _), is_on in zip(panels.light_boxes(panel, width, height), panel.lights):
        x, y, radius = left + size / 2, top + size / 2, size / 2
        if is_on:
            brush.disc(x, y, radius * 1.12, panels.mix(style.ground, style.light, 0.35))
        brush.disc(x, y, radius * 0.92, rim)
        if is_on:
            brush.disc(x, y, radius * 0.76, style.light)
            brush.disc(x, y, radius * 0.42, panels.mix(style.light, WHITE, 0.65))
        else:
            brush.disc(x, y, radius * 0.76, panels.mix((40, 42, 44), style.light, 0.14))
            brush.disc(x - radius * 0.25, y - radius * 0.25, radius * 0.2,
                       panels.mix((90, 92, 94), style.light, 0.14))


def _draw_dial(brush, panel, width, height):
    """A round gauge over 270 degrees: 0 at the lower left, 9 at the lower right."""
    style = panel.style
    left, top, size, _ = panels.dial_box(panel, width, height)
    x, y, radius = left + size / 2, top + size / 2, size / 2
    brush.disc(x, y, radius, panels.mix(style.line, BLACK, 0.45))
    brush.disc(x, y, radius * 0.95, panels.mix(style.line, WHITE, 0.35))
    brush.disc(x, y, radius * 0.90, style.dial_face)
    for step in range(panels.DIAL_STEPS):
        is_long = step % 3 == 0
        brush.ray(x, y, dial_angle(step), radius * (0.62 if is_long else 0.70), radius * 0.83,
                  radius * (0.075 if is_long else 0.05), style.dial_ink)
    angle = dial_angle(panel.dial + style.needle_error)
    tip_x, tip_y = x + radius * 0.76 * math.cos(angle), y - radius * 0.76 * math.sin(angle)
    side_x, side_y = math.sin(angle) * radius * 0.085, math.cos(angle) * radius * 0.085
    tail_x, tail_y = x - radius * 0.16 * math.cos(angle), y + radius * 0.16 * math.sin(angle)
    brush.polygon([(tip_x, tip_y), (tail_x + side_x, tail_y + side_y),
                   (tail_x - side_x, tail_y - side_y)], style.needle)
    brush.disc(x, y, radius * 0.12, style.dial_ink)


def dial_angle(step):
    """The direction of a step in radians, counter-clockwise from the right."""
    return math.radians(225 - 30 * step)


def _grown(box, amount):
    """The box made larger by `amount` on each side."""
    left, top, width, height = box
    return left - amount, top - amount, width + 2 * amount, height + 2 * amount
