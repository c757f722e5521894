"""Training batches, rows with sketched images, and held-out prompts."""

import collections
import os
import random
import sys
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "models", "train"))

try:
    import numpy as np
    import batches
except ImportError as missing:
    raise unittest.SkipTest(f"numpy is missing: {missing}")

import text_tasks
from tokenizer import Tokenizer


class RowsTest(unittest.TestCase):
    """The chat frame, weights and spans."""

    def setUp(self):
        self.tokenizer = Tokenizer.load()
        self.maker = batches.RowMaker(self.tokenizer)

    def test_chat_frame_to_the_letter(self):
        turns = [text_tasks.Turn("Status of pump 7?", "pump 7 is hot.", "status"),
                 text_tasks.Turn("Summary?", "none failed.", "summary")]
        row = self.maker.chat("pump 7 hot at 10:42", turns, "log")
        text = ("<|im_start|>user\npump 7 hot at 10:42\nStatus of pump 7?<|im_end|>\n"
                "<|im_start|>assistant\npump 7 is hot.<|im_end|>\n<|im_start|>user\nSummary?"
                "<|im_end|>\n<|im_start|>assistant\nnone failed.<|im_end|>")
        self.assertEqual(self.tokenizer.decode(row.ids), text)
        self.assertEqual(row.ids, self.tokenizer.encode(text))
        answers = [self.tokenizer.decode(row.ids[start:end]) for start, end, _ in row.spans]
        self.assertEqual(answers, [turn.answer + "<|im_end|>" for turn in turns])
        for i, weight in enumerate(row.weights):
            in_answer = any(start <= i < end for start, end, _ in row.spans)
            self.assertEqual(weight == batches.ANSWER_WEIGHT, in_answer)

    def test_rows_put_together_from_parts_equal_the_encoding_of_their_text(self):
        rng = random.Random(3)
        for family in batches.DEFAULT_MIX:
            for _ in range(30 if family != "ind" else 0):
                row = batches.training_row(rng, self.maker, family, rng.random())
                if row is not None:
                    self.assertEqual(row.ids, self.tokenizer.encode(
                        self.tokenizer.decode(row.ids)))
                    self.assertEqual(len(row.ids), len(row.weights))

    def test_repeated_blocks_are_graded_on_repeats_only(self):
        rng = random.Random(8)
        for _ in range(100):
            row = self.maker.repeated_block(rng, 64)
            self.assertEqual(len(row.ids), 64)
            first = row.weights.index(batches.ANSWER_WEIGHT)
            self.assertTrue(any(row.ids[i] == row.ids[first] for i in range(first)))
            self.assertEqual(set(row.weights[:first]), {0.0})
            self.assertLess(max(row.ids), self.tokenizer.n_normal)

    def test_relist_grades_tails(self):
        entries = [text_tasks.Entry("10:42 ", "pump 7", " hot"),
                   text_tasks.Entry("10:44 ", "fan 12", " idle")]
        row = self.maker.relist("10:42 pump 7 hot\n10:44 fan 12 idle", entries[::-1])
        graded = [self.tokenizer.decode(row.ids[start:end]) for start, end, _ in row.spans]
        self.assertEqual(graded, [" idle\n", " hot\n"])


class BatcherTest(unittest.TestCase):
    """The endless stream."""

    def setUp(self):
        self.tokenizer = Tokenizer.load()

    def test_batches_keep_the_budget_and_waste_little(self):
        for progress in (0, 0.5, 1):
            stream = batches.Batcher(self.tokenizer, 1)
            n_tokens = n_padding = 0
            for _ in range(40):
                batch = stream.next(progress)
                self.assertLessEqual(batch.n_tokens, 3072)
                self.assertEqual(batch.ids.dtype, np.int64)
                self.assertEqual(batch.weight.dtype, np.float32)
                self.assertEqual(batch.ids.shape, batch.weight.shape)
                self.assertFalse(batch.weight[:, 0].any())
                self.assertEqual(len(batch.families), len(batch.ids))
                n_tokens += batch.n_tokens
                n_padding += int((batch.ids == stream.maker.pad_id).sum())
            self.assertLess(n_padding / n_tokens, 0.08)

    def test_spans_hold_answers_with_their_end(self):
        stream = batches.Batcher(self.tokenizer, 2)
        ends = {self.tokenizer.id_of("<|im_end|>"), self.tokenizer.id_of("\u010a")}
        for _ in range(20):
            batch = stream.next(0.7)
            for row, start, end, _ in batch.spans:
                self.assertIn(batch.ids[row, end - 1], ends)
                self.assertGreater(batch.weight[row, start:end].min(), batches.QUESTION_WEIGHT)

    def test_difficulty_grows_with_progress(self):
        self.assertEqual((batches.length_limit(0), batches.length_limit(1)), (128, 1100))
        self.assertEqual((batches.line_limit(0), batches.line_limit(1)), (4, 40))
        early, late = (batches.Batcher(self.tokenizer, 3) for _ in range(2))
        longest = [max(stream.next(progress).ids.shape[1] for _ in range(60))
                   for stream, progress in ((early, 0), (late, 1))]
        self.assertLess(longest[0], 200)
        self.assertGreater(longest[1], 700)

    def test_mix_is_kept_and_can_change(self):
        stream = batches.Batcher(self.tokenizer, 4, mix={"ind": 1})
        for _ in range(3):
            batch = stream.next(0)
            self.assertEqual(set(batch.families), {"ind"})
            self.assertEqual(batch.ids.shape[1], batches.IND_ROW)
        stream.mix = batches.DEFAULT_MIX
        made = collections.Counter()
        for _ in range(200):
            batch = stream.next(1)
            for family, weights in zip(batch.families, batch.weight):
                made[family] += int((weights > 0).sum())
        self.assertEqual(set(made), set(batches.DEFAULT_MIX))
        self.assertAlmostEqual(made["log"] / sum(made.values()), 0.30, delta=0.06)

    def test_streams_follow_their_seeds(self):
        first, again, other = (batches.Batcher(self.tokenizer, seed) for seed in (5, 5, 6))
        for progress in (0, 0.4, 1):
            batch = first.next(progress)
            np.testing.assert_array_equal(batch.ids, again.next(progress).ids)
            self.assertFalse(np.array_equal(batch.ids, other.next(progress).ids))

    def test_small_budgets_are_refused(self):
        with self.assertRaises(ValueError):
            batches.Batcher(self.tokenizer, 1, token_budget=500)


