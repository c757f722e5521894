"""Writes merges.json: the merges that make every word of the tasks one token. Run it to rebuild.

The vocabulary is closed by design, so the merges are not learnt from a corpus but built:
 1. letters join, most frequent pair first, until every listed word (without a space) is one piece;
 2. a space joins a digit, and such a piece a second digit: " 7" and " 42" are one token each.
    Nothing joins a digit that has no space before it, so "4827" is four tokens;
 3. a space joins a whole word, and the equals sign.
The order is what makes it work: byte-pair encoding applies the lowest rank first, so by the time a
space can join anything, the letters behind it have already become the whole word.
"""

import collections
import json
import sys

import text_tasks
from tokenizer import MERGES_FILE, SPACE

# Words of the questions and answers about pictures of instrument panels (panel.py).
PANEL_WORDS = tuple(
    "What number is shown serial How many shapes lights are on Is the first second third fourth "
    "light circle square triangle colour color Which shape red green blue yellow purple orange "
    "does dial show display dark or panel yes no none".split())


def letter_merges(words):
    """Pairs that turn each of `words` into a single piece, in order of rank."""
    splits = [list(word) for word in sorted(set(words))]
    merges = []
    while True:
        counts = collections.Counter()
        for pieces in splits:
            counts.update(zip(pieces, pieces[1:]))
        if not counts:
            return merges
        # Ties are broken by spelling, so that the file depends on the words alone.
        left, right = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append((left, right))
        for pieces in splits:
            _join(pieces, left, right)


def _join(pieces, left, right):
    """Replaces each neighbouring (left, right) in the list `pieces` by their concatenation."""
    i = 0
    while i < len(pieces) - 1:
        if pieces[i] == left and pieces[i + 1] == right:
            pieces[i:i + 2] = [left + right]
        i += 1


def build_merges():
    """All merges as (left, right), in order of rank."""
    words = sorted({*text_tasks.all_words(), *PANEL_WORDS})
    digits = "0123456789"
    merges = letter_merges(words)
    merges += [(SPACE, digit) for digit in digits]
    merges += [(SPACE + tens, ones) for tens in digits[1:] for ones in digits]
    merges += [(SPACE, word) for word in words]
    merges.append((SPACE, "="))
    return merges


def main():
    """Writes the file beside this script, one merge per line."""
    lines = [json.dumps(f"{left} {right}", ensure_ascii=False) for left, right in build_merges()]
    with open(MERGES_FILE, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(lines)} merges written to {MERGES_FILE}", file=sys.stderr)


if __name__ == "__main__":
    main()
