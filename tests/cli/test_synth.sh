#!/usr/bin/env bash
# wattlaw synth: writes files of a true shape, uses them again, refuses what it should.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# ---- without the engine ----

expect_code 0 'lists the shapes' "$WATTLAW" synth --list
expect_grep 'with parameters and sizes' '^smollm2-135m  *llama  *30  *576  *135M .* MiB .* MiB'
ok 'within 100 columns' awk 'length > 100 { exit 1 }' "$OUT"

expect_code 0 'lists the shapes as JSON' "$WATTLAW" synth --list --json
expect_json 'with a schema version' 'd["schema_version"] == 1'
expect_json 'with exact parameter counts' \
    '[s["n_params"] for s in d["shapes"] if s["name"] == "smollm2-135m"] == [134515008]'
expect_json 'with growing sizes' \
    'all(s["about_bytes"]["q4_0"] < s["about_bytes"]["q8_0"] < s["about_bytes"]["f16"] for s in d["shapes"])'

expect_code 2 'needs a shape' "$WATTLAW" synth
expect_err_grep 'says what is missing' '--like MODEL.*--layers is missing'
expect_code 2 'needs a whole shape' "$WATTLAW" synth --layers 2 --embd 64
expect_err_grep 'says which part is missing' '--heads is missing'
expect_code 1 'refuses an unknown shape' "$WATTLAW" synth --like smollm2-135n
expect_err_grep 'suggests the nearest' "did you mean 'smollm2-135m'"
expect_code 2 'refuses an unknown type' "$WATTLAW" synth --like smollm2-135m --type q8_1
expect_err_grep 'suggests the nearest type' "did you mean 'q8_0'"
expect_code 2 'refuses a negative number' "$WATTLAW" synth --like smollm2-135m --layers -3
expect_err_grep 'says what was expected' '--layers: expected a number above 0, found -3'
expect_code 2 'refuses text for a number' "$WATTLAW" synth --layers two
expect_code 2 'refuses a negative seed' "$WATTLAW" synth --like smollm2-135m --seed -1
expect_code 2 'refuses heads that do not divide' \
    "$WATTLAW" synth --layers 2 --embd 64 --heads 4 --kv-heads 3 --ff 128
expect_code 2 'refuses a width that heads do not divide' \
    "$WATTLAW" synth --layers 2 --embd 64 --heads 3 --ff 128
expect_code 2 'refuses an unknown architecture' "$WATTLAW" synth --like smollm2-135m --arch bert
expect_err_grep 'says which there are' 'expected llama, qwen2, qwen3, gemma3, qwen2vl or qwen3vl'
expect_code 2 'refuses two models' "$WATTLAW" synth smollm2-135m smollm2-360m
expect_err_grep 'says that one is enough' "one model at a time.*'smollm2-360m'"
expect_code 1 'refuses an unknown name' "$WATTLAW" synth smolvlm-255m
expect_err_grep 'suggests the nearest one' "did you mean 'smolvlm-256m'"
expect_code 1 'refuses a missing folder' "$WATTLAW" synth --like smollm2-135m -o no/such/m.gguf
expect_err_grep 'says which' "no folder 'no/such'"
expect_code 1 'refuses what no disk has room for' "$WATTLAW" synth --name huge --layers 1000 \
    --embd 1000000 --heads 1000 --ff 1000000 --vocab 4000000 --type f32 -o huge.gguf
expect_err_grep 'says how much is needed and free' 'it needs about .*GiB but .* has .* free'
ok 'leaves nothing behind' test ! -e huge.gguf

# Models that see images.
expect_code 0 'lists them' "$WATTLAW" synth --list
expect_grep 'with the parameters of their encoders' '^qwen2-vl-2b  *qwen2vl  *28  *1536  *1.54B  *665M .* GiB'
expect_grep 'and none for the others' '^smollm2-135m  *llama  *30  *576  *135M  *- '
expect_code 0 'lists them as JSON' "$WATTLAW" synth --list --json
expect_json 'with their encoders' \
    '[(s["vision"]["projector"], s["vision"]["n_params"]) for s in d["shapes"] if s["name"] == "qwen2-vl-2b"] == [("qwen2vl_merger", 665271296)]'
expect_json 'and null for the others' \
    '[s["vision"] for s in d["shapes"] if s["name"] == "smollm2-135m"] == [None]'
expect_code 2 'refuses a file where a folder belongs' "$WATTLAW" synth smolvlm-256m -o pair.gguf
expect_err_grep 'says that there are two files' 'is two files; expected a folder'
expect_code 2 'refuses an encoder in an unknown type' "$WATTLAW" synth smolvlm-256m --mmproj-type q4_k_m -o pair
expect_err_grep 'says which there are for encoders' 'expected f16, q8_0 or f32'
ok 'before anything is written' test ! -e pair
expect_code 2 'refuses an encoder for a model without' "$WATTLAW" synth smollm2-135m --mmproj-type f16
expect_err_grep 'says that it sees no images' 'sees no images'
expect_code 2 'refuses another architecture for an encoder' "$WATTLAW" synth qwen3-vl-2b --arch qwen3

printf 'GGUF no model' >broken.gguf
expect_code 2 'keeps a file that is no model' "$WATTLAW" synth --like smollm2-135m -o broken.gguf
expect_err_grep 'says that --force overwrites it' 'not readable.*--force'

# ---- with the engine ----

need_engine
tiny=(--layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 128 --vocab 320 --ctx 256 --tied)

expect_code 0 'writes a small model' "$WATTLAW" synth "${tiny[@]}" --type q8_0 -o tiny.gguf
expect_grep 'prints its path first' '^tiny\.gguf$'
expect_grep 'says that the weights are random' 'random: what this model costs is real'
ok 'the file is there' test -s tiny.gguf
ok 'no temporary file is left' bash -c '! ls tiny.gguf?* 2>/dev/null'

