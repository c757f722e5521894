#!/usr/bin/env bash
# wattlaw compress on the built-in pair, trained: its answers can be judged.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
export OPENBLAS_NUM_THREADS=1

builtin=$WATTLAW_SOURCE_DIR/models/builtin/builtin.gguf
need_engine
[ -x "${WATTLAW_COMPRESSOR:-}" ] || skip 'wattlaw-compressor is not built (WATTLAW_COMPRESSOR)'
[ -f "$builtin" ] || skip 'the built-in model is not there'

expect_code 0 'compresses the built-in model' "$WATTLAW" compress "$builtin" -o out.gguf \
    --cut 0.1 --tasks calib-text --tokens 3000 --check 0 --rivals none --json
expect_json 'repair helps' \
    'sum(l["error_repaired"] for l in d["layers"]) < sum(l["error_cut"] for l in d["layers"])'
expect_json 'it stays close' 'd["verdict"]["kl_mean"] < 0.15 and d["verdict"]["top1_share"] > 0.8'
# Text model and image encoder together, on the pictures of a few questions.
head -n 20 "$WATTLAW_SOURCE_DIR/models/tasks/calib-panel.jsonl" >few.jsonl
ln -s "$WATTLAW_SOURCE_DIR/models/tasks/calib-panels" calib-panels
expect_code 0 'compresses a pair' "$WATTLAW" compress "$builtin" -o out.gguf --force --fresh \
    --cut 0.05 --mmproj-out eye.gguf --encoder-cut 0.4 --tasks few.jsonl --tokens 3000 \
    --check 0 --rivals Q8_0 --floor none --json
expect_json 'the encoder is smaller' \
    '0.5 < d["encoder"]["block_weights_after"] / d["encoder"]["block_weights_before"] <= 0.6'
expect_json 'and the verdict is of both' \
    'd["verdict"]["n_image"] > 0 and d["verdict"]["kl_image"] > 5 * d["rivals"][0]["verdict"]["kl_image"]'
expect_code 0 'the pair works' "$WATTLAW" run -m out.gguf --mmproj eye.gguf -n 4 \
    -i "$WATTLAW_SOURCE_DIR/models/tasks/panels/panel-01.webp" -p 'What is the serial number?' --json
expect_json 'on a picture' 'd["prompt_tokens"] > 100 and d["generated_tokens"] > 0'
