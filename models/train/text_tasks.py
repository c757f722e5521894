"""Text tasks of the built-in model: seeded generators of contexts, questions and answers.

A *case* is a context (possibly empty) and a list of turns (question, answer, kind) about it.
Every generator draws from the `random.Random` it is given and from nothing else, so one seed
gives one stream of cases. Nothing here knows about tokens: `make_case` aims at a wanted prompt
length with the average costs below, which hold because every word is one token (tokenizer.py).

The answers are designed to be copied: they repeat the words of the context in the same form and
order, because a look-up followed by a verbatim copy is what a small model learns reliably.
"""

import zlib
from typing import NamedTuple

DEVICES = tuple(
    "pump valve fan heater sensor motor door lamp tank boiler mixer robot belt drill press gate "
    "relay meter oven cooler".split())
ADJECTIVES = tuple(
    "amber brass cedar delta ember fjord grove harbor indigo jade kite lumen maple north onyx "
    "pearl quartz river slate tidal umber winter yarrow zenith".split())
ATTRIBUTES = tuple(
    "speed level mode count phase limit range state depth angle power gain".split())
GOODS = tuple(
    "apple bread cat dog house table milk plum pear lemon salt sugar rice tea book pen cup plate "
    "chair clock phone shoe coat ring".split())
COLOURS = tuple("red green blue yellow purple orange".split())
CITIES = tuple(
    "Paris Rome Oslo Berlin Madrid London Tokyo Lima Cairo Delhi Vienna Prague".split())
FAILED = "failed"
HEALTHY = tuple("running stopped open closed idle ready hot cold blocked".split())
UNITS = tuple("bar kg volts amps watts".split())

FILLER_SUBJECTS = ("The report", "The night shift report", "The last order", "The new part",
                   "The old part", "A short note", "The note of the day shift", "The key")
FILLER_VERBS = ("was sent to", "was seen in", "was moved to", "was left in", "came from")
FILLER_PLACES = ("the office", "the store", "the yard", "the hall")
FILLER_TAILS = ("", " during the day", " during the night", " before noon", " after noon",
                " without delay")

LOG_KINDS = ("status", "summary", "reverse")     # and, only in training, "event"
FREE_KINDS = ("compare", "extreme", "count")     # answered without a context
EVAL_KINDS = LOG_KINDS + ("value",) + FREE_KINDS

MAX_LINES = 40
MAX_FAILED = 2
MIN_LINES = {"status": 2, "event": 2, "summary": 3, "reverse": 2, "value": 2}

# Average costs in tokens, for planning only.
FRAME_TOKENS = 9         # chat frame of a one-turn prompt
TURN_TOKENS = 21         # question, answer and frame of one more turn
FREE_TURN_TOKENS = 24
LOG_LINE_TOKENS = 9.2    # "pump 7 running at 10:42\n" and "10:42 pump 7 running\n" alike
VALUE_LINE_TOKENS = 5
FILLER_TOKENS = 12

RESERVED_ONE_IN = 16


class Turn(NamedTuple):
    """One question about a context, its reference answer and the name of the skill it asks for."""
    question: str
    answer: str
    kind: str


class Entry(NamedTuple):
    """One line of a list. `head` cannot be known from `key`; `tail` is what a look-up must give."""
    head: str
    key: str
    tail: str

    @property
    def line(self):
        """The whole line, as it stands in the list."""
        return self.head + self.key + self.tail


class Log(NamedTuple):
    """A device log: its lines, the state of each device, and whether the device comes first."""
    entries: list
    states: dict
    device_first: bool


def is_reserved(context, turn):
    """True for the prompts that are kept for held-out use: training must skip exactly these.

    Tasks that need no context are judged by their question alone, so that a held-out comparison is
    new to the model even if it was framed by other filler text.
    """
    text = turn.question if turn.kind in FREE_KINDS else f"{context}\n{turn.question}"
    return zlib.crc32(text.encode()) % RESERVED_ONE_IN == 0


# ---- building blocks ---------------------------------------------------------------------------

