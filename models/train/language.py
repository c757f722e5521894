"""Train a general English language model to try compression on (too large for the repository).

    python3 language.py --until 80             # million tokens; makes the text at first
    python3 language.py --until 80 --resume    # goes on after an end, a kill or a power cut
    python3 language_export.py                 # GGUF files

A llama of 9 M parameters: 8 layers, width 256, 8 heads on 4 KV heads, ff 1024, 4,096 tokens, tied
embeddings, context 512. The text is language_text.py's. Every three minutes it writes
build/train/language/language.pt (weights, optimiser, counters; replaced as a whole) and a line of
figures to language.jsonl beside it. `--workers` threads share each step, one core each. The rate
is constant until `--decay` of the way and then falls; language-plateau.pt is kept from there: to
learn for longer put it in the place of language.pt and give a larger `--until`.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# one core for each worker: the workers are the parallel part (read when torch is loaded)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch.nn import functional

import language_text
from config import Config
from model import TextModel, positions
from muon import MuonAndAdam
from train import Figures, learning_rate, save, show

ROW = 512  # tokens of a row, which is also the context
ROWS = 16  # of a step
RATE = 0.02  # of the matrices, in units of Muon's
ADAM_RATE = 3e-3  # of the embeddings and norms, where that of the matrices is RATE
HELD_OUT_ROWS = 64
CHECKPOINT_SECONDS = 180
REPORT_SECONDS = 60
EVALUATE_STEPS = 250


def new_config(vocab):
    """The dimensions; what the text half of the built-in model has besides is left off."""
    return Config(vocab=vocab, layers=8, kv_heads=4, ff=1024, rms_eps=1e-5, context=ROW,
                  lookback_strength=0.0)


def new_model(config):
    """A llama: the text half of the built-in model, plain positions, biases fixed at zero."""
    model = TextModel(config)
    for layer in model.layers:
        layer.qkv_bias.requires_grad_(False)
    return model


def losses(model, ids):
    """Cross-entropy f32 [B, N - 1] of each token of ids int64 [B, N] but the first."""
    hidden = model.hidden(model.embed(ids[:, :-1]), positions(ids.shape[1] - 1, 0, 0, 0))
    wanted = ids[:, 1:]
    logits = model.logits(hidden).flatten(0, 1)
    return functional.cross_entropy(logits, wanted.flatten(), reduction="none").view(wanted.shape)


def rows_at(tokens, starts, length=ROW + 1):
    """int64 [len(starts), length] of a long array of tokens."""
    return torch.from_numpy(np.stack([tokens[s : s + length] for s in starts]).astype(np.int64))


def held_out_rows(tokens):
    """The same rows every time, evenly spread over the text held out."""
    last = len(tokens) - ROW - 1
    return rows_at(tokens, [i * last // (HELD_OUT_ROWS - 1) for i in range(HELD_OUT_ROWS)])


class LanguageStage:
    """The model with its text, and one step of learning."""

    def __init__(self, folder, config, workers):
        self.config, self.model = config, new_model(config)
        self.train = np.load(folder / "train.npy", mmap_mode="r")
        self.held_out = held_out_rows(np.load(folder / "heldout.npy", mmap_mode="r"))
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers)

    def named_parameters(self):
        """Those that learn."""
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def parameters(self):
        """The same without names."""
        return [p for _, p in self.named_parameters()]

    def state(self):
        """What a checkpoint holds of the model."""
        return {"config": self.config.to_dict(), "text": self.model.state_dict()}

    def load(self, state):
        """The inverse of state."""
        self.model.load_state_dict(state["text"])

    def make_optimizer(self, rate):
        """Muon for the matrices, AdamW for the rest, with `rate` as the peak of the matrices'."""
        c, groups, others = self.config, {}, []
        for name, parameter in self.named_parameters():
            is_matrix = parameter.dim() == 2 and name != "embedding"
            kind = name.split(".")[-1]
            (groups.setdefault(kind, []) if is_matrix else others).append(parameter)
        parts = {"qkv": [c.width] + 2 * [c.kv_heads * c.head], "gate_up": [c.ff, c.ff]}
        matrices = [{"params": params, "parts": parts.get(kind), "peak": rate}
                    for kind, params in groups.items()]
        others = [{"params": others, "peak": rate * ADAM_RATE / RATE}]
        return MuonAndAdam(matrices, others, self._pool.map)

    def _share(self, ids):
        loss = losses(self.model, ids).mean()
        return loss.detach(), torch.autograd.grad(loss, self.parameters())

    def step(self, generator, n_rows):
        """Gradients of random rows, shared by the workers; returns (mean loss, tokens seen)."""
        starts = generator.integers(0, len(self.train) - ROW - 1, n_rows)
        parts = rows_at(self.train, starts).chunk(self.workers)
        done = list(self._pool.map(self._share, parts))
        shares = [len(part) / n_rows for part in parts]
        for number, parameter in enumerate(self.parameters()):
            parameter.grad = sum(share * grads[number] for share, (_, grads) in zip(shares, done))
        loss = sum(share * float(value) for share, (value, _) in zip(shares, done))
        return loss, n_rows * ROW

    @torch.no_grad()
    def evaluate(self):
        """Mean loss on the rows held out."""
        parts = self.held_out.split(8)
        with_grad_off = torch.no_grad()(lambda ids: losses(self.model, ids).double().mean())
        return float(sum(self._pool.map(with_grad_off, parts)) / len(parts))


