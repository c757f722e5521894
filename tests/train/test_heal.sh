#!/usr/bin/env bash
# The exported recipe heals a compressed model: a few steps on the CPU, and the file still runs.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"
builtin=$WATTLAW_SOURCE_DIR/models/builtin/builtin.gguf
[ -f "$builtin" ] || skip 'the built-in model is not there'
[ -x "${WATTLAW_COMPRESSOR:-}" ] || skip 'wattlaw-compressor is not built'
python=
for candidate in python3 /usr/bin/python3; do
    "$candidate" -c 'import torch, numpy' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || skip 'no PyTorch'
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

expect_code 0 'compress exports a recipe' "$WATTLAW" compress "$builtin" -o small.gguf --width 256 --method cut \
    --tasks calib-text --tokens 6000 --check 0 --rivals none --floor none --export-recipe recipe
cd recipe || exit 1
expect_code 0 'it heals' "$python" heal.py --teacher "$builtin" --student ../small.gguf --out healed.gguf \
    --steps 12 --batch 1024 --length 256 --check 6 --rate 3e-4
expect_grep 'and says how far' 'held-out KL .* -> '
ok 'the divergence fell' "$python" - "$OUT" <<'P'
import re, sys
before, after = map(float, re.search(r'held-out KL ([\d.]+) -> ([\d.]+)', open(sys.argv[1]).read()).groups())
sys.exit(not after < before)
P
ok 'the size is the same' test "$(stat -c %s healed.gguf)" = "$(stat -c %s ../small.gguf)"
expect_code 0 'the file runs' "$WATTLAW" run -m healed.gguf -p 'pump 7 running at 10:42' -n 4 --idle 0.1
expect_code 1 'nothing is written when nothing was gained' "$python" heal.py --teacher "$builtin" --student "$builtin" \
    --out same.gguf --steps 1 --batch 512 --length 256
ok 'indeed' test ! -e same.gguf
