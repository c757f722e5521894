"""Panels: layout without overlaps, drawing at any size, labels of cells, questions, batches."""

import itertools
import os
import random
import sys
import unittest
from dataclasses import replace

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..', 'models', 'train'))

try:
    import numpy as np
    import panel as panels
    import pictures
    from drawing import draw
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs numpy and Pillow: {missing}')

SIZES = ((56, 56), (224, 224), (168, 308), (308, 168), (672, 896))


def some_panels(count, seed=1):
    rng = random.Random(seed)
    return [panels.random_panel(rng) for _ in range(count)]


def group_boxes(panel, width, height):
    """One box for each part, with all that is drawn around it."""
    plate, _, _ = panels.serial_boxes(panel, width, height)
    boxes = [panels.number_boxes(panel, width, height)[0], plate,
             panels.dial_box(panel, width, height)]
    boxes += panels.shape_boxes(panel, width, height) + panels.light_boxes(panel, width, height)
    return boxes


def overlap(one, other):
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0, across) * max(0, down)


class Features(unittest.TestCase):
    def test_ids_are_stable(self):
        self.assertEqual(len(panels.FEATURES), 92)
        for number, name in ((0, 'number digit 1 is 0'), (29, 'number digit 3 is 9'),
                             (30, 'serial digit 1 is 0'), (50, 'red circle'),
                             (67, 'orange triangle'), (68, 'shape 1'), (71, 'light 1 off'),
                             (72, 'light 1 on'), (79, 'dial 0'), (89, 'ground dark'),
                             (90, 'ground light'), (91, 'strip')):
            self.assertEqual(panels.FEATURES[number], name)


class Layout(unittest.TestCase):
    def test_nothing_overlaps_or_leaves_the_panel(self):
        for panel, (width, height) in itertools.product(some_panels(300), SIZES):
            boxes = group_boxes(panel, width, height)
            for one, other in itertools.combinations(boxes, 2):
                self.assertLess(overlap(one, other), 0.01, (panel, width, height))
            for left, top, across, down in boxes:
                self.assertTrue(0 < left and left + across < width)
                self.assertTrue(0 < top and top + down < height)

    def test_sizes_of_digits(self):
        for panel in some_panels(300):
            number = panels.number_boxes(panel, 224, 224)[1][0][3] / 224
            serial = panels.serial_boxes(panel, 224, 224)[2][0][3] / 224
            self.assertTrue(0.14 <= number <= 0.34, number)
            self.assertTrue(0.05 <= serial <= 0.075, serial)

    def test_facts_are_in_range_and_all_occur(self):
        drawn = some_panels(600)
        self.assertEqual({len(panel.number) for panel in drawn}, {3})
        self.assertEqual({len(panel.shapes) for panel in drawn}, {1, 2, 3})
        self.assertEqual({panel.dial for panel in drawn}, set(range(10)))
        self.assertEqual({sum(panel.lights) for panel in drawn}, {0, 1, 2, 3, 4})
        for panel in drawn:
            shapes, colours = zip(*panel.shapes)
            self.assertEqual(len(set(shapes)), len(shapes))
            self.assertEqual(len(set(colours)), len(colours))

    def test_left_to_right(self):
        for panel in some_panels(50):
            for boxes in (panels.number_boxes(panel, 224, 224)[1],
                          panels.shape_boxes(panel, 224, 224), panels.light_boxes(panel, 224, 224)):
                self.assertEqual([box[0] for box in boxes], sorted(box[0] for box in boxes))