def filler_sentence(rng):
    """An innocent sentence that answers no question of any task."""
    return (f"{rng.choice(FILLER_SUBJECTS)} {rng.choice(FILLER_VERBS)} "
            f"{rng.choice(FILLER_PLACES)}{rng.choice(FILLER_TAILS)}.")


def with_filler(rng, lines, n_filler):
    """`lines` in their order with `n_filler` filler sentences between, before and after them."""
    is_filler = [True] * n_filler + [False] * len(lines)
    rng.shuffle(is_filler)
    rest = iter(lines)
    return "\n".join(filler_sentence(rng) if filler else next(rest) for filler in is_filler)


def _distinct(rng, draw, n_wanted):
    """Up to `n_wanted` different values of `draw(rng)`, in drawing order."""
    found = {}
    for _ in range(20 * n_wanted):
        if len(found) == n_wanted:
            break
        found[draw(rng)] = None
    return list(found)


def _device_names(rng, n_devices):
    # A third of the lists has few nouns, so that the number alone must tell the lines apart.
    nouns = rng.sample(DEVICES, rng.randint(1, 3)) if rng.random() < 0.3 else DEVICES
    highest = 9 if rng.random() < 0.2 and n_devices <= 4 * len(nouns) else 99
    return _distinct(rng, lambda r: f"{r.choice(nouns)} {r.randint(1, highest)}", n_devices)


def make_log(rng, n_lines, n_failed=None, device_first=None):
    """A log of `n_lines` different devices; `n_failed` of them (default: 0..MAX_FAILED) have failed."""
    if device_first is None:
        device_first = rng.random() < 0.6
    if n_failed is None:
        n_failed = rng.randint(0, MAX_FAILED)
    devices = _device_names(rng, n_lines)
    failed = set(rng.sample(devices, min(n_failed, len(devices))))
    minute = rng.randint(0, 1439 - 9 * n_lines)
    entries, states = [], {}
    for device in devices:
        minute += rng.randint(1, 9)
        clock = f"{minute // 60:02d}:{minute % 60:02d}"
        state = FAILED if device in failed else rng.choice(HEALTHY)
        states[device] = state
        entries.append(Entry("", device, f" {state} at {clock}") if device_first
                       else Entry(f"{clock} ", device, f" {state}"))
    return Log(entries, states, device_first)


def _pair_keys(rng, n_lines):
    return _distinct(rng, lambda r: f"{r.choice(ADJECTIVES)} {r.choice(ATTRIBUTES)}", n_lines)


def _word_keys(rng, n_lines):
    return rng.sample(ADJECTIVES + GOODS, n_lines)


def _number(rng):
    return str(rng.randint(0, 99))


def _quantity(rng):
    return f"{_number(rng)} {rng.choice(UNITS)}"


def _colour(rng):
    return rng.choice(COLOURS)


def _city(rng):
    return rng.choice(CITIES)


def _good(rng):
    return rng.choice(GOODS)


def make_settings(rng, n_lines):
    """A list of `n_lines` keys with values; returns (entries, the value of each key)."""
    keys_of = rng.choice((_pair_keys, _pair_keys, _device_names, _word_keys))
    # A word that is both key and value would make the list itself ambiguous.
    words = (_colour, _city) if keys_of is _word_keys else (_colour, _city, _good)
    pool = (_number, _number, _quantity) + words
    draw_of_list = None if rng.random() < 0.2 else rng.choice(pool)
    separator = rng.choice((" = ", ": ", " is "))
    values = {key: (draw_of_list or rng.choice(pool))(rng) for key in keys_of(rng, n_lines)}
    return [Entry("", key, separator + value) for key, value in values.items()], values


# ---- questions ---------------------------------------------------------------------------------

def _status_turn(rng, log):
    device = rng.choice(log.entries).key
    return Turn(f"Status of {device}?", f"{device} is {log.states[device]}.", "status")


def _event_turn(rng, log):
    entry = rng.choice(log.entries)
    return Turn(f"Show the line of {entry.key}.", f"{entry.line}.", "event")


