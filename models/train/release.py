"""Make the files of models/builtin from a checkpoint, and the learning curves beside the recipe.

    python3 release.py --checkpoint ../../build/train/join.pt

writes into models/builtin, all or (on a failure before the last step) nothing:

    builtin.gguf, mmproj-builtin.gguf              the pair, matrices as F16
    builtin-q8_0.gguf, mmproj-builtin-q8_0.gguf    the same as Q8_0
    reference.json                                 what the F16 pair computes (parity.py)

and, for each log <stage>.jsonl beside the checkpoint, models/train/curves/<stage>.csv.
"""

import argparse
import csv
import json
import os
import tempfile
from pathlib import Path

import torch

import export
import parity
from tokenizer import Tokenizer

MODELS = Path(__file__).resolve().parent.parent
PAIRS = {
    "f16": ("builtin.gguf", "mmproj-builtin.gguf"),
    "q8_0": ("builtin-q8_0.gguf", "mmproj-builtin-q8_0.gguf"),
}
CURVE_ROWS = 200
FIRST_COLUMNS = ("step", "amount", "cpu_seconds", "rate")


# ---- the models ----


def write_models(checkpoint, tokenizer, folder):
    """Both pairs and the reference; returns their paths."""
    paths = []
    for kind, names in PAIRS.items():
        paths += export.export(checkpoint, tokenizer, folder, kind, names)
    paths.append(folder / "reference.json")
    parity.write(paths[-1], parity.reference(checkpoint, tokenizer, "f16", PAIRS["f16"]))
    return paths


def release_models(checkpoint, tokenizer, out_dir):
    """Write all files beside `out_dir`, then move them in: models and reference belong together."""
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent) as folder:
        for path in write_models(checkpoint, tokenizer, Path(folder)):
            target = out_dir / path.name
            os.replace(path, target)
            print(f"{target}: {target.stat().st_size} bytes", flush=True)


# ---- the learning curves ----


def read_log(path):
    """The reports of a stage in the order of their steps.

    A stage that was killed goes on from its last checkpoint and reports some steps again: the
    later report is the one that the weights come from.
    """
    reports = []
    for line in path.read_text(encoding="utf-8").splitlines():
        report = json.loads(line)
        while reports and reports[-1]["step"] >= report["step"]:
            reports.pop()
        reports.append(report)
    return reports


def thinned(reports, n_most):
    """At most `n_most` of them, evenly spread, the first and the last among them."""
    if len(reports) <= n_most:
        return reports
    return [reports[i * (len(reports) - 1) // (n_most - 1)] for i in range(n_most)]


def write_curve(log, path):
    """One log as a table: counters, then losses and the shares of right answers."""
    reports = thinned(read_log(log), CURVE_ROWS)
    figures = {name for report in reports for name in report} - set(FIRST_COLUMNS)
    columns = [*FIRST_COLUMNS, *sorted(figures, key=lambda n: (not n.startswith("loss"), n))]
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        for report in reports:
            table.writerow({name: _short(value) for name, value in report.items()})
    print(f"{path}: {len(reports)} rows", flush=True)


def _short(value):
    return f"{value:.5g}" if isinstance(value, float) else value


def write_curves(log_dir, out_dir):
    """The curves of all stages that have a log."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for log in sorted(log_dir.glob("*.jsonl")):
        write_curve(log, out_dir / (log.stem + ".csv"))


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True, type=Path, help="file that train.py wrote")
    parser.add_argument("--out", type=Path, default=MODELS / "builtin", help="folder of the models")
    parser.add_argument(
        "--curves", type=Path, default=MODELS / "train" / "curves", help="folder of the curves"
    )
    options = parser.parse_args(arguments)
    checkpoint = torch.load(options.checkpoint, map_location="cpu")
    if not checkpoint.get("vision"):
        raise SystemExit(f"{options.checkpoint} has no image encoder: train the stage 'join' first")
    release_models(checkpoint, Tokenizer.load(), options.out)
    write_curves(options.checkpoint.parent, options.curves)


if __name__ == "__main__":
    main()
