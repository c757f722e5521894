"""What a compressed model is worth, by llama.cpp's own programs: divergence from the original
(llama-perplexity) and speed (llama-bench, in turns)."""

import json
import os
import statistics
import subprocess

import numpy as np

import compress_curves_gguf as gguf

BIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '.deps', 'bin')
ROW = 512  # tokens of a row; the second half is judged


def llama(program, *arguments):
    """Run a program of llama.cpp; returns its standard output and peak memory in bytes."""
    command = [os.path.join(BIN, program), *map(str, arguments)]
    environment = dict(os.environ, OMP_WAIT_POLICY='passive')
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=environment) as process:
        out = process.stdout.read().decode('utf-8', 'replace')
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{program} ended with {process.returncode}: {' '.join(command)}")
    return out, usage.ru_maxrss * 1024


# ---- divergence ----


class Logits:
    """Log probabilities that llama-perplexity saved, row by row. It keeps them in 16 bits, as steps
    between the likeliest token's and 16 nats below it; what is less likely counts as that."""

    def __init__(self, path):
        with open(path, 'rb') as file:
            if file.read(8) != b'_logits_':
                raise RuntimeError(f'{path}: not what llama-perplexity saves')
            n, self.n_vocab, n_rows = np.fromfile(file, '<i4', 3)
            tokens = np.fromfile(file, '<i4', n_rows * n).reshape(n_rows, n)
            start = file.tell()
        n_judged, width = n - 1 - n // 2, 2 * ((self.n_vocab + 1) // 2) + 4
        self.tokens = tokens[:, n // 2 + 1 :]  # those that were to be foretold
        self._data = np.memmap(path, '<u2', 'r', start, (n_rows, n_judged, width))

    def __len__(self):
        return len(self._data)

    def row(self, number):
        """f32 [judged, vocab]"""
        data = np.array(self._data[number])
        scale, low = np.ascontiguousarray(data[:, :4]).view('<f4').T[..., None]
        return low + scale * data[:, 4 : 4 + self.n_vocab]


def save_logits(model, text, out, n_rows):
    """Write the log probabilities of the first rows of a text file."""
    judged = model
    with open(text, encoding='utf-8') as file:
        has_specials = '<|' in file.read()
    if has_specials:
        judged = out + '.gguf'
        gguf.with_plain_specials(model, judged)
    try:
        llama('llama-perplexity', '-m', judged, '-f', text, '-c', ROW, '--chunks', n_rows,
              '--save-all-logits', out, '-fa', 'off', '-ctk', 'f32', '-ctv', 'f32', '-ngl', 0)
    finally:
        if has_specials:
            os.remove(judged)


def divergence(original, changed):
    """Figures of `changed` against `original`, both Logits of one text; errors are over rows."""
    if not np.array_equal(original.tokens, changed.tokens):
        raise RuntimeError('the two models read different tokens')
    kls, ratios, agreed, right, right_before = [], [], [], [], []
    for number, tokens in enumerate(original.tokens):
        p, q = original.row(number), changed.row(number)
        kls.append(float((np.exp(p) * (p - q)).sum(-1).mean()))
        at = np.arange(len(tokens)), tokens
        ratios.append(float((p[at] - q[at]).mean()))
        best, best_before = q.argmax(-1), p.argmax(-1)
        agreed.append(float((best == best_before).mean()))
        right.append(float((best == tokens).mean()))
        right_before.append(float((best_before == tokens).mean()))
    return {
        'kl': statistics.mean(kls),
        'kl_sem': statistics.stdev(kls) / len(kls) ** 0.5 if len(kls) > 1 else None,
        'ppl_ratio': float(np.exp(statistics.mean(ratios))),
        'same_top1': statistics.mean(agreed),
        'right_top1': statistics.mean(right),
        'right_top1_before': statistics.mean(right_before),
        'judged_tokens': int(original.tokens.size),
    }


# ---- speed ----


def bench_once(model, n_prompt, n_generated, threads):
    """(prompt tokens/s, decoded tokens/s, peak bytes) of one run of llama-bench."""
    out, peak = llama('llama-bench', '-m', model, '-p', n_prompt, '-n', n_generated, '-r', 1,
                      '-t', threads, '-o', 'json')
    speeds = {(run['n_prompt'] > 0): run['avg_ts'] for run in json.loads(out)}
    return speeds[True], speeds[False], peak


def speed(original, changed, options):
    """Both in turns (A B, B A, ...): medians, and the median of the rounds' ratios, its range."""
    runs = {'original': [], 'changed': []}
    for number in range(options.rounds):
        names = ('original', 'changed') if number % 2 == 0 else ('changed', 'original')
        for name in names:
            model = original if name == 'original' else changed
            runs[name].append(bench_once(model, options.prompt, options.generate, options.threads))
    figures = {'rounds': options.rounds}
    for place, what in enumerate(('prompt', 'decode')):
        before, after = ([run[place] for run in runs[name]] for name in ('original', 'changed'))
        ratios = [b / a for a, b in zip(before, after)]
        figures[what + '_ts'] = statistics.median(after)
        figures[what + '_ts_original'] = statistics.median(before)
        figures[what + '_ratio'] = statistics.median(ratios)
        figures[what + '_ratio_range'] = [min(ratios), max(ratios)]
    figures['rss_bytes'] = max(run[2] for run in runs['changed'])
    figures['rss_bytes_original'] = max(run[2] for run in runs['original'])
    return figures