def _failed_devices(log):
    return [device for device, state in log.states.items() if state == FAILED]


def _summary_turn(_rng, log):
    failed = _failed_devices(log)
    noun = "device" if len(failed) == 1 else "devices"
    answer = f"{len(failed)} {noun} failed: {', '.join(failed)}." if failed else "none failed."
    return Turn("Summary?", answer, "summary")


def _reverse_turn(_rng, log):
    return Turn("Which device failed?", f"{_failed_devices(log)[0]} failed.", "reverse")


LOG_TURNS = {"status": _status_turn, "event": _event_turn,
             "summary": _summary_turn, "reverse": _reverse_turn}


def _value_turn(rng, values):
    key = rng.choice(list(values))
    return Turn(f"What is {key}?", f"{key} is {values[key]}.", "value")


def _compare_turn(rng):
    first = rng.randint(0, 99)
    if rng.random() < 0.3:      # near pairs: the tens alone do not decide
        second = min(99, max(0, first + rng.choice((-9, -5, -3, -2, -1, 1, 2, 3, 5, 9))))
    else:
        second = rng.randint(0, 99)
    if second == first:
        second = first + 1 if first < 99 else first - 1
    word, pick = rng.choice((("larger", max), ("smaller", min)))
    return Turn(f"Which is {word}, {first} or {second}?", f"The {word} is {pick(first, second)}.",
                "compare")


def _extreme_turn(rng):
    numbers = rng.sample(range(100), rng.randint(3, 6))
    word, pick = rng.choice((("largest", max), ("smallest", min)))
    return Turn(f"{word.capitalize()} of {', '.join(map(str, numbers))}?",
                f"The {word} is {pick(numbers)}.", "extreme")


def _count_turn(rng):
    items = rng.sample(rng.choice((GOODS, ADJECTIVES, DEVICES, CITIES)), rng.randint(1, 9))
    noun = "item" if len(items) == 1 else "items"
    return Turn(f"How many items: {', '.join(items)}?", f"{len(items)} {noun}.", "count")


FREE_TURNS = {"compare": _compare_turn, "extreme": _extreme_turn, "count": _count_turn}


# ---- cases -------------------------------------------------------------------------------------

def _log_uniform(rng, low, high):
    """An integer from `low` to `high`, each doubling about equally likely."""
    return min(high, int(low * ((high + 1) / low) ** rng.random()))


def plan_lines(rng, room_tokens, line_tokens, least, most, filler):
    """How many list lines and filler sentences fill `room_tokens`: (n_lines, n_filler).

    The list takes all the room it may, or a random part of it: more often with filler, which then
    takes the rest. Without filler the rest stays empty.
    """
    n_lines = max(least, min(most, int(room_tokens / line_tokens)))
    if rng.random() < (0.6 if filler else 0.3):
        n_lines = _log_uniform(rng, least, n_lines)
    spare = room_tokens - n_lines * line_tokens
    return n_lines, max(0, round(spare / FILLER_TOKENS)) if filler else 0


def log_case(rng, kind, n_lines, n_filler=0, n_turns=1):
    """A log and `n_turns` questions about it, the first of them of the wanted kind."""
    log = make_log(rng, n_lines, n_failed=1 if kind == "reverse" else None,
                   device_first=True if kind == "event" else None)
    kinds = [kind]
    for _ in range(n_turns - 1):
        kinds.append(_next_kind(rng, log, kinds))
    turns = [LOG_TURNS[name](rng, log) for name in kinds]
    return with_filler(rng, [entry.line for entry in log.entries], n_filler), turns


def _next_kind(rng, log, asked):
    """The kind of a further question: one that this log allows, and no whole-log one twice."""
    weights = {"status": 4}
    if log.device_first:
        weights["event"] = 1
    if "summary" not in asked:
        weights["summary"] = 2
    if len(_failed_devices(log)) == 1 and "reverse" not in asked:
        weights["reverse"] = 2
    return rng.choices(list(weights), list(weights.values()))[0]


