"""Training and evaluation rows: text cases in the chat frame, as token ids with loss weights.

A *row* is one token sequence. Every token carries the weight of predicting it (from the tokens
before it); answers are also noted as spans, so that a trainer can count whole right answers.
`Batcher` makes padded batches of rows of similar length for ever; `image_rows` makes batches whose
rows hold a sketched image (feature ids of each cell instead of pixels); `heldout_text` and
`task_items` give fixed evaluation prompts that no training row repeats.
"""

import math
import random
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

import text_tasks
from tokenizer import END_OF_TEXT, IM_END, IM_START, IMAGE_PAD, VISION_END, VISION_START
from text_tasks import Turn

ANSWER_WEIGHT = 1.0
REPEAT_WEIGHT = 0.6      # repeated values of a list
QUESTION_WEIGHT = 0.05
CONTEXT_WEIGHT = 0.02

USER = f"{IM_START}user\n"
ASSISTANT = f"{IM_END}\n{IM_START}assistant\n"

# Share of each family of rows in the tokens of a training run. `ind` and `relist` together stay
# above 20 %: they keep the look-back and matching heads alive that everything else is built on.
DEFAULT_MIX = {"log": 0.32, "value": 0.18, "relist": 0.14, "ind": 0.08, "extreme": 0.10,
               "compare": 0.11, "copy": 0.04, "count": 0.03}
# Share of each kind among the first questions about a log.
LOG_KIND_WEIGHTS = {"status": 3, "event": 1, "summary": 4, "reverse": 2}

MIN_ROW, MAX_ROW = 72, 1100      # wanted row lengths in tokens
LONG_ROW = 300
LIST_FAMILIES = ("log", "value", "relist")
LIST_POWER = 0.5                 # see _wanted_length: long lists are what is learnt last
HARD_LIMIT = 1200                # a row that came out longer than this is drawn again
IND_ROW, MAX_IND_ROW = 64, 512
FILLER_FROM = 0.2                # progress from which filler sentences occur

LENGTH_CLASSES = ((16, 64), (64, 128), (128, 256), (256, 512), (512, 1000))
CELL_PIXELS = 28


class Span(NamedTuple):
    """Where an answer stands: ids[row, start:end] includes the token that ends it."""
    row: int
    start: int
    end: int
    kind: str


class Row(NamedTuple):
    """One sequence; `spans` are (start, end, kind), `family` is a key of DEFAULT_MIX."""
    ids: list
    weights: list
    spans: list
    family: str


@dataclass
class Batch:
    """Rows padded to one length. `weight[b, i]` is the weight of predicting `ids[b, i]`."""
    ids: np.ndarray          # int64 [B, N]
    weight: np.ndarray       # float32 [B, N], 0 at padding and at position 0
    spans: list              # of Span
    families: list           # of each row

    @property
    def n_tokens(self):
        """Tokens with padding: what the batch costs."""
        return self.ids.size


@dataclass
class ImageBatch(Batch):
    """Rows `before` + grid_h * grid_w cells + text; the ids of the cells are IMAGE_PAD."""
    n_before: int = 0
    grid_h: int = 0
    grid_w: int = 0
    # int64 [B, cells, most features of any cell], raster order, -1 where there are fewer
    features: np.ndarray = field(default=None)

    @property
    def n_cells(self):
        """Cells of each row's image."""
        return self.grid_h * self.grid_w

    @property
    def prefix(self):
        """ids before the image, int64 [B, n_before]."""
        return self.ids[:, :self.n_before]

    @property
    def suffix(self):
        """ids after the image, int64 [B, n_after]."""
        return self.ids[:, self.n_before + self.n_cells:]


