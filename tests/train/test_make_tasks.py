"""The task files: what is for calibration shares nothing with what is held out."""

import collections
import json
import os
import random
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TASKS = os.path.join(ROOT, "models", "tasks")
sys.path.insert(0, os.path.join(ROOT, "models", "train"))

try:
    import make_tasks
    from PIL import Image
except ImportError as missing:
    raise unittest.SkipTest(f"the training recipe needs numpy and Pillow: {missing}")

import text_tasks
from test_text_tasks import expected_answer
from text_tasks import Turn

MAX_CALIB_BYTES = 1_500_000      # of the pictures; of the text 1,000,000


def read(name):
    """The items of a shipped task file."""
    with open(os.path.join(TASKS, name), encoding="utf-8") as file:
        return [json.loads(line) for line in file if not line.startswith("#")]


def case_of(item):
    """Context and turn of a text prompt."""
    context, _, question = item["prompt"].rpartition("\n")
    return context, Turn(question, item["reference"], item["kind"])


class TextTest(unittest.TestCase):
    """calib-text.jsonl against text.jsonl."""

    @classmethod
    def setUpClass(cls):
        cls.held_out = read("text.jsonl")
        cls.calib = read("calib-text.jsonl")

    def test_no_prompt_is_held_out(self):
        self.assertFalse({item["prompt"] for item in self.held_out} &
                         {item["prompt"] for item in self.calib})
        for item in self.calib:
            self.assertFalse(text_tasks.is_reserved(*case_of(item)), item["id"])
        for item in self.held_out:
            self.assertTrue(text_tasks.is_reserved(*case_of(item)), item["id"])

    def test_questions_of_free_kinds_differ_too(self):
        asked = [{case_of(item)[1].question for item in items
                  if item["kind"] in text_tasks.FREE_KINDS}
                 for items in (self.held_out, self.calib)]
        self.assertFalse(asked[0] & asked[1])

    def test_every_kind_and_length_and_no_prompt_twice(self):
        kinds = collections.Counter(item["kind"] for item in self.calib)
        self.assertEqual(set(kinds), set(make_tasks.CALIB_KINDS))
        self.assertLessEqual(max(kinds.values()) - min(kinds.values()), 1)
        self.assertEqual(len({item["prompt"] for item in self.calib}), len(self.calib))
        lengths = [item["x-tokens"] for item in self.calib]
        self.assertTrue(min(lengths) < 24 and max(lengths) > 800)

    def test_references_are_right(self):
        for item in self.calib:
            context, turn = case_of(item)
            if item["kind"] == "copy":
                self.assertEqual(f"Repeat: {turn.answer}", turn.question)
            else:
                self.assertEqual(turn.answer, expected_answer(context, turn), item["id"])

    def test_is_what_the_recipe_makes(self):
        made = list(make_tasks.calib_text_lines(make_tasks.Tokenizer.load()))
        self.assertEqual(made, self.calib)
        self.assertLess(os.path.getsize(os.path.join(TASKS, "calib-text.jsonl")), 1_000_000)


class PanelTest(unittest.TestCase):
    """calib-panel.jsonl against panel.jsonl."""

    @classmethod
    def setUpClass(cls):
        cls.calib = read("calib-panel.jsonl")

    def panels(self, kind_of_file):
        return [make_tasks.panel_of(kind_of_file, number)[0]
                for number in range(kind_of_file.count)]

    def test_no_panel_is_held_out(self):
        held_out = self.panels(make_tasks.HELD_OUT_PANELS)
        calib = self.panels(make_tasks.CALIB_PANELS)
        for panel in calib:
            self.assertNotIn(panel, held_out)
        digits = [{(panel.number, panel.serial) for panel in panels}
                  for panels in (held_out, calib)]
        self.assertFalse(digits[0] & digits[1])

    def test_five_questions_about_each_of_48_small_pictures(self):
        asked = collections.Counter(item["images"][0] for item in self.calib)
        self.assertEqual((len(asked), set(asked.values())), (48, {5}))
        n_bytes, sizes = 0, set()
        for name in asked:
            path = os.path.join(TASKS, name)
            n_bytes += os.path.getsize(path)
            with Image.open(path) as image:
                sizes.add(image.size)
        self.assertLess(n_bytes, MAX_CALIB_BYTES)
        self.assertEqual(sizes, set(make_tasks.CALIB_PANELS.sizes))
        self.assertEqual(len({item["id"] for item in self.calib}), len(self.calib))

    def test_is_what_the_recipe_asks(self):
        with tempfile.TemporaryDirectory() as folder:
            few = make_tasks.CALIB_PANELS._replace(count=3)
            self.assertEqual(list(make_tasks.panel_lines(folder, few)), self.calib[:15])

    def test_a_panel_comes_from_its_seed(self):
        panel, rng = make_tasks.panel_of(make_tasks.CALIB_PANELS, 1)
        other = random.Random("calibration panels 1")
        self.assertEqual(panel, make_tasks.panel.random_panel(other))
        self.assertEqual(rng.random(), other.random())


if __name__ == "__main__":
    unittest.main()
