#!/usr/bin/env bash
# wattlaw knee: what it says of an encoder, with the fake engine (a token per 784 pixels, 4 to 256)
# and, where a real pair is at hand, with libmtmd.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

[ -x "${WATTLAW_FAKE_ENGINE:-}" ] || skip 'the fake engine is not built (WATTLAW_FAKE_ENGINE)'
real_engine=${WATTLAW_ENGINE:-}
export WATTLAW_ENGINE=$WATTLAW_FAKE_ENGINE
: >mmproj.gguf
: >text.gguf
mkdir alone
: >alone/alone.gguf

expect_code 2 'needs an encoder' "$WATTLAW" knee
expect_err_grep 'and says how' 'give --mmproj FILE, or -m MODEL'
expect_code 2 'takes no argument' "$WATTLAW" knee mmproj.gguf
for list in 0 5,x "64," 1..99999999 1,2,3,4,5,6,7,8,9,10,11,12,13; do
    expect_code 2 "refuses --budgets $list" "$WATTLAW" knee --mmproj mmproj.gguf --budgets "$list"
    expect_err_grep 'with the accepted range' 'up to 12 numbers of tokens from 1 to 1048576'
done
expect_code 1 'a file that is not there' "$WATTLAW" knee --mmproj nonesuch.gguf
expect_code 1 'a model without an encoder' "$WATTLAW" knee -m alone/alone.gguf
expect_err_grep 'asks for it' 'no image encoder .* found for .* --mmproj'

expect_code 0 'answers' "$WATTLAW" knee --mmproj mmproj.gguf -m text.gguf
expect_grep 'names the file' 'mmproj.gguf, 500K parameters, patches of 14 pixels, 784 pixels per'
expect_grep 'and what counted the wrapper' 'wrapper   counted with text.gguf'
expect_grep 'the knee of squares' '^  square   knee at 444x444 (0.20 MP): 258 tokens above, least 6'
expect_grep 'a size' '^640x480  *256  *2  *258  *1  *0.20 MP'
expect_grep 'a budget that is the default' '^256 .*as the default'
expect_grep 'a budget that works' '^16  *16  *112x112'
expect_grep 'a saver' ' 18 tokens  -93.0 %   sees 0.013 MP  image_max_tokens 16'
expect_grep 'a smaller picture' 'shrink to '
expect_grep 'what costs nothing' 'it costs as much: the encoder sees no more of a larger one'
expect_grep 'a plot' '^ *200 |'
expect_no_grep 'no colour outside a terminal' $'\033'
ok 'within 80 columns' awk 'length > 80 { exit 1 }' "$OUT"
expect_code 0 'without a model' "$WATTLAW" knee --mmproj mmproj.gguf --color always
expect_grep 'the wrapper is not counted' 'give its model with -m'
expect_grep 'colour when asked' $'\033'

expect_code 0 'answers in JSON' "$WATTLAW" knee --mmproj mmproj.gguf --budgets 16,64 --json --svg out.svg
expect_json 'with its version' 'd["schema_version"] == 1 and d["encoder"]["projector"] == "fake_merger"'
expect_json 'default and budgets' '[b["image_max_tokens"] for b in d["budgets"]] == [None, 16, 64]'
expect_json 'the knee' 'd["budgets"][0]["aspects"][0]["knee"] == [444, 444]'
expect_json 'exact' 'all(a["is_exact"] and a["shape"] == "knee" for b in d["budgets"] for a in b["aspects"])'
expect_json 'the sizes' '[s["tokens"] for s in d["budgets"][1]["sizes"] if s["width"] == 1920] == [16]'
expect_json 'levers' 'any(x["lever"] == "image_max_tokens" and x["tokens"] == 16 for x in d["photos"][0]["levers"])'
expect_json 'all saving, the most first' \
    'all(p["levers"] == sorted(p["levers"], key=lambda x: x["tokens"]) and all(x["saved"] > 0 for x in p["levers"]) for p in d["photos"])'
ok 'draws a picture' grep -q '^<svg xmlns="http://www.w3.org/2000/svg"' out.svg
if command -v python3 >/dev/null; then
    ok 'that is XML' python3 -c 'import xml.dom.minidom as x; x.parse("out.svg")'
fi
expect_code 1 'a folder that is not there' "$WATTLAW" knee --mmproj mmproj.gguf --svg no/such/out.svg
expect_err_grep 'is named' 'no/such'

odd=$'odd\033[31m<name>&.gguf'
: >"$odd"
expect_code 0 'survives odd file names' "$WATTLAW" knee --mmproj "$odd" --svg odd.svg
expect_no_grep 'without acting on the terminal' $'\033'
expect_code 0 'also in JSON' "$WATTLAW" knee --mmproj "$odd" --json
expect_json 'which stays valid' '"odd?[31m<name>&.gguf" in d["encoder"]["mmproj"]'
if command -v python3 >/dev/null; then
    ok 'and in the picture' python3 -c 'import xml.dom.minidom as x; x.parse("odd.svg")'
fi

for fault in crash_in_count short_counts huge_count bad_vision; do
    expect_code 1 "an engine that fails ($fault)" env FAKE_ENGINE_FAULT=$fault "$WATTLAW" knee --mmproj mmproj.gguf
    ok 'is one error line' test "$(grep -c '^wattlaw: ' "$ERR")" = 1
    ok 'and no answer' test ! -s "$OUT"
done

mmproj=${WATTLAW_TEST_MODELS:-}/proto-vlm-mmproj-f16.gguf
text=${WATTLAW_TEST_MODELS:-}/proto-vlm-text-f16.gguf
if [ ! -x "$real_engine" ] || [ ! -f "$mmproj" ] || [ ! -f "$text" ]; then
    printf '# not checked: a real pair of files (WATTLAW_TEST_MODELS)\n'
    exit 0
fi
export WATTLAW_ENGINE=$real_engine
expect_code 0 'a real encoder' "$WATTLAW" knee --mmproj "$mmproj" -m "$text"
expect_grep 'of a known family' '^Qwen2-VL (qwen2vl_merger)'
expect_grep 'has its knee where its file says' '^  square   knee at 434x434'
expect_grep 'and advice' 'clip.vision.image_max_pixels'
expect_code 0 'a stand-in for the text model' "$WATTLAW" knee --mmproj "$mmproj" --budgets 64,4096 --json
expect_json 'counts no wrapper' 'all(s["text_tokens"] == 0 for s in d["budgets"][0]["sizes"])'
expect_json 'and the same image tokens' '[s["image_tokens"] for s in d["budgets"][0]["sizes"]][:5] == [4, 16, 64, 144, 256]'
expect_json 'a budget lifts the clamp of the file' 'd["budgets"][2]["aspects"][0]["tokens_above"] == 4096'
expect_code 1 'a text model is no encoder' "$WATTLAW" knee --mmproj "$text"
expect_err_grep 'which is said' "$text"