class Drawing(unittest.TestCase):
    def test_any_size(self):
        panel = some_panels(1)[0]
        for size in SIZES + ((897, 643), (29, 41)):
            self.assertEqual(draw(panel, *size).size, size)

    def test_the_same_panel_gives_the_same_picture(self):
        one, other = some_panels(1), some_panels(1)
        self.assertEqual(one, other)
        self.assertEqual(draw(one[0], 112, 84).tobytes(), draw(other[0], 112, 84).tobytes())

    def test_shapes_have_their_colour_where_their_boxes_are(self):
        for panel in some_panels(40):
            pixels = np.asarray(draw(panel, 224, 224)).astype(int)
            boxes = panels.shape_boxes(panel, 224, 224)
            for (left, top, across, down), (_, colour) in zip(boxes, panel.shapes):
                seen = pixels[int(top + down * 0.6), int(left + across / 2)]
                distances = {name: np.abs(seen - rgb).sum()
                             for name, rgb in panels.SHAPE_RGB.items()}
                self.assertEqual(min(distances, key=distances.get), colour)

    def test_dark_and_light(self):
        for panel in some_panels(60):
            corner = np.asarray(draw(panel, 224, 224))[8:12, 100:120].mean()
            self.assertEqual(panel.ground, 'dark' if corner < 110 else 'light')

    def test_what_differs_can_be_seen_at_the_labelled_place(self):
        """Another digit changes pixels in that digit's own box and nowhere else."""
        for panel in some_panels(20):
            changed = replace(panel, serial=((panel.serial[0] + 1) % 10, panel.serial[1]),
                              number=panel.number[:-1] + ((panel.number[-1] + 1) % 10,))
            before, after = (np.asarray(draw(one, 336, 336)).astype(int)
                             for one in (panel, changed))
            differs = np.abs(before - after).sum(2) > 0
            for box in (panels.serial_boxes(panel, 336, 336)[2][0],
                        panels.number_boxes(panel, 336, 336)[1][-1]):
                left, top, right, bottom = (box[0], box[1], box[0] + box[2], box[1] + box[3])
                inside = (slice(int(top) - 1, int(bottom) + 2),
                          slice(int(left) - 1, int(right) + 2))
                self.assertTrue(differs[inside].any())
                differs[inside] = False
            self.assertFalse(differs.any())


class CellLabels(unittest.TestCase):
    def test_every_fact_is_in_some_cell_at_every_size(self):
        sizes = ((56, 56), (168, 280), (336, 336))
        for panel, (width, height) in itertools.product(some_panels(60), sizes):
            targets = panels.cell_targets(panel, width, height)
            shown = {panels.FEATURES[feature] for feature in np.flatnonzero(targets.any(0))}
            facts = {f'number digit {place + 1} is {value}'
                     for place, value in enumerate(panel.number)}
            facts |= {f'serial digit {place + 1} is {value}'
                      for place, value in enumerate(panel.serial)}
            facts |= {f'{colour} {shape}' for shape, colour in panel.shapes}
            facts |= {f'shape {place + 1}' for place in range(len(panel.shapes))}
            facts |= {f'light {place + 1} {"on" if lit else "off"}'
                      for place, lit in enumerate(panel.lights)}
            facts.add(f'dial {panel.dial}')
            self.assertLessEqual(facts, shown)
            self.assertLessEqual(shown - facts, {f'ground {panel.ground}'})

    def test_no_cell_is_empty(self):
        for panel in some_panels(40):
            self.assertTrue(panels.cell_targets(panel, 336, 252).any(1).all())

    def test_strips(self):
        panel = some_panels(1)[0]
        targets = panels.cell_targets(panel, 112, 112, strip=(6, 0, 100, 112))
        strip = targets[:, panels.STRIP].reshape(4, 4)
        self.assertEqual(strip.tolist(), [[1, 0, 0, 1]] * 4)
        without = panels.cell_targets(panel, 112, 112)
        self.assertFalse(without[:, panels.STRIP].any())

    def test_lists_agree_with_the_array(self):
        panel = some_panels(1)[0]
        lists = panels.cell_features(panel, 112, 84)
        targets = panels.cell_targets(panel, 112, 84)
        self.assertEqual(len(lists), 12)
        for features, row in zip(lists, targets):
            self.assertEqual(features, np.flatnonzero(row).tolist())


