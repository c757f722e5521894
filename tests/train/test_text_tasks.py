"""The text tasks: each answer follows from its context, whatever the seed."""

import os
import random
import re
import sys
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "models", "train"))

import text_tasks
from text_tasks import Turn

LOG_LINE = re.compile(r"(?:(?P<before>\d\d:\d\d) )?(?P<device>[a-z]+ \d+) (?P<state>[a-z]+)"
                      r"(?: at (?P<after>\d\d:\d\d))?")
SETTING = re.compile(r"(?P<key>.+?)(?: = |: | is )(?P<value>.+)")


def read_log(context):
    """The lines of a log as (whole line, device, state); filler ends with a full stop."""
    found = []
    for line in context.split("\n"):
        if not line.endswith("."):
            parts = LOG_LINE.fullmatch(line)
            found.append((line, parts["device"], parts["state"]))
    return found


def expected_answer(context, turn):
    """The right answer, worked out from the text alone."""
    question = turn.question
    if turn.kind in text_tasks.LOG_TURNS:
        log = read_log(context)
        states = {device: state for _, device, state in log}
        assert len(states) == len(log), "a device stands in the log twice"
        failed = [device for device, state in states.items() if state == "failed"]
        if turn.kind == "status":
            device = re.fullmatch(r"Status of (.+)\?", question)[1]
            return f"{device} is {states[device]}."
        if turn.kind == "event":
            device = re.fullmatch(r"Show the line of (.+)\.", question)[1]
            return next(line for line, name, _ in log if name == device) + "."
        if turn.kind == "reverse":
            assert len(failed) == 1
            return f"{failed[0]} failed."
        if not failed:
            return "none failed."
        return f"{len(failed)} device{'s' * (len(failed) > 1)} failed: {', '.join(failed)}."
    if turn.kind == "value":
        lines = [SETTING.fullmatch(line) for line in context.split("\n") if line[-1] != "."]
        values = {line["key"]: line["value"] for line in lines}
        assert len(values) == len(lines), "a key stands in the list twice"
        key = re.fullmatch(r"What is (.+)\?", question)[1]
        return f"{key} is {values[key]}."
    if turn.kind == "count":
        n_items = question.count(",") + 1
        return f"{n_items} item{'' if n_items == 1 else 's'}."
    numbers = [int(text) for text in re.findall(r"\d+", question)]
    assert len(set(numbers)) == len(numbers)
    word = re.search(r"(?i)largest|smallest|larger|smaller", question)[0].lower()
    best = max(numbers) if word.startswith("large") or word == "larger" else min(numbers)
    return f"The {word} is {best}."


class AnswersTest(unittest.TestCase):
    """Every kind, with and without filler, one and many turns."""

    def test_answers_follow_from_the_context(self):
        rng = random.Random(11)
        for kind in text_tasks.EVAL_KINDS:
            for trial in range(150):
                context, turns = text_tasks.make_case(
                    rng, kind, rng.randint(20, 900), 1 + trial % 4, filler=trial % 2 == 0)
                self.assertEqual(len(turns), 1 + trial % 4)
                self.assertEqual(turns[0].kind, kind)
                for turn in turns:
                    self.assertEqual(turn.answer, expected_answer(context, turn))

    def test_every_kind_of_further_question_occurs(self):
        rng = random.Random(2)
        kinds = set()
        for _ in range(50):
            _, turns = text_tasks.log_case(rng, "status", 5, n_turns=4)
            kinds.update(turn.kind for turn in turns)
        self.assertEqual(kinds, set(text_tasks.LOG_TURNS))

    def test_limits_are_kept(self):
        rng = random.Random(4)
        sizes = []
        for _ in range(200):
            context, _ = text_tasks.make_case(rng, "summary", 500)
            sizes.append(len(read_log(context)))
            self.assertLessEqual(sum(state == "failed" for *_, state in read_log(context)),
                                 text_tasks.MAX_FAILED)
        self.assertEqual((min(sizes), max(sizes)),
                         (text_tasks.MIN_LINES["summary"], text_tasks.MAX_LINES))

    def test_one_seed_gives_one_stream(self):
        def stream(seed):
            rng = random.Random(seed)
            return [text_tasks.make_case(rng, kind, 100) for kind in text_tasks.EVAL_KINDS]

        self.assertEqual(stream(7), stream(7))
        self.assertNotEqual(stream(7), stream(8))


class PiecesTest(unittest.TestCase):
    """Filler, repeated lists, copies, the reserved prompts."""

    def test_filler_keeps_the_lines_in_their_order(self):
        lines = [f"line {i}" for i in range(9)]
        mixed = text_tasks.with_filler(random.Random(1), lines, 20).split("\n")
        self.assertEqual(len(mixed), 29)
        self.assertEqual([line for line in mixed if not line.endswith(".")], lines)

    def test_repeated_lines_stand_in_the_list(self):
        rng = random.Random(5)
        for _ in range(100):
            context, entries = text_tasks.relist_case(rng, rng.randint(60, 600))
            lines = context.split("\n")
            self.assertTrue(entries)
            for entry in entries:
                self.assertIn(entry.line, lines)

    def test_copies_repeat_the_question(self):
        for turn in text_tasks.copy_case(random.Random(3), 20)[1]:
            self.assertEqual(turn.question, f"Repeat: {turn.answer}")

    def test_all_words_covers_what_is_written(self):
        known = set(text_tasks.all_words())
        rng = random.Random(6)
        for kind in text_tasks.EVAL_KINDS:
            for _ in range(100):
                context, turns = text_tasks.make_case(rng, kind, 300, 3)
                for text in [context] + [part for turn in turns for part in turn[:2]]:
                    self.assertLessEqual(set(re.findall("[A-Za-z]+", text)), known)

    def test_a_sixteenth_is_reserved_and_filler_does_not_matter_to_free_kinds(self):
        rng = random.Random(9)
        turns = [text_tasks.free_case(rng, "compare")[1][0] for _ in range(3000)]
        reserved = [text_tasks.is_reserved("", turn) for turn in turns]
        self.assertAlmostEqual(sum(reserved) / len(turns), 1 / 16, delta=0.02)
        self.assertEqual(reserved, [text_tasks.is_reserved("The key.", turn) for turn in turns])
        status = Turn("Status of pump 7?", "pump 7 is hot.", "status")
        told = {text_tasks.is_reserved(f"pump 7 hot at 10:{i}", status) for i in range(10, 60)}
        self.assertEqual(told, {True, False})


if __name__ == "__main__":
    unittest.main()
