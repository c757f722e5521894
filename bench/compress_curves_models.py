"""The models of compress_curves, and the texts that they are compressed with and judged on."""

import hashlib
import json
import os
import random
import sys

import compress_curves_judge as judge

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, '..'))
LANGUAGE = os.path.join(ROOT, 'build', 'train', 'language')
DOCUMENT_END = '\n<|endoftext|>\n'  # in the texts of models/train/language_text.py
CALIB_BYTES = 6 << 20
HELDOUT_PIECES, HELDOUT_PIECE = 400, 800  # characters from each of as many documents
STORIES, STORY_TOKENS = 96, 240


class Model:
    """A GGUF file with its texts. calib, calib_tasks: files, or None; heldout: what divergences
    are of; tasks: names for `wattlaw eval --tasks`."""

    def __init__(self, name, path, heldout, calib=None, calib_tasks=(), tasks=(), mmproj=None):
        self.name, self.path, self.heldout = name, path, heldout
        self.calib, self.calib_tasks, self.tasks, self.mmproj = calib, calib_tasks, tasks, mmproj
        for needed in (path, heldout, calib, mmproj):
            if needed and not os.path.exists(needed):
                sys.exit(f"model {name}: no file '{needed}'")
        with open(path, 'rb') as file:
            self._hash = hashlib.sha256(file.read(1 << 26)).hexdigest()[:8]

    def fingerprint(self):
        """Of the file: another training is another model."""
        return self._hash


def write_once(path, make):
    """The path of a text that make() gives, written when it is not there."""
    if not os.path.exists(path):
        with open(path + '.tmp', 'w', encoding='utf-8') as file:
            file.write(make())
        os.replace(path + '.tmp', path)
    return path


# ---- the built-in text half ----


def framed_tasks():
    """The held-out questions with their answers, as the model reads them."""
    with open(os.path.join(ROOT, 'models', 'tasks', 'text.jsonl'), encoding='utf-8') as file:
        lines = [line for line in file.read().splitlines() if line and not line.startswith('#')]
    items = [json.loads(line) for line in lines]
    random.Random(1).shuffle(items)
    parts = []
    for item in items:
        answer = item['reference']
        answer = answer if isinstance(answer, str) else answer[0]
        parts.append(f"<|im_start|>user\n{item['prompt']}<|im_end|>\n"
                     f'<|im_start|>assistant\n{answer}<|im_end|>\n')
    return ''.join(parts)


def builtin(options):
    """The pair of the repository: questions that it has not seen."""
    folder = os.path.join(ROOT, 'models', 'builtin')
    heldout = write_once(os.path.join(options.out, 'builtin-heldout.txt'), framed_tasks)
    return Model('builtin', os.path.join(folder, 'builtin.gguf'), heldout,
                 calib_tasks=('calib-text', 'calib-panel'), tasks=('text', 'panel'),
                 mmproj=os.path.join(folder, 'mmproj-builtin.gguf'))


# ---- the story model ----


def stories260k(options):
    """It is calibrated with what it writes itself, and judged on other such stories."""
    path = os.path.join(ROOT, '..', 'shared', 'models', 'stories260k-f32.gguf')

    def write_stories():
        told = []
        for seed in range(1000, 1000 + STORIES):
            story, _ = judge.llama('llama-completion', '-m', path, '-p', 'Once upon a time', '-n',
                                   STORY_TOKENS, '--temp', 1, '--top-k', 0, '--top-p', 1, '--min-p',
                                   0, '--seed', seed, '-no-cnv', '-t', 1)
            told.append(story.replace('[end of text]', '').strip())
        return '\n\n'.join(told) + '\n'

    heldout = os.path.join(options.out, 'stories260k-heldout.txt')
    return Model('stories260k', path, write_once(heldout, write_stories))


# ---- the language model ----


def language_text(part, n_bytes, piece=None):
    """Documents of a text of models/train/language_text.py in random order, or their beginnings."""
    with open(os.path.join(LANGUAGE, part + '.txt'), encoding='utf-8') as file:
        documents = file.read().split(DOCUMENT_END)
    random.Random(1).shuffle(documents)
    chosen, total = [], 0
    for document in documents:
        chosen.append(document[:piece])
        total += len(chosen[-1])
        if total >= n_bytes:
            break
    return '\n\n'.join(chosen) + '\n'


def language(options):
    """The recipe's language model: its own training text to calibrate, held-out documents."""
    calib = write_once(os.path.join(options.out, 'language-calib.txt'),
                       lambda: language_text('train', CALIB_BYTES))
    heldout = write_once(
        os.path.join(options.out, 'language-heldout.txt'),
        lambda: language_text('heldout', HELDOUT_PIECES * HELDOUT_PIECE, HELDOUT_PIECE))
    return Model('language', os.path.join(LANGUAGE, 'language-f16.gguf'), heldout, calib=calib)


KNOWN = {'builtin': builtin, 'stories260k': stories260k, 'language': language}


def find_models(options):
    """The models that --models names, and those of --model."""
    for name in filter(None, options.models.split(',')):
        if name not in KNOWN:
            sys.exit(f"unknown model '{name}': expected {', '.join(KNOWN)}; --model for others")
        yield KNOWN[name](options)
    for name, path, calib, heldout in options.model:
        yield Model(name, path, heldout, calib=calib)