class Questions(unittest.TestCase):
    def setUp(self):
        self.panel = some_panels(1)[0]
        self.rng = random.Random(3)

    def ask(self, kind, **facts):
        return panels.questions(replace(self.panel, **facts), self.rng, 1, [kind])[0]

    def test_wording(self):
        self.assertEqual(self.ask('number', number=(4, 8, 2)),
                         ('What number is shown?', '#482', 'number'))
        self.assertEqual(self.ask('serial', serial=(0, 7)),
                         ('What is the serial number?', 'No.07', 'serial'))
        self.assertEqual(self.ask('lights', lights=(True, False, True, True)),
                         ('How many lights are on?', '3 lights are on.', 'lights'))
        self.assertEqual(self.ask('dial', dial=7), ('What does the dial show?', 'The dial is at 7.', 'dial'))
        self.assertEqual(self.ask('ground', ground='dark'),
                         ('Is the panel dark or light?', 'The panel is dark.', 'ground'))
        self.assertEqual(self.ask('shapes', shapes=(('circle', 'red'), ('square', 'blue'))),
                         ('How many shapes?', '2 shapes.', 'shapes'))

    def test_shapes_and_colours(self):
        shapes = (('circle', 'red'), ('triangle', 'blue'))
        colours = {self.ask('colour', shapes=shapes) for _ in range(200)}
        self.assertEqual(colours, {('What colour is the circle?', 'The circle is red.', 'colour'),
                                   ('What colour is the triangle?', 'The triangle is blue.', 'colour'),
                                   ('What colour is the square?', 'none', 'colour')})
        which = [self.ask('which', shapes=shapes) for _ in range(400)]
        self.assertIn(('Which shape is red?', 'The red shape is the circle.', 'which'), which)
        absent = sum(answer == 'none' for _, answer, _ in which) / len(which)
        self.assertTrue(0.12 < absent < 0.28, absent)

    def test_single_lights(self):
        asked = {self.ask('light', lights=(True, False)) for _ in range(50)}
        self.assertEqual(asked, {('Is the first light on?', 'The first light is on.', 'light'),
                                 ('Is the second light on?', 'The second light is off.', 'light')})

    def test_no_question_twice(self):
        for panel in some_panels(50):
            asked = [question for question, _, _ in panels.questions(panel, self.rng, 8)]
            self.assertEqual(len(asked), 8)
            self.assertEqual(len(set(asked)), 8)

    def test_as_many_as_wanted_even_where_there_is_one_only(self):
        self.assertEqual(len(panels.questions(self.panel, self.rng, 3, ['dial'])), 3)


class Batches(unittest.TestCase):
    def test_shapes_and_limits(self):
        for seed in range(12):
            rng = random.Random(seed)
            pixels, targets, drawn = pictures.batch(rng, seed / 12, 1200)
            count, height, width, _ = pixels.shape
            cells = height * width // 784
            self.assertEqual(targets.shape, (count, cells, len(panels.FEATURES)))
            self.assertEqual((len(drawn), pixels.dtype, targets.dtype),
                             (count, np.uint8, np.uint8))
            self.assertTrue(4 <= cells <= 144 and (count == 1 or count * cells * 4 <= 1200))
            self.assertTrue(targets.any(2).all())

    def test_a_function_of_the_generator(self):
        one, other = (pictures.batch(random.Random(5), 0.5, 800) for _ in range(2))
        self.assertTrue((one[0] == other[0]).all() and (one[1] == other[1]).all())
        self.assertEqual(one[2], other[2])

    def test_curriculum_of_sizes(self):
        rng = random.Random(1)
        early = [width * height // 784 for width, height in
                 (pictures.random_size(rng, 0) for _ in range(400))]
        late = [width * height // 784 for width, height in
                (pictures.random_size(rng, 0.3) for _ in range(2000))]
        self.assertTrue(min(early) >= 6 and max(early) <= 45, (min(early), max(early)))
        self.assertEqual((min(late), max(late)), (4, 144))
        self.assertGreater(np.mean(np.array(late) > 75), 0.3)

    def test_strips_are_black_and_labelled(self):
        rng, seen = random.Random(2), 0
        for _ in range(40):
            pixels, targets = pictures.picture(panels.random_panel(rng), rng, 112, 140)
            if not targets[:, panels.STRIP].any():
                continue
            seen += 1
            border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            self.assertTrue((border == 0).all(1).any())
        self.assertGreater(seen, 3)


if __name__ == '__main__':
    unittest.main()
