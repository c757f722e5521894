"""The preprocessing: sizes, strips and pixels as libmtmd 0.7.0 makes them."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..', 'models', 'train'))

try:
    import numpy as np
    from PIL import Image
    import preprocess
except ImportError as missing:
    raise unittest.SkipTest(f'the training recipe needs numpy and Pillow: {missing}')


class SmartSize(unittest.TestCase):
    """Target sizes; those with limits 4 and 144 were read off libmtmd 0.7.0."""

    def test_whole_cells_stay(self):
        for size in ((56, 56), (224, 224), (336, 336), (448, 252)):
            self.assertEqual(preprocess.smart_size(*size), size)

    def test_sides_are_rounded_halves_up(self):
        self.assertEqual(preprocess.smart_size(70, 97), (84, 84))
        self.assertEqual(preprocess.smart_size(250, 190), (252, 196))
        self.assertEqual(preprocess.smart_size(100, 69), (112, 56))

    def test_large_pictures_are_rounded_down_below_the_limit(self):
        self.assertEqual(preprocess.smart_size(448, 448, 4, 64), (224, 224))
        self.assertEqual(preprocess.smart_size(640, 480, 4, 64), (252, 168))
        self.assertEqual(preprocess.smart_size(1000, 500, 4, 64), (308, 140))
        self.assertEqual(preprocess.smart_size(896, 896), (336, 336))

    def test_small_pictures_are_rounded_up_above_the_limit(self):
        self.assertEqual(preprocess.smart_size(28, 28), (56, 56))
        self.assertEqual(preprocess.smart_size(1, 1), (56, 56))
        self.assertEqual(preprocess.smart_size(1, 1, 8, 4096), (84, 84))
        self.assertEqual(preprocess.smart_size(1, 1, 1, 4096), (28, 28))

    def test_limits_hold(self):
        for width in range(20, 1200, 37):
            for height in range(max(20, width // 2), 2 * width, 41):
                target = preprocess.smart_size(width, height)
                tokens = target[0] * target[1] // 784
                self.assertTrue(all(side % 28 == 0 for side in target))
                self.assertTrue(4 <= tokens <= 144, (width, height, target))


class Preprocess(unittest.TestCase):
    def test_a_fitting_picture_is_left_alone(self):
        rgb = np.random.default_rng(1).integers(0, 256, (84, 112, 3), dtype=np.uint8)
        out, left, top, scale = preprocess.preprocess(rgb)
        self.assertTrue((out == rgb).all())
        self.assertEqual((left, top, scale), (0, 0, 1.0))

    def test_strips_are_black_and_the_rest_is_centred(self):
        out, left, top, scale = preprocess.preprocess(np.full((190, 250, 3), 200, np.uint8))
        self.assertEqual(out.shape, (196, 252, 3))
        self.assertAlmostEqual(scale, 252 / 250, 6)
        self.assertEqual((left, top), (0, 2))
        self.assertEqual(sorted(set(np.flatnonzero((out == 0).all((1, 2))))), [0, 1, 194, 195])
        self.assertTrue((out[2:194] == 200).all())

    def test_the_aspect_is_kept_and_the_filter_is_bicubic(self):
        rgb = np.random.default_rng(2).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        out, left, top, _ = preprocess.preprocess(rgb)
        self.assertEqual(out.shape, (280, 364, 3))
        place = preprocess.placement(640, 480, 364, 280)
        self.assertEqual(place[:4], (0, 3, 364, 273))
        self.assertEqual((left, top), place[:2])
        scaled = np.asarray(Image.fromarray(rgb).resize((364, 273), Image.BICUBIC))
        self.assertTrue((out[3:276] == scaled).all())


if __name__ == '__main__':
    unittest.main()