def value_case(rng, n_lines, n_filler=0, n_turns=1):
    """A list of settings and `n_turns` questions about it."""
    entries, values = make_settings(rng, n_lines)
    turns = [_value_turn(rng, values) for _ in range(n_turns)]
    return with_filler(rng, [entry.line for entry in entries], n_filler), turns


def free_case(rng, kind, n_filler=0, n_turns=1):
    """`n_turns` questions that need no context; filler sentences may stand before them."""
    return with_filler(rng, [], n_filler), [FREE_TURNS[kind](rng) for _ in range(n_turns)]


def make_case(rng, kind, target_tokens, n_turns=1, max_lines=MAX_LINES, filler=True):
    """A case of an evaluated kind, about `target_tokens` long with all its turns.

    Without `filler` it may be much shorter; below the smallest case it is longer.
    """
    if kind in FREE_KINDS:
        room = target_tokens - FRAME_TOKENS - FREE_TURN_TOKENS * n_turns
        return free_case(rng, kind, max(0, round(room / FILLER_TOKENS)) if filler else 0, n_turns)
    room = target_tokens - FRAME_TOKENS - TURN_TOKENS * n_turns
    line_tokens = VALUE_LINE_TOKENS if kind == "value" else LOG_LINE_TOKENS
    n_lines, n_filler = plan_lines(rng, room, line_tokens, MIN_LINES[kind], max_lines, filler)
    if kind == "value":
        return value_case(rng, n_lines, n_filler, n_turns)
    return log_case(rng, kind, n_lines, n_filler, n_turns)


# ---- training only -----------------------------------------------------------------------------

def made_up_word(rng):
    """A pronounceable word of one to three syllables that is in no word list (several tokens)."""
    syllables = [rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou")
                 for _ in range(rng.randint(1, 3))]
    return "".join(syllables) + rng.choice(("", "n", "s", "x"))


def copy_case(rng, n_turns=1):
    """Verbatim repetition of words, numbers and made-up words."""
    words = DEVICES + ADJECTIVES + GOODS + COLOURS + CITIES
    draws = (lambda r: r.choice(words), _number, lambda r: str(r.randint(100, 9999)), made_up_word)
    turns = []
    for _ in range(n_turns):
        parts = [rng.choices(draws, (14, 4, 1, 1))[0](rng) for _ in range(rng.randint(1, 8))]
        turns.append(Turn(f"Repeat: {' '.join(parts)}", " ".join(parts), "copy"))
    return "", turns


def relist_case(rng, target_tokens, max_lines=MAX_LINES, filler=True, max_repeats=16):
    """A list, and some of its lines again in another order: (context, repeated entries)."""
    make, cost = ((make_log, LOG_LINE_TOKENS) if rng.random() < 0.4
                  else (make_settings, VALUE_LINE_TOKENS))
    # A repeated line costs room too: about half of the room goes to each part of a short list.
    room = max(target_tokens / 2, target_tokens - max_repeats * cost)
    n_lines, n_filler = plan_lines(rng, room, cost, 2, max_lines, filler)
    entries = list(make(rng, n_lines)[0])
    context = with_filler(rng, [entry.line for entry in entries], n_filler)
    rng.shuffle(entries)
    return context, entries[:max_repeats]


# ---- vocabulary --------------------------------------------------------------------------------

# Words of the questions, answers and chat frame above that are in no list.
TEMPLATE_WORDS = tuple(
    "user assistant Status of is Show the line at Summary devices failed none Which device What "
    "larger smaller or Largest Smallest largest smallest How many items item Repeat".split())


def all_words():
    """Every word that a generator of this file can write, sorted."""
    filler = " ".join(FILLER_SUBJECTS + FILLER_VERBS + FILLER_PLACES + FILLER_TAILS).split()
    return sorted({*DEVICES, *ADJECTIVES, *ATTRIBUTES, *GOODS, *COLOURS, *CITIES, FAILED,
                   *HEALTHY, *UNITS, *filler, *TEMPLATE_WORDS})
