"""Train the built-in model pair. Stages, each resumable, seeded and shown as it goes:

    text     the text half: repeated blocks first, then text tasks and sketched images
    vision   the image encoder: what each cell of a drawn panel shows
    join     the two halves end to end: fits the last matrix, then trains on pictures and text

`text` and `vision` do not need each other and may run side by side, one core each:

    OMP_NUM_THREADS=1 python3 train.py text --until 38 &
    OMP_NUM_THREADS=1 python3 train.py vision --until 600 &

Each writes build/train/<stage>.pt (weights, optimiser, counters; replaced as a whole every two
minutes) and appends a line of figures to build/train/<stage>.jsonl. Killed or ended, the same
command goes on. The learning rate is constant until `--decay` of the way and then falls to a
twentieth at `--until`. Where the fall begins, <stage>-plateau.pt is kept: to learn for longer,
put it in the place of <stage>.pt and give a larger `--until`.
"""

import argparse
import json
import math
import os
import random
import sys
import time

import torch

import stages

CHECKPOINT_SECONDS = 120
REPORT_SECONDS = 30
WARMUP_STEPS = 100


def learning_rate(peak, step, progress, decay_from):
    """Warm-up, plateau, then linear fall to a twentieth of the peak at progress 1."""
    factor = min(1.0, (step + 1) / WARMUP_STEPS)
    if progress > decay_from:
        factor *= 1 - 0.95 * (progress - decay_from) / (1 - decay_from)
    return peak * factor


def make_optimizer(named_parameters):
    """AdamW; matrices decay, embeddings, norms and biases do not."""
    decayed, kept = [], []
    for name, parameter in named_parameters:
        is_matrix = parameter.dim() == 2 and 'embedding' not in name and 'features' not in name
        (decayed if is_matrix else kept).append(parameter)
    groups = [{'params': decayed, 'weight_decay': 0.05}, {'params': kept, 'weight_decay': 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-9)


class Figures:
    """Means of what the steps since the last report told."""

    def __init__(self):
        self.sums = {}

    def add(self, figures):
        """figures: name -> (sum, n)."""
        for name, (total, n) in figures.items():
            old = self.sums.get(name, (0.0, 0))
            self.sums[name] = (old[0] + total, old[1] + n)

    def take(self):
        """The means, and start anew."""
        means = {name: total / n for name, (total, n) in sorted(self.sums.items()) if n}
        self.sums = {}
        return means


def save(path, stage, optimizer, counters):
    """Replace the checkpoint as a whole: a kill leaves the old or the new one."""
    state = dict(stage.state(), optimizer=optimizer.state_dict(), counters=counters)
    torch.save(state, path + '.tmp')
    os.replace(path + '.tmp', path)


def show(name, counters, unit, means, rate):
    """One line for a person to read."""
    parts = [f'{key} {value:.3f}' if key.startswith('loss') else f'{key} {100 * value:.0f}'
             for key, value in means.items()]
    hours = counters['cpu_seconds'] / 3600
    print(f"{name} {counters['amount'] / 1e3:.0f}k {unit}, step {counters['step']}, "
          f"{hours:.2f} CPU-h, {rate:.0f} {unit}/s | {' '.join(parts)}", flush=True)


def train(options):
    """Run one stage until its amount (tokens or images) is reached."""
    torch.manual_seed(options.seed)
    folder = options.folder
    os.makedirs(folder, exist_ok=True)
    stage = stages.STAGES[options.stage](folder)
    optimizer = make_optimizer(stage.named_parameters())
    counters = {'step': 0, 'amount': 0, 'cpu_seconds': 0.0}
    path = os.path.join(folder, options.stage + '.pt')
    if os.path.exists(path):
        state = torch.load(path, map_location='cpu')
        stage.load(state)
        optimizer.load_state_dict(state['optimizer'])
        counters = state['counters']
        print(f"going on from {path} at {counters['amount'] / 1e3:.0f}k {stage.unit}", flush=True)
    until = options.until * stage.scale
    figures, saved, reported = Figures(), time.time(), time.time()
    amount_reported, cpu_before = counters['amount'], time.process_time()
    cpu_start = counters['cpu_seconds']
    stop_at = time.time() + 60 * options.minutes if options.minutes else math.inf
    while counters['amount'] < until and time.time() < stop_at:
        progress = counters['amount'] / until
        rng = random.Random(f"{options.stage} {options.seed} {counters['step']}")
        loss, done, told = stage.step(rng, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        rate = learning_rate(options.rate or stage.rate, counters['step'], progress, options.decay)
        for group in optimizer.param_groups:
            group['lr'] = rate
        optimizer.step()
        counters['step'] += 1
        counters['amount'] += done
        counters['cpu_seconds'] = cpu_start + time.process_time() - cpu_before
        figures.add(told)
        now = time.time()
        if now - reported > REPORT_SECONDS:
            means = figures.take()
            speed = (counters['amount'] - amount_reported) / (now - reported)
            show(options.stage, counters, stage.unit, means, speed)
            with open(os.path.join(folder, options.stage + '.jsonl'), 'a') as log:
                log.write(json.dumps(dict(counters, rate=rate, **means)) + '\n')
            reported, amount_reported = now, counters['amount']
        if now - saved > CHECKPOINT_SECONDS:
            save(path, stage, optimizer, counters)
            saved = now
        if progress < options.decay <= counters['amount'] / until:
            save(path.replace('.pt', '-plateau.pt'), stage, optimizer, counters)
    save(path, stage, optimizer, counters)
    print(f'{options.stage}: checkpoint {path}', flush=True)


def main(arguments):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument('stage', choices=sorted(stages.STAGES))
    parser.add_argument('--until', type=float, required=True,
                        help='million tokens (text), thousand images (vision, join)')
    parser.add_argument('--minutes', type=float,
                        help='stop after this long; the same command goes on')
    parser.add_argument('--decay', type=float, default=0.7,
                        help='where the learning rate starts to fall')
    parser.add_argument('--rate', type=float, help='peak learning rate, instead of the stage\'s own')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--folder', default=os.path.join(here, '..', '..', 'build', 'train'))
    train(parser.parse_args(arguments))


if __name__ == '__main__':
    main(sys.argv[1:])
