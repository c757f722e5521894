#!/usr/bin/env bash
# wattlaw analyze: tables, sentences, JSON that can be drawn again, a page, and one clear error for
# each wrong request.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
export OPENBLAS_NUM_THREADS=1

# ---- without the compressor ----

expect_code 2 'needs a model' "$WATTLAW" analyze
expect_err_grep 'says so' 'no model: give a GGUF file'
expect_code 2 'refuses two models' "$WATTLAW" analyze a.gguf b.gguf
expect_err_grep 'names the second' "unexpected argument 'b.gguf'"
expect_code 2 'refuses a model beside --from' "$WATTLAW" analyze a.gguf --from b.json
expect_err_grep 'says why' '--from takes the place of a model'
while IFS='|' read -r options words; do
    # shellcheck disable=SC2086
    expect_code 2 "refuses $options" "$WATTLAW" analyze a.gguf $options
    expect_err_grep 'says why' "$words"
done <<'LIST'
--tokens 0|--tokens: expected 1 or more, found 0
--kl-tokens 1|--kl-tokens: expected 2 or more, found 1
--threads 0|--threads: expected 1 or more, found 0
--seed -1|--seed: expected 0 or above, found -1
-o .|--out: expected a file, '.' is a folder
LIST
touch there.html
expect_code 2 'keeps a file that exists' "$WATTLAW" analyze a.gguf -o there.html
expect_err_grep 'says what replaces it' 'exists; --force replaces it'
expect_code 1 'refuses a missing folder' "$WATTLAW" analyze a.gguf -o no/such.html
expect_err_grep 'says which' "no folder 'no'"
expect_code 1 'refuses a missing model' "$WATTLAW" analyze no-such.gguf
expect_err_grep 'names it' 'no-such'
expect_code 1 'refuses missing text' "$WATTLAW" analyze a.gguf --calib no-text
expect_err_grep 'names it' "no file or folder 'no-text'"
expect_code 1 'refuses missing tasks' "$WATTLAW" analyze a.gguf --tasks no-tasks
expect_err_grep 'names them' "no file 'no-tasks'"
expect_code 1 'refuses a missing analysis' "$WATTLAW" analyze --from no.json
expect_err_grep 'names it' 'no.json'
printf '{"model": 7}' >wrong.json
expect_code 1 'refuses what is no analysis' "$WATTLAW" analyze --from wrong.json
expect_err_grep 'says so' "'wrong.json': it is no analysis"
printf '{"model": ' >broken.json
expect_code 1 'refuses what is no JSON' "$WATTLAW" analyze --from broken.json
expect_err_grep 'names it' "'broken.json'"

# ---- with it ----

need_engine
[ -x "${WATTLAW_COMPRESSOR:-}" ] || skip 'wattlaw-compressor is not built (WATTLAW_COMPRESSOR)'
printf 'GGUF no model' >broken.gguf
expect_code 1 'refuses a broken file' "$WATTLAW" analyze broken.gguf
expect_err_grep 'names it' 'broken.gguf'
"$WATTLAW" synth -q --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512 --ctx 256 \
    --type f16 -o in.gguf >/dev/null || skip 'synth cannot make a model'
cp in.gguf kept.gguf
small=(in.gguf --tokens 1500 --kl-tokens 128 --threads 1)

expect_code 2 'refuses too few tokens' "$WATTLAW" analyze in.gguf --tokens 10
expect_err_grep 'says how many there must be' 'expected 64 to'
expect_code 0 'analyses' "$WATTLAW" analyze "${small[@]}" --bonds -o page.html
expect_grep 'says of what' 'in.gguf *llama, 2 blocks of 256 neurons and 2 KV heads'
expect_grep 'tells errors and bounds of neurons' '^Neurons: error as a share'
expect_grep 'of KV heads' '^KV heads: error as a share'
expect_grep 'of each block' '^ *1 .*[0-9] *-* *[0-9]'
expect_grep 'tells spectra' '^Spectra where the inputs really go'
expect_grep 'tells bonds' '^Bonds of the matrices'
expect_grep 'draws a map' '^Nats that a block costs with fewer neurons'
expect_grep 'says what follows' '^- With 3/4, 1/2 and 1/4 of the neurons'
expect_grep 'says where sizes may differ' "written as 'deci'"
expect_grep 'warns of little text' 'Caution: divergences are of'
ok 'the page is there' grep -q '</html>' page.html
ok 'with pictures' grep -q 'id="heat-t"' page.html
expect_no_grep 'that load nothing' 'http:\|https:\|<script' page.html
ok 'the model is untouched' cmp in.gguf kept.gguf

expect_code 0 'answers in JSON' "$WATTLAW" analyze "${small[@]}" --json --quiet
cp "$OUT" first.json
ok 'and nothing on standard error' test ! -s "$ERR"
expect_json 'with every block' \
    'd["schema_version"] == 1 and [l["layer"] for l in d["analysis"]["layers"]] == [0, 1]'
expect_json 'with curves above their bounds' \
    'all(e >= 0.998 * t - 1e-6 for l in d["analysis"]["layers"] for e, t in zip(l["ffn_error"], l["ffn_tail"]))'
expect_json 'that fall to 0' \
    'all(l["ffn_error"][15] < 1e-6 and l["group_error"][1] < 1e-6 for l in d["analysis"]["layers"])'
expect_json 'without bonds' 'all(l["bonds"] == [] for l in d["analysis"]["layers"])'
expect_json 'with sentences' 'len(d["words"]) >= 4'
expect_code 0 'the same again' "$WATTLAW" analyze "${small[@]}" --json --quiet
expect_json 'but for the time' \
    'd["analysis"]["layers"] == __import__("json").load(open("first.json"))["analysis"]["layers"]'

expect_code 0 'draws what was printed' "$WATTLAW" analyze --from first.json -o again.html
expect_grep 'and tells it' 'in.gguf *llama, 2 blocks'
ok 'in a page' grep -q '</html>' again.html
expect_code 0 'prints it again' "$WATTLAW" analyze --from first.json --json
ok 'as it was' cmp "$OUT" first.json
sed 's/"influence": [0-9.e-]*/"influence": 5/' first.json >edited.json
expect_code 1 'refuses an edited one' "$WATTLAW" analyze --from edited.json
expect_err_grep 'says what is wrong' "block 0: key 'influence': expected a number from 0 to 2, found 5"

if command -v timeout >/dev/null; then
    expect_code 130 'ends when interrupted' interrupt_after 3 "$WATTLAW" analyze \
        in.gguf --tokens 400000 --threads 1
fi
