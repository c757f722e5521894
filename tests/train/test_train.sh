#!/usr/bin/env bash
# The tests of the training recipe (models/train), where PyTorch is installed. The training itself
# is not run.
set -euo pipefail
cd "${WATTLAW_SOURCE_DIR:-$(dirname "$0")/../..}"

# The system's own Python has the distribution's PyTorch even where another comes first in PATH.
for python in python3 /usr/bin/python3; do
    if "$python" -c 'import numpy, PIL, torch' 2>/dev/null; then
        exec env OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 \
            "$python" -m unittest discover -s tests/train
    fi
done
echo 'skipped: no python3 here has PyTorch, NumPy and Pillow (python3-torch, python3-pil)'
exit 77