cp tiny.gguf before.gguf
expect_code 0 'uses it again' "$WATTLAW" synth "${tiny[@]}" --type q8_0 -o tiny.gguf
expect_grep 'and says so' 'was there already'
ok 'without touching it' cmp tiny.gguf before.gguf
expect_code 0 'writes it anew when forced' "$WATTLAW" synth "${tiny[@]}" --type q8_0 -o tiny.gguf --force
expect_no_grep 'and says nothing of an old one' 'was there already'
ok 'the same seed gives the same bytes' cmp tiny.gguf before.gguf

expect_code 2 'keeps a file of another shape' "$WATTLAW" synth "${tiny[@]}" --layers 3 -o tiny.gguf
expect_err_grep 'says the difference' 'layers 2 instead of 3'
expect_code 2 'keeps a file of another type' "$WATTLAW" synth "${tiny[@]}" --type q4_0 -o tiny.gguf
expect_err_grep 'says which types' 'llama q8_0 instead of llama q4_0'
expect_code 2 'keeps a file of another seed' "$WATTLAW" synth "${tiny[@]}" --seed 7 -o tiny.gguf
expect_err_grep 'says which seed' 'seed 1 instead of 7'
expect_code 0 'overwrites it when forced' "$WATTLAW" synth "${tiny[@]}" --seed 7 -o tiny.gguf --force
ok 'another seed gives other bytes' bash -c '! cmp -s tiny.gguf before.gguf'
expect_code 0 'overwrites a broken file when forced' "$WATTLAW" synth "${tiny[@]}" -o broken.gguf --force

if [ -f "${WATTLAW_TEST_MODELS:-}/stories260k-f32.gguf" ]; then
    cp "$WATTLAW_TEST_MODELS/stories260k-f32.gguf" trained.gguf
    expect_code 2 'never overwrites trained weights' "$WATTLAW" synth "${tiny[@]}" -o trained.gguf --force
    expect_err_grep 'says why' 'trained weights'
    ok 'they are untouched' cmp trained.gguf "$WATTLAW_TEST_MODELS/stories260k-f32.gguf"
fi

expect_code 0 'answers in JSON' "$WATTLAW" synth "${tiny[@]}" --name 'My Tiny/Model' --type f16 --json
expect_json 'with the facts' \
    'd["schema_version"] == 1 and d["is_synthetic"] and not d["is_reused"] and d["bytes"] > 1000 and d["type"] == "f16"'
expect_json 'into the cache folder, under a tame name' \
    'd["path"].endswith("/home/.cache/wattlaw/models/synth-my-tiny-model-f16.gguf")'
expect_code 0 'uses it again in JSON' "$WATTLAW" synth "${tiny[@]}" --name 'My Tiny/Model' --type F16 --json
expect_json 'and says so' 'd["is_reused"] and d["seconds"] is None'
expect_code 0 'replaces its own file of another shape' \
    "$WATTLAW" synth "${tiny[@]}" --layers 3 --name 'My Tiny/Model' --type f16 --json
expect_json 'by the new one' 'not d["is_reused"]'

for arch in llama qwen2 qwen3 gemma3 qwen2vl qwen3vl; do
    expect_code 0 "writes $arch" "$WATTLAW" synth "${tiny[@]}" --arch "$arch" -o "$arch.gguf" --quiet
    expect_no_grep 'and prints only the path when quiet' 'random'
done

expect_code 0 'models lists what was written' "$WATTLAW" models synth
expect_grep 'with a note' 'synth-my-tiny-model-f16 .*random weights'

pair=(smolvlm-256m --layers 1 --vocab 4096 --type q4_0 --mmproj-type q8_0 --name eyes)
expect_code 0 'writes a model that sees images' "$WATTLAW" synth "${pair[@]}" -o pair
expect_grep 'prints the model first' '^pair/synth-eyes-q4_0\.gguf$'
expect_grep 'then its image encoder' '^pair/mmproj-synth-eyes-q8_0\.gguf$'
expect_grep 'says what the encoder is' '^idefics3 q8_0, 93.5M parameters, .* MiB'
ok 'both files are there, and no more' bash -c '[ "$(ls pair | wc -l)" = 2 ]'
expect_code 0 'uses both again' "$WATTLAW" synth "${pair[@]}" -o pair --json
expect_json 'and says so' 'd["is_reused"] and d["mmproj"]["is_reused"]'
expect_json 'with the published parameters' 'd["mmproj"]["n_params"] == 93510912'
expect_code 2 'keeps an encoder of another width' "$WATTLAW" synth "${pair[@]}" --embd 640 --heads 10 -o pair
expect_err_grep 'says which file is in the way' "synth-eyes-q4_0.gguf' exists and is another model"
expect_code 0 'puts a pair into a folder of its own' "$WATTLAW" synth "${pair[@]}" --json
expect_json 'of the cache' \
    'd["mmproj"]["path"].endswith("/home/.cache/wattlaw/models/synth-eyes/mmproj-synth-eyes-q8_0.gguf")'
expect_code 0 'models lists the pair' "$WATTLAW" models eyes
expect_grep 'as one that sees images' 'synth-eyes-q4_0 '

# An interrupted run leaves nothing behind.
if command -v timeout >/dev/null; then
    expect_code 130 'ends when interrupted' \
        interrupt_after 0.7 "$WATTLAW" synth --like qwen2.5-7b --type f16 -o big.gguf
    ok 'leaves no file' bash -c '! ls big.gguf* 2>/dev/null'
fi