def start(options, folder):
    """(stage, optimiser, counters), new or as the checkpoint has them."""
    torch.manual_seed(options.seed)
    path = folder / "language.pt"
    if path.exists() and not options.resume:
        raise SystemExit(f"{path} is there: --resume goes on from it; move it away to start anew")
    tokenizer_size = len(language_text.Tokenizer.load(folder / "merges.json"))
    stage = LanguageStage(folder, new_config(tokenizer_size), options.workers)
    optimizer = stage.make_optimizer(options.rate)
    counters = {"step": 0, "amount": 0, "cpu_seconds": 0.0}
    if path.exists():
        state = torch.load(path, map_location="cpu")
        stage.load(state)
        optimizer.load_state_dict(state["optimizer"])
        counters = state["counters"]
        print(f"going on from {path} at {counters['amount'] / 1e3:.0f}k tokens", flush=True)
    return stage, optimizer, counters


def learn(stage, optimizer, counters, factor, seed):
    """One step: gradients, then parameters (`factor` is the share of the peak rate), counters."""
    began = time.process_time()
    loss, done = stage.step(np.random.default_rng([seed, counters["step"]]), ROWS)
    torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
    optimizer.step(factor)
    counters["step"] += 1
    counters["amount"] += done
    counters["cpu_seconds"] += time.process_time() - began
    return {"loss": (loss, 1)}


class _Reporter:
    """Lines of figures, to read and in a file."""

    def __init__(self, log, counters):
        self.log, self.figures = log, Figures()
        self.time, self.amount = time.time(), counters["amount"]

    def report(self, counters, rate):
        """Tell what came since the last report, when it is time."""
        seconds = time.time() - self.time
        if seconds < REPORT_SECONDS:
            return
        means = self.figures.take()
        show("language", counters, "tokens", means, (counters["amount"] - self.amount) / seconds)
        with open(self.log, "a") as file:
            file.write(json.dumps(dict(counters, rate=rate, **means)) + "\n")
        self.time, self.amount = time.time(), counters["amount"]


def train(options):
    """Learn until the amount of tokens is reached."""
    folder = options.folder
    language_text.prepare(folder)
    stage, optimizer, counters = start(options, folder)
    path, until = str(folder / "language.pt"), options.until * 1e6
    asked_to_stop = []
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.append(True))
    stop_at = time.time() + 60 * options.minutes if options.minutes else math.inf
    reporter, saved = _Reporter(folder / "language.jsonl", counters), time.time()
    while counters["amount"] < until and time.time() < stop_at and not asked_to_stop:
        progress = counters["amount"] / until
        factor = learning_rate(1.0, counters["step"], progress, options.decay)
        reporter.figures.add(learn(stage, optimizer, counters, factor, options.seed))
        if counters["step"] % EVALUATE_STEPS == 0:
            reporter.figures.add({"loss_heldout": (stage.evaluate(), 1)})
        reporter.report(counters, factor * options.rate)
        if time.time() - saved > CHECKPOINT_SECONDS:
            save(path, stage, optimizer, counters)
            saved = time.time()
        if progress < options.decay <= counters["amount"] / until:
            save(path.replace(".pt", "-plateau.pt"), stage, optimizer, counters)
    save(path, stage, optimizer, counters)
    print(f"language: checkpoint {path}, held-out loss {stage.evaluate():.4f}", flush=True)
    if asked_to_stop:
        raise SystemExit("ended by SIGTERM; --resume goes on")


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--until", type=float, default=80, help="million tokens (default 80)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--minutes", type=float, help="stop after this long; --resume goes on")
    parser.add_argument("--workers", type=int, default=2, help="threads (default 2)")
    parser.add_argument("--decay", type=float, default=0.5, help="where the rate starts to fall")
    parser.add_argument("--rate", type=float, default=RATE, help="peak rate of the matrices")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=language_text.FOLDER)
    train(parser.parse_args(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
