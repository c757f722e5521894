"""Write the held-out task files of models/tasks: text.jsonl, panel.jsonl and the panels' pictures.

    python3 make_tasks.py --out ../tasks

Prompts and panels come from seeds that training never uses (text prompts are of the reserved
sixteenth besides, see text_tasks.is_reserved). Pictures are masters of 896x896, 1024x768 and
672x896 pixels: whoever measures makes them smaller. The format is docs/tasks.md.
"""

import argparse
import json
import os
import random

import batches
import panel
from drawing import draw
from tokenizer import Tokenizer

TEXT_SEED = 'shipped'
PANEL_SEED = 'shipped panels'
N_TEXT = 245
N_PANELS = 40
MASTERS = ((896, 896), (896, 896), (1024, 768), (672, 896))
NUMBER_KINDS = ('number', 'serial')  # digits: the same characters, no more


def text_lines(tokenizer):
    """One JSON object for each text prompt."""
    for number, item in enumerate(batches.task_items(tokenizer, TEXT_SEED, N_TEXT)):
        yield {'id': f'text-{number + 1:03d}', 'kind': item['kind'], 'prompt': item['prompt'],
               'reference': item['reference'], 'max_tokens': 48, 'x-tokens': item['tokens']}


def save(image, folder, number):
    """Write a picture in one of the three formats; returns its name in the task file."""
    kind = number % 8
    name = f"panel-{number + 1:02d}.{'png' if kind == 3 else 'jpg' if kind == 7 else 'webp'}"
    path = os.path.join(folder, 'panels', name)
    if name.endswith('webp'):
        image.save(path, lossless=True, method=6)
    elif name.endswith('png'):
        image.save(path, optimize=True)
    else:
        image.save(path, quality=92)
    return 'panels/' + name


def panel_lines(folder):
    """Draw the panels; one JSON object for each question."""
    os.makedirs(os.path.join(folder, 'panels'), exist_ok=True)
    for number in range(N_PANELS):
        rng = random.Random(f'{PANEL_SEED} {number}')
        shown = panel.random_panel(rng)
        size = MASTERS[number % len(MASTERS)]
        name = save(draw(shown, *size).convert('RGB'), folder, number)
        # Number and serial of every panel; the other kinds take turns.
        rest = [kind for kind in panel.KINDS if kind not in NUMBER_KINDS]
        turns = [rest[(number + step) % len(rest)] for step in (0, 2, 4)]
        for kind in (*NUMBER_KINDS, *turns):
            question, answer, _ = panel.questions(shown, rng, 1, [kind])[0]
            yield {'id': f'panel-{number + 1:02d}-{kind}', 'kind': kind, 'prompt': question,
                   'images': [name], 'reference': answer, 'max_tokens': 8}


def write(path, title, lines):
    """A task file with a heading."""
    with open(path, 'w', encoding='utf-8') as file:
        file.write(f'# {title}\n')
        for line in lines:
            file.write(json.dumps(line) + '\n')


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=os.path.join(os.path.dirname(__file__), '..', 'tasks'))
    folder = parser.parse_args().out
    write(os.path.join(folder, 'text.jsonl'),
          'Held-out text questions for the built-in model, made by models/train/make_tasks.py.',
          text_lines(Tokenizer.load()))
    write(os.path.join(folder, 'panel.jsonl'),
          'Held-out panel questions for the built-in model, made by models/train/make_tasks.py.',
          panel_lines(folder))


if __name__ == '__main__':
    main()
