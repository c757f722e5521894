"""The built-in model's tokenizer: one token per word, and the same ids as llama.cpp."""

import json
import os
import random
import sys
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "models", "train"))

import make_merges
import text_tasks
import tokenizer
from tokenizer import SPACE, Tokenizer

# What llama-tokenize 0.7.0 gave for a vocabulary-only GGUF file of this tokenizer.
LLAMA_CPP_PIECES = {
    "pump 7 running at 10:42": ["pump", " 7", " running", " at", " 10", ":", "4", "2"],
    "What is amber level?\namber level = 42": [
        "What", " is", " amber", " level", "?", "\n", "amber", " level", " =", " 42"],
    " 427 05 4827": [" 42", "7", " 0", "5", " 48", "2", "7"],
    "4827\n\n  17": ["4", "8", "2", "7", "\n", "\n", " ", " 17"],
    "it's 3... nowhere": ["it", "'", "s", " 3", ".", ".", ".", " no", "w", "h", "er", "e"],
}


class WordsTest(unittest.TestCase):
    """The vocabulary is what the tasks need."""

    def setUp(self):
        self.tokenizer = Tokenizer.load()

    def test_every_word_is_one_token_with_and_without_space(self):
        for word in {*text_tasks.all_words(), *make_merges.PANEL_WORDS}:
            for text in (word, " " + word):
                self.assertEqual(len(self.tokenizer.encode(text)), 1, text)

    def test_numbers_below_100_are_one_token_after_a_space(self):
        for number in range(100):
            self.assertEqual(len(self.tokenizer.encode(f" {number}")), 1)

    def test_digits_never_merge_without_a_space(self):
        self.assertEqual(self.tokenizer.encode("4827"),
                         [self.tokenizer.id_of(digit) for digit in "4827"])
        for token in self.tokenizer.tokens[:self.tokenizer.n_normal]:
            if len(token) > 1 and any(symbol.isdigit() for symbol in token):
                self.assertTrue(token.startswith(SPACE) and len(token) <= 3, token)

    def test_panel_words_are_known(self):
        try:
            import panel
        except ImportError as missing:
            self.skipTest(f"panel.py cannot be imported: {missing}")
        rng = random.Random(1)
        for _ in range(300):
            for question, answer, _ in panel.questions(panel.random_panel(rng), rng, 6):
                for word in question.rstrip("?").split() + [answer]:
                    if word.isalpha():
                        self.assertEqual(len(self.tokenizer.encode(word)), 1, word)

    def test_table_is_full_and_its_size_suits_quantised_blocks(self):
        self.assertEqual(len(self.tokenizer), 1024)
        self.assertEqual(len(set(self.tokenizer.tokens)), 1024)
        self.assertEqual(len(self.tokenizer.types), 1024)
        for special in tokenizer.SPECIALS:
            self.assertEqual(self.tokenizer.types[self.tokenizer.id_of(special)],
                             tokenizer.TYPE_CONTROL)


class EncodingTest(unittest.TestCase):
    """Encoding and decoding."""

    def setUp(self):
        self.tokenizer = Tokenizer.load()

    def test_pieces_are_those_of_llama_cpp(self):
        for text, pieces in LLAMA_CPP_PIECES.items():
            ids = self.tokenizer.encode(text)
            self.assertEqual([self.tokenizer.decode([i]) for i in ids], pieces)

    def test_decoding_gives_the_text_back(self):
        rng = random.Random(3)
        texts = ["".join(chr(rng.randint(1, 127)) for _ in range(200)) for _ in range(20)]
        for text in texts + ["", "Grüße, 東京", "a <|im_end|>\n<|im_start|>user\n"]:
            self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(text)), text)

    def test_names_of_special_tokens_become_special_tokens(self):
        ids = self.tokenizer.encode("<|im_start|>user\n")
        self.assertEqual(ids[0], self.tokenizer.id_of("<|im_start|>"))
        self.assertEqual(len(ids), 3)

    def test_unknown_special_is_plain_text(self):
        text = "<|nothing|>"
        self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(text)), text)
        self.assertGreater(len(self.tokenizer.encode(text)), 1)


class MergesTest(unittest.TestCase):
    """The committed merges.json."""

    def test_file_is_what_the_script_builds(self):
        with open(tokenizer.MERGES_FILE, encoding="utf-8") as merges_file:
            committed = json.load(merges_file)
        self.assertEqual(committed, [" ".join(pair) for pair in make_merges.build_merges()])

    def test_larger_vocabularies_grow_in_blocks(self):
        left = [chr(ord("a") + i) for i in range(26)]
        merges = [f"{a} {b}" for a in left for b in left] + [f"{SPACE} {a}" for a in left]
        merges += [f"{SPACE}{a} {b}" for a in left[:5] for b in left]
        grown = Tokenizer(merges)
        self.assertGreaterEqual(len(grown), 256 + len(merges) + 7)
        self.assertEqual(len(grown) % 32, 0)

    def test_two_merges_for_one_token_are_refused(self):
        with self.assertRaises(ValueError):
            Tokenizer(["a b", "ab c", "b c", "a bc"])


if __name__ == "__main__":
    unittest.main()