class RowMaker:
    """Turns cases into rows. Encodes the chat frame once."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.pad_id = tokenizer.id_of(END_OF_TEXT)
        self._encode = tokenizer.encode
        self._user = self._encode(USER)
        self._next_user = self._encode("\n" + USER)
        self._assistant = self._encode(ASSISTANT)
        self._im_end = [tokenizer.id_of(IM_END)]
        self._vision_start = [tokenizer.id_of(VISION_START)]
        self._vision_end = [tokenizer.id_of(VISION_END)]
        self._image_pad = [tokenizer.id_of(IMAGE_PAD)]
        self._newline = self._encode("\n")
        spaced = [tokenizer.encode(f" {number}")[0] for number in range(100)]
        self._number_alphabets = [self._encode("0123456789"), spaced[:10], spaced]

    def chat(self, context, turns, family, n_cells=0):
        """The dialogue `turns` about an image of `n_cells` cells (0: none) and a context."""
        ids = list(self._user)
        if n_cells:
            ids += self._vision_start + self._image_pad * n_cells + self._vision_end
        if context:
            ids += self._encode(context + "\n")
        weights = [CONTEXT_WEIGHT] * len(ids)
        if n_cells:
            first = len(self._user)
            weights[first:first + n_cells + 2] = [0.0] * (n_cells + 2)
        spans = []
        for number, turn in enumerate(turns):
            asked = self._encode(turn.question) + self._assistant
            if number:
                asked = self._next_user + asked
            answer = self._encode(turn.answer) + self._im_end
            start = len(ids) + len(asked)
            spans.append((start, start + len(answer), turn.kind))
            ids += asked
            ids += answer
            weights += [QUESTION_WEIGHT] * len(asked) + [ANSWER_WEIGHT] * len(answer)
        return Row(ids, weights, spans, family)

    def relist(self, context, entries):
        """A list and lines of it again, no chat frame; the loss is on each repeated tail."""
        ids = self._encode(context + "\n")
        weights = [CONTEXT_WEIGHT] * len(ids)
        spans = []
        for entry in entries:
            shown = self._encode(entry.head + entry.key)
            tail = self._encode(entry.tail) + self._newline
            start = len(ids) + len(shown)
            spans.append((start, start + len(tail), "relist"))
            ids += shown
            ids += tail
            weights += [QUESTION_WEIGHT] * len(shown) + [REPEAT_WEIGHT] * len(tail)
        return Row(ids, weights, spans, "relist")

    def repeated_block(self, rng, length):
        """A random block repeated to `length` tokens; the loss is on the repeats only."""
        size = rng.randint(6, length // 2)
        everything = range(self.tokenizer.n_normal)
        if rng.random() < 0.6:
            # In a small alphabet one token does not tell the place: several must be matched.
            known = 3
            alphabet = (rng.choice(self._number_alphabets) if rng.random() < 0.6
                        else rng.sample(everything, rng.randint(4, 16)))
            block = rng.choices(alphabet, k=size)
        else:
            known = 1
            block = (rng.choices(everything, k=size) if rng.random() < 0.5
                     else rng.sample(everything, size))
        first = size + known
        ids = (block * (length // size + 1))[:length]
        return Row(ids, [0.0] * first + [ANSWER_WEIGHT] * (length - first), [], "ind")


# ---- curriculum --------------------------------------------------------------------------------

def length_limit(progress):
    """Longest wanted row: 128 tokens at the start, MAX_ROW from 80 % on."""
    return round(128 + (MAX_ROW - 128) * min(1.0, 1.25 * progress))


def line_limit(progress):
    """Longest list: 4 lines at the start, all of MAX_LINES from about two thirds on."""
    return min(text_tasks.MAX_LINES, 4 + int(57 * progress))


def _wanted_length(rng, low, high, power=1.0):
    """A row length of density 1 / length^(1 + power).

    With power 1 the tokens (not the rows) are spread evenly over the logarithm of length; with a
    lower power more of them lie in long rows.
    """
    share = rng.random()
    return round((share * low**-power + (1 - share) * high**-power) ** (-1 / power))


def training_row(rng, maker, family, progress):
    """A random row of one family; harder ones with progress 0..1. May be None: draw again."""
    limit = length_limit(progress)
    if family == "ind":
        highest = IND_ROW if progress <= 0 else min(limit, MAX_IND_ROW)
        return maker.repeated_block(rng, _wanted_length(rng, IND_ROW, highest))
    length = _wanted_length(rng, MIN_ROW, limit, LIST_POWER if family in LIST_FAMILIES else 1.0)
    lines = line_limit(progress)
    # A list alone cannot fill the longest rows.
    filler_share = 0.5 if length < LONG_ROW else 0.8
    with_filler = progress >= FILLER_FROM and rng.random() < filler_share
    if family == "relist":
        return maker.relist(*text_tasks.relist_case(rng, length, lines, with_filler))
    if family == "copy":
        context, turns = text_tasks.copy_case(rng, rng.randint(1, 4))
    elif family in text_tasks.FREE_KINDS:
        with_filler = with_filler and rng.random() < 0.4
        n_turns = min(rng.choice((2, 4, 6)), max(1, length // text_tasks.FREE_TURN_TOKENS))
        context, turns = text_tasks.make_case(rng, family, length, n_turns, filler=with_filler)
    else:
        kind = family if family == "value" else rng.choices(
            list(LOG_KIND_WEIGHTS), list(LOG_KIND_WEIGHTS.values()))[0]
        # A long list is read at a price: it is worth more questions.
        n_turns = rng.choice((2, 3, 4, 6) if length < LONG_ROW else (4, 5, 6))
        n_turns = min(n_turns, max(1, length // (2 * text_tasks.TURN_TOKENS)))
        context, turns = text_tasks.make_case(rng, kind, length, n_turns, lines, with_filler)
    turns = [turn for turn in turns if not text_tasks.is_reserved(context, turn)]
    return maker.chat(context, turns, family) if turns else None


# ---- batches -----------------------------------------------------------------------------------

def pad_rows(rows, pad_id):
    """(ids, weight, spans) of rows padded at their ends."""
    shape = len(rows), max(len(row.ids) for row in rows)
    ids = np.full(shape, pad_id, np.int64)
    weight = np.zeros(shape, np.float32)
    spans = []
    for number, row in enumerate(rows):
        ids[number, :len(row.ids)] = row.ids
        weight[number, :len(row.ids)] = row.weights
        spans += [Span(number, *span) for span in row.spans]
    weight[:, 0] = 0     # nothing comes before the first token
    return ids, weight, spans


class Batcher:
    """An endless stream of training batches, the same one for the same seed and calls.

    Rows wait in buckets of similar length; a bucket that holds `token_budget` tokens becomes a
    batch, so hardly any padding and no generated row is wasted. `mix` (family -> share of the
    tokens) may be replaced at any time.
    """

    BUCKET_RATIO = 1.12

    def __init__(self, tokenizer, seed, token_budget=3072, mix=None):
        if token_budget < HARD_LIMIT:
            raise ValueError(f"token_budget must be at least {HARD_LIMIT}, one longest row")
        self.maker = RowMaker(tokenizer)
        self.token_budget = token_budget
        self._rng = random.Random(f"train {seed}")
        self._buckets = {}
        self.mix = mix or DEFAULT_MIX

    @property
    def mix(self):
        """Share of each family in the tokens (need not add up to 1)."""
        return self._mix

    @mix.setter
    def mix(self, mix):
        self._mix = dict(mix)
        self._made = dict.fromkeys(mix, 0)

    def next(self, progress):
        """The next Batch; progress 0..1 sets how long and hard new rows are."""
        while True:
            row = self._draw(progress)
            bucket = int(math.log(len(row.ids), self.BUCKET_RATIO))
            rows = self._buckets.setdefault(bucket, [])
            longest = max([len(row.ids)] + [len(other.ids) for other in rows])
            if longest * (len(rows) + 1) <= self.token_budget:
                rows.append(row)
                continue
            self._buckets[bucket] = [row]
            return Batch(*pad_rows(rows, self.maker.pad_id), [other.family for other in rows])

    def _draw(self, progress):
        # The family that is furthest behind its share goes next: shares are kept exactly.
        total, made = sum(self._mix.values()), self._made
        n_made = sum(made.values())
        family = max(made, key=lambda name: self._mix[name] / total * n_made - made[name])
        while True:
            row = training_row(self._rng, self.maker, family, progress)
            if row is not None and len(row.ids) <= HARD_LIMIT:
                made[family] += len(row.ids)
                return row


def _random_strip(rng, width, height):
    """(left, top, width, height) of a panel between black strips, as rounding to cells makes."""
    missing = rng.uniform(0, CELL_PIXELS)
    if rng.random() < 0.5:
        return missing / 2, 0, width - missing, height
    return 0, missing / 2, width, height - missing


def image_rows(tokenizer, panels, grid_h, grid_w, rng, n_turns=4, strip_share=0.0, kinds=None):
    """An ImageBatch: one row for each panel with `n_turns` questions, all on one grid of cells.

    `strip_share` of the images have black strips at two sides. Feature ids are panel.FEATURES'.
    """
    import panel as panel_module  # text training does without pictures

    maker = RowMaker(tokenizer)
    width, height = grid_w * CELL_PIXELS, grid_h * CELL_PIXELS
    rows, cells = [], []
    for panel in panels:
        strip = _random_strip(rng, width, height) if rng.random() < strip_share else None
        cells.append(panel_module.cell_features(panel, width, height, CELL_PIXELS, strip))
        turns = [Turn(*turn) for turn in panel_module.questions(panel, rng, n_turns, kinds)]
        rows.append(maker.chat("", turns, "panel", n_cells=grid_h * grid_w))
    most = max(1, max(len(ids) for image in cells for ids in image))
    features = np.full((len(rows), grid_h * grid_w, most), -1, np.int64)
    for number, image in enumerate(cells):
        for cell, ids in enumerate(image):
            features[number, cell, :len(ids)] = ids
    ids, weight, spans = pad_rows(rows, maker.pad_id)
    n_before = rows[0].ids.index(tokenizer.id_of(IMAGE_PAD))
    return ImageBatch(ids, weight, spans, [row.family for row in rows], n_before, grid_h, grid_w,
                      features)


# ---- held-out prompts --------------------------------------------------------------------------

class HeldOut(NamedTuple):
    """One evaluation prompt. ids[start:] is the reference with its end token."""
    kind: str
    length_class: tuple      # (at least, below) prompt tokens, chat frame included
    prompt: str              # the user's message, without the chat frame
    reference: str
    ids: list
    start: int


def _held_out_case(rng, maker, kind, length_class):
    """A reserved one-turn case whose prompt falls into the length class."""
    low, high = length_class
    while True:
        target = low * (high / low) ** rng.random()
        context, turns = text_tasks.make_case(rng, kind, target + text_tasks.TURN_TOKENS / 3)
        if not text_tasks.is_reserved(context, turns[0]):
            continue
        row = maker.chat(context, turns, kind)
        start = row.spans[0][0]
        if low <= start < high:
            turn = turns[0]
            prompt = f"{context}\n{turn.question}" if context else turn.question
            return HeldOut(kind, length_class, prompt, turn.answer, row.ids, start)


def _held_out_cells():
    return [(kind, bounds) for bounds in LENGTH_CLASSES for kind in text_tasks.EVAL_KINDS]


def heldout_text(tokenizer, seed, n_per_cell):
    """`n_per_cell` HeldOut prompts for each kind and length class, always the same for a seed."""
    maker, rng = RowMaker(tokenizer), random.Random(f"held out {seed}")
    return [_held_out_case(rng, maker, kind, bounds)
            for kind, bounds in _held_out_cells() for _ in range(n_per_cell)]


def task_items(tokenizer, seed, n):
    """`n` prompts for a test set file, one dict for each line, kinds and lengths evenly mixed.

    `tokens` counts the prompt as the model reads it, chat frame included.
    """
    maker, rng = RowMaker(tokenizer), random.Random(f"task file {seed}")
    cells = _held_out_cells()
    items = []
    for number in range(n):
        if number % len(cells) == 0:
            rng.shuffle(cells)
        case = _held_out_case(rng, maker, *cells[number % len(cells)])
        items.append({"prompt": case.prompt, "reference": case.reference, "kind": case.kind,
                      "tokens": case.start})
    return items
