"""Write the task files of models/tasks, and the pictures of those about panels.

    python3 make_tasks.py --out ../tasks

text.jsonl and panel.jsonl are held out: prompts and panels come from seeds that training never uses
(text prompts are of the reserved sixteenth besides, see text_tasks.is_reserved). Pictures are
masters of 896x896, 1024x768 and 672x896 pixels: whoever measures makes them smaller.

calib-text.jsonl and calib-panel.jsonl are for calibration, so they share nothing with the held-out
files: none of their prompts is a reserved one, and their panels come from a seed of their own. Their
pictures are as small as the built-in encoder needs them.

The format is docs/tasks.md.
"""

import argparse
import json
import os
import random
from typing import NamedTuple

import batches
import panel
import text_tasks
from drawing import draw
from tokenizer import Tokenizer

TEXT_SEED = 'shipped'
CALIB_TEXT_SEED = 'calibration'
N_TEXT = 245
N_CALIB_TEXT = 1200
NUMBER_KINDS = ('number', 'serial')  # digits: the same characters, no more

# Calibration also has the kinds that only training asks for.
CALIB_KINDS = text_tasks.EVAL_KINDS + ('event', 'copy')
# Weights of batches.LENGTH_CLASSES: long prompts are most of the tokens and of the bytes.
CALIB_LENGTH_WEIGHTS = (3, 3, 3, 2, 1)


class PanelFile(NamedTuple):
    """A task file about panels: its seed, how many, their sizes in turn, and how they are saved."""

    seed: str
    count: int
    sizes: tuple
    prefix: str      # of ids, and of the pictures' names
    folder: str      # of the pictures, beside the file
    save: object     # (picture, number, path without its ending) -> ending


def save_in_turns(image, number, path):
    """One of the three formats, without visible loss."""
    kind = number % 8
    ending = '.png' if kind == 3 else '.jpg' if kind == 7 else '.webp'
    if ending == '.webp':
        image.save(path + ending, lossless=True, method=6)
    elif ending == '.png':
        image.save(path + ending, optimize=True)
    else:
        image.save(path + ending, quality=92)
    return ending


def save_small(image, _number, path):
    """A few kilobytes, as a camera's picture would be compressed."""
    image.save(path + '.webp', quality=90, method=6)
    return '.webp'


HELD_OUT_PANELS = PanelFile('shipped panels', 40, ((896, 896), (896, 896), (1024, 768), (672, 896)),
                            'panel', 'panels', save_in_turns)
CALIB_PANELS = PanelFile('calibration panels', 48,
                         ((336, 336), (448, 336), (448, 448), (336, 448), (392, 392), (364, 280),
                          (336, 336), (640, 480)),
                         'calib-panel', 'calib-panels', save_small)


def text_lines(tokenizer):
    """One JSON object for each held-out text prompt."""
    for number, item in enumerate(batches.task_items(tokenizer, TEXT_SEED, N_TEXT)):
        yield {'id': f'text-{number + 1:03d}', 'kind': item['kind'], 'prompt': item['prompt'],
               'reference': item['reference'], 'max_tokens': 48, 'x-tokens': item['tokens']}


def training_case(rng, kind, target):
    """A one-turn case of about `target` tokens, of any kind that the model was trained on."""
    if kind == 'copy':
        return text_tasks.copy_case(rng)
    if kind == 'event':
        plan = text_tasks.plan_lines(rng, target, text_tasks.LOG_LINE_TOKENS,
                                     text_tasks.MIN_LINES[kind], text_tasks.MAX_LINES, True)
        return text_tasks.log_case(rng, kind, *plan)
    return text_tasks.make_case(rng, kind, target + text_tasks.TURN_TOKENS / 3)


def calib_case(rng, maker, kind, length_class):
    """(prompt, answer, prompt tokens) of a case that is not reserved, of about that length."""
    low, high = length_class
    while True:
        context, turns = training_case(rng, kind, low * (high / low) ** rng.random())
        n_tokens = maker.chat(context, turns, kind).spans[0][0]
        if not text_tasks.is_reserved(context, turns[0]) and n_tokens < high:
            prompt = f'{context}\n{turns[0].question}' if context else turns[0].question
            return prompt, turns[0].answer, n_tokens


def calib_text_lines(tokenizer):
    """One JSON object for each text prompt to calibrate with; none comes twice."""
    maker, rng = batches.RowMaker(tokenizer), random.Random(f'task file {CALIB_TEXT_SEED}')
    asked = set()
    while len(asked) < N_CALIB_TEXT:
        kind = CALIB_KINDS[len(asked) % len(CALIB_KINDS)]
        bounds = rng.choices(batches.LENGTH_CLASSES, CALIB_LENGTH_WEIGHTS)[0]
        prompt, answer, n_tokens = calib_case(rng, maker, kind, bounds)
        if prompt in asked:
            continue
        asked.add(prompt)
        yield {'id': f'calib-text-{len(asked):04d}', 'kind': kind, 'prompt': prompt,
               'reference': answer, 'max_tokens': 48, 'x-tokens': n_tokens}


def panel_of(kind_of_file, number):
    """Panel `number` of a file, and the generator that goes on with its questions."""
    rng = random.Random(f'{kind_of_file.seed} {number}')
    return panel.random_panel(rng), rng


def panel_lines(folder, kind_of_file):
    """Draw the panels; one JSON object for each question."""
    os.makedirs(os.path.join(folder, kind_of_file.folder), exist_ok=True)
    for number in range(kind_of_file.count):
        shown, rng = panel_of(kind_of_file, number)
        size = kind_of_file.sizes[number % len(kind_of_file.sizes)]
        label = f'{kind_of_file.prefix}-{number + 1:02d}'
        name = f'{kind_of_file.folder}/panel-{number + 1:02d}'
        name += kind_of_file.save(draw(shown, *size).convert('RGB'), number,
                                  os.path.join(folder, name))
        # Number and serial of every panel; the other kinds take turns.
        rest = [kind for kind in panel.KINDS if kind not in NUMBER_KINDS]
        turns = [rest[(number + step) % len(rest)] for step in (0, 2, 4)]
        for kind in (*NUMBER_KINDS, *turns):
            question, answer, _ = panel.questions(shown, rng, 1, [kind])[0]
            yield {'id': f'{label}-{kind}', 'kind': kind, 'prompt': question,
                   'images': [name], 'reference': answer, 'max_tokens': 8}


def write(path, title, lines):
    """A task file with a heading."""
    with open(path, 'w', encoding='utf-8') as file:
        file.write(f'# {title}, made by models/train/make_tasks.py.\n')
        for line in lines:
            file.write(json.dumps(line) + '\n')


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=os.path.join(os.path.dirname(__file__), '..', 'tasks'))
    folder = parser.parse_args().out
    tokenizer = Tokenizer.load()
    for name, title, lines in (
            ('text', 'Held-out text questions for the built-in model', text_lines(tokenizer)),
            ('panel', 'Held-out panel questions for the built-in model',
             panel_lines(folder, HELD_OUT_PANELS)),
            ('calib-text', 'Text questions to calibrate the built-in model with',
             calib_text_lines(tokenizer)),
            ('calib-panel', 'Panel questions to calibrate the built-in model with',
             panel_lines(folder, CALIB_PANELS))):
        write(os.path.join(folder, f'{name}.jsonl'), title, lines)


if __name__ == '__main__':
    main()