class ImageRowsTest(unittest.TestCase):
    """Rows with a sketched image."""

    def setUp(self):
        try:
            import panel
        except ImportError as missing:
            self.skipTest(f"panel.py cannot be imported: {missing}")
        self.panel = panel
        self.tokenizer = Tokenizer.load()

    def test_layout_features_and_answers(self):
        rng = random.Random(1)
        panels = [self.panel.random_panel(rng) for _ in range(5)]
        batch = batches.image_rows(self.tokenizer, panels, 4, 6, rng, n_turns=3)
        image_pad = self.tokenizer.id_of("<|image_pad|>")
        self.assertEqual(self.tokenizer.decode(batch.prefix[0]),
                         "<|im_start|>user\n<|vision_start|>")
        cells = batch.ids[:, batch.n_before:batch.n_before + 24]
        self.assertTrue((cells == image_pad).all())
        self.assertFalse((batch.suffix == image_pad).any())
        self.assertTrue(self.tokenizer.decode(batch.suffix[0]).startswith("<|vision_end|>"))
        self.assertFalse(batch.weight[:, batch.n_before:batch.n_before + 25].any())
        self.assertEqual(len(batch.spans), 15)
        for number, shown in enumerate(panels):
            expected = self.panel.cell_features(shown, 6 * 28, 4 * 28)
            found = [[i for i in cell if i >= 0] for cell in batch.features[number].tolist()]
            self.assertEqual(found, expected)

    def test_strips_show_at_the_edges(self):
        rng = random.Random(2)
        panels = [self.panel.random_panel(rng) for _ in range(20)]
        batch = batches.image_rows(self.tokenizer, panels, 6, 6, rng, strip_share=1.0)
        has_strip = (batch.features == self.panel.STRIP).any(axis=(1, 2))
        self.assertGreater(has_strip.sum(), 5)


class HeldOutTest(unittest.TestCase):
    """Evaluation prompts: fixed, of the wanted lengths, and never seen in training."""

    def setUp(self):
        self.tokenizer = Tokenizer.load()

    def test_lengths_kinds_and_references(self):
        cases = batches.heldout_text(self.tokenizer, 1, 2)
        self.assertEqual(len(cases), 2 * len(batches.LENGTH_CLASSES) * len(text_tasks.EVAL_KINDS))
        for case in cases:
            low, high = case.length_class
            self.assertTrue(low <= case.start < high)
            self.assertEqual(self.tokenizer.decode(case.ids[:case.start]),
                             batches.USER + case.prompt + batches.ASSISTANT)
            self.assertEqual(self.tokenizer.decode(case.ids[case.start:]),
                             case.reference + "<|im_end|>")

    def test_seeds_fix_them(self):
        self.assertEqual(batches.heldout_text(self.tokenizer, 1, 1),
                         batches.heldout_text(self.tokenizer, 1, 1))
        self.assertNotEqual(batches.task_items(self.tokenizer, 1, 9),
                            batches.task_items(self.tokenizer, 2, 9))

    def test_task_items_are_evenly_mixed_and_count_their_tokens(self):
        items = batches.task_items(self.tokenizer, 3, 70)
        kinds = collections.Counter(item["kind"] for item in items)
        self.assertEqual(set(kinds.values()), {10})
        for item in items:
            self.assertEqual(set(item), {"prompt", "reference", "kind", "tokens"})
            framed = batches.USER + item["prompt"] + batches.ASSISTANT
            self.assertEqual(item["tokens"], len(self.tokenizer.encode(framed)))

    def test_training_never_shows_a_reserved_prompt(self):
        stream = batches.Batcher(self.tokenizer, 1)
        n_checked = 0
        for _ in range(60):
            batch = stream.next(1)
            for ids, family in zip(batch.ids, batch.families):
                if family in text_tasks.FREE_KINDS:
                    text = self.tokenizer.decode(ids)
                    for turn in text.split(batches.ASSISTANT)[:-1]:
                        question = turn.split("\n")[-1]
                        asked = text_tasks.Turn(question, "", family)
                        self.assertFalse(text_tasks.is_reserved("", asked), question)
                        n_checked += 1
        self.assertGreater(n_checked, 100)
        for case in batches.heldout_text(self.tokenizer, 1, 1):
            context, _, question = case.prompt.rpartition("\n")
            asked = text_tasks.Turn(question, case.reference, case.kind)
            self.assertTrue(text_tasks.is_reserved(context, asked))


if __name__ == "__main__":
    unittest.main()
