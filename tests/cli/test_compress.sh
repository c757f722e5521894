#!/usr/bin/env bash
# wattlaw compress: a smaller file that runs, the floor, and one clear error for each wrong request.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
export OPENBLAS_NUM_THREADS=1

# ---- without the compressor ----

expect_code 2 'needs a model' "$WATTLAW" compress -o x.gguf
expect_err_grep 'says so' 'no model: give a GGUF file'
expect_code 2 'needs a file to write' "$WATTLAW" compress x.gguf
expect_err_grep 'says so' 'give -o FILE'
expect_code 2 'refuses two models' "$WATTLAW" compress a.gguf b.gguf -o x.gguf
expect_err_grep 'names the second' "unexpected argument 'b.gguf'"
while IFS='|' read -r options words; do
    # shellcheck disable=SC2086
    expect_code 2 "refuses $options" "$WATTLAW" compress a.gguf -o x.gguf $options
    expect_err_grep 'says why' "$words"
done <<'LIST'
--cut 0|--cut: expected a share above 0 and below 1, found 0
--cut 1.5|found 1.5
--cut 0.2 --width 32|--cut or --width, not both
--budget 0.5 --drop 1|--drop or --budget, not both
--budget 0.5 --shapes round|--shapes: expected same or mixed, found 'round'
--drop 0|--drop: expected 1 or more, found 0
--vocabulary few|--vocabulary: expected 'used' or a number, found 'few'
--encoder-cut 0.5|go with --mmproj-out
--check soon|--check: expected a time such as 60s or 5m, found 'soon'
--check-limit -1|--check-limit: expected 0 or more, found -1
--width 0|--width: expected 1 or more, found 0
--tokens -5|--tokens: expected 1 or more, found -5
--threads 0|--threads: expected 1 or more, found 0
--seed -1|--seed: expected 0 or above, found -1
--heal global|--heal: expected none, closed, local, lora or full, found 'global'
--heal closed --minutes 2|--minutes goes with --heal local, lora or full only
--heal local --minutes 0|--minutes: expected above 0, found 0
--heal local --method wanda|--heal local goes with --method repair only, found 'wanda'
--method best|--method: expected repair, cut, magnitude or wanda, found 'best'
--floor perfect|--floor: expected transparent, good, none or a number above 0, found 'perfect'
--floor 0|--floor: expected .* found '0'
LIST
expect_code 1 'refuses a missing model' "$WATTLAW" compress no-such.gguf -o x.gguf
expect_err_grep 'names it' 'no-such'
printf 'GGUF no model' >broken.gguf
expect_code 1 'refuses a missing folder' "$WATTLAW" compress broken.gguf -o no/such/x.gguf
expect_err_grep 'says which' "no folder 'no/such'"
expect_code 2 'refuses a folder in place of a file' "$WATTLAW" compress broken.gguf -o "$PWD"
expect_err_grep 'says that it is one' 'is a folder'
ln -s broken.gguf link.gguf
expect_code 2 'refuses to overwrite the model' "$WATTLAW" compress broken.gguf -o link.gguf --force
expect_err_grep 'says that it is the model' 'is the model itself'
touch there.gguf
expect_code 2 'keeps a file that exists' "$WATTLAW" compress broken.gguf -o there.gguf
expect_err_grep 'says what replaces it' 'exists; --force replaces it'
expect_code 1 'refuses missing text' "$WATTLAW" compress broken.gguf -o x.gguf --calib no-text
expect_err_grep 'names it' "no file or folder 'no-text'"
expect_code 1 'refuses missing tasks' "$WATTLAW" compress broken.gguf -o x.gguf --tasks no-tasks
expect_err_grep 'names them' "no file 'no-tasks'"
WATTLAW_COMPRESSOR=/etc/passwd expect_code 1 'refuses what is no compressor' \
    "$WATTLAW" compress broken.gguf -o x.gguf
expect_err_grep 'names the variable' "WATTLAW_COMPRESSOR is '/etc/passwd'"

# ---- with it ----

trusting_of_busy() { # 3: measured, on a busy machine
    "$@"
    local code=$?
    [ $code -eq 3 ] && return 0
    return $code
}
need_engine
[ -x "${WATTLAW_COMPRESSOR:-}" ] || skip 'wattlaw-compressor is not built (WATTLAW_COMPRESSOR)'
WATTLAW_COMPRESSOR=$WATTLAW_ENGINE expect_code 1 'refuses another program' \
    "$WATTLAW" compress broken.gguf -o x.gguf
expect_err_grep 'says what it expected' "expected wattlaw-compressor, found 'wattlaw-engine'"
expect_code 1 'refuses a broken file' "$WATTLAW" compress broken.gguf -o x.gguf
expect_err_grep 'names it' 'broken.gguf'

"$WATTLAW" synth -q --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512 --ctx 256 \
    --type f16 -o in.gguf >/dev/null || skip 'synth cannot make a model'
cp in.gguf kept.gguf
small=(in.gguf -o out.gguf --tokens 1500 --threads 1 --check 0 --rivals none)

expect_code 0 'plans' "$WATTLAW" compress "${small[@]}" --width 160 --dry-run
expect_grep 'with widths' '256 -> 160 in every block'
expect_grep 'with sizes' 'file .*KiB -> about .*KiB'
expect_grep 'with the calibration' '1500 tokens: what the model writes itself'
ok 'and writes nothing' test ! -e out.gguf
expect_code 0 'plans in JSON' "$WATTLAW" compress "${small[@]}" --cut 0.3 --dry-run --json
expect_json 'a cut that is at least as large' \
    'd["schema_version"] == 2 and d["plan"]["block_weights_after"] <= 0.7 * d["plan"]["block_weights_before"]'
expect_json 'in whole steps' 'all(l["n_ff"] % d["plan"]["step"] == 0 for l in d["plan"]["layers"])'
expect_json 'with what it will take' \
    'd["plan"]["estimate"]["seconds"] > 0 and d["plan"]["estimate"]["disk_bytes"] > 0'

expect_code 0 'plans other types' "$WATTLAW" compress "${small[@]}" --type Q4_K --dry-run --json
expect_json 'with the size that they give' 'd["plan"]["out_bytes"] < 0.6 * d["plan"]["in_bytes"]'

expect_code 2 'refuses a cut beyond the feed-forward parts' "$WATTLAW" compress "${small[@]}" --cut 0.99
expect_err_grep 'says how much there is' 'at most 0\.[0-9]*, found 0.99'
expect_code 2 'refuses a width between steps' "$WATTLAW" compress "${small[@]}" --width 100
expect_err_grep 'says the step' 'expected a multiple of 32 up to 256'
expect_code 2 'refuses too few tokens' "$WATTLAW" compress in.gguf -o out.gguf --tokens 10
expect_err_grep 'says how many there must be' 'expected 64 to'

expect_code 0 'compresses' "$WATTLAW" compress "${small[@]}" --width 128 --floor none
expect_grep 'tells each block' '^ *1 *256 -> *128 '
expect_grep 'tells the divergence with an interval' 'KL divergence .* nats per token (95 % .* to '
expect_grep 'tells both perplexities' 'perplexity .* -> '
expect_grep 'tells the likeliest token' 'same token .*%'
expect_err_grep 'prints the plan first' '^plan .*in.gguf (llama, 2 blocks) -> out.gguf'
ok 'the file is smaller' [ "$(stat -c %s out.gguf)" -lt "$(stat -c %s in.gguf)" ]
ok 'nothing else is left' [ "$(echo out.gguf*)" = out.gguf ]
ok 'the model is untouched' cmp in.gguf kept.gguf
expect_code 0 'the file runs' "$WATTLAW" run -m out.gguf -p 'Once upon a time' -n 4 --idle 0.1
expect_code 0 'models reads it' env WATTLAW_MODELS_PATH="$PWD" "$WATTLAW" models out
expect_code 2 'keeps it' "$WATTLAW" compress "${small[@]}" --width 128

expect_code 0 'answers in JSON, and replaces it when forced' \
    "$WATTLAW" compress "${small[@]}" --width 128 --floor none --heal none --force --json --quiet
expect_json 'with the result' 'd["is_written"] and d["refusal"] is None and len(d["layers"]) == 2'
expect_json 'with a verdict' \
    'd["verdict"]["n"] > 0 and d["grade"] in ("transparent", "good", "degraded")'
expect_json 'with the size of the file' 'd["out_bytes"] == __import__("os").path.getsize("out.gguf")'
expect_json 'without repair' 'd["request"]["method"] == "cut"'
ok 'and nothing on standard error' test ! -s "$ERR"

rm out.gguf
expect_code 4 'ends with 4 below the floor' \
    "$WATTLAW" compress "${small[@]}" --width 32 --floor 1e-9 --method magnitude --report deep/refused
expect_grep 'with the verdict all the same' 'the floor was missed, no file was written'
expect_grep 'after less was cut three times' 'rounds .* 4: the floor was missed, less was cut'
expect_err_grep 'says by how much' 'the floor is 1e-09'
expect_grep 'and where the page is' '^report: deep/refused/compression.html$'
ok 'which says so, too' grep -q 'Not written' deep/refused/compression.html
ok 'and leaves no file' bash -c '! ls out.gguf out.gguf.unverified 2>/dev/null'
expect_code 4 'in JSON too' \
    "$WATTLAW" compress "${small[@]}" --width 32 --floor 1e-9 --method magnitude --json
expect_json 'with the refusal' 'not d["is_written"] and "nats per token" in d["refusal"]'
expect_json 'and all rounds' \
    '[r["plan"]["layers"][0]["n_ff"] for r in d["rounds"]] == sorted({r["plan"]["layers"][0]["n_ff"] for r in d["rounds"]})'
expect_code 0 'is written when it is accepted' \
    "$WATTLAW" compress "${small[@]}" --width 32 --floor 1e-9 --method magnitude --accept
rm -r out.gguf*

# An interrupted run is gone on with.
if command -v timeout >/dev/null; then
    long=(in.gguf -o out.gguf --width 128 --tokens 60000 --threads 1 --check 0 --rivals none --floor none)
    expect_code 130 'ends when interrupted' interrupt_after 3 "$WATTLAW" compress "${long[@]}"
    ok 'leaves no file' bash -c '! ls out.gguf out.gguf.unverified 2>/dev/null'
    ok 'but what it has done' test -s out.gguf.work/job.json
    expect_err_grep 'and says so' "the same command goes on from 'out.gguf.work'"
    expect_code 0 'goes on' "$WATTLAW" compress "${long[@]}"
    ok 'and leaves only the file' bash -c 'test "$(echo out.gguf*)" = out.gguf'
fi
mkdir out2.gguf.work
touch out2.gguf.work/precious
expect_code 2 'keeps a folder that is not its own' "$WATTLAW" compress in.gguf -o out2.gguf --width 128
expect_err_grep 'names it' 'is not the work folder of an earlier run'
ok 'with what is in it' test -e out2.gguf.work/precious

# More ways to cut.
ways=(in.gguf -o out.gguf --tokens 1500 --threads 1 --check 0 --rivals none --floor none --force)
expect_code 0 'takes whole blocks out' "$WATTLAW" compress "${ways[@]}" --drop 1 --json
expect_json 'one of two' 'sum(l["is_removed"] for l in d["plan"]["layers"]) == 1'
expect_code 0 'and the file runs' "$WATTLAW" run -m out.gguf -p 'Once upon a time' -n 4 --idle 0.1
expect_code 0 'keeps to a budget' "$WATTLAW" compress "${ways[@]}" --budget 0.6 --json
expect_json 'of block weights' 'd["plan"]["block_weights_after"] <= 0.6 * d["plan"]["block_weights_before"]'
expect_json 'and tells what it expects' 'd["allocation"]["predicted_kl"] >= 0'
expect_code 0 'keeps to it with shapes of their own' "$WATTLAW" compress "${ways[@]}" --budget 0.6 --shapes mixed
expect_code 0 'and that file runs' "$WATTLAW" run -m out.gguf -p 'Once upon a time' -n 4 --idle 0.1
expect_code 0 'and of another type' "$WATTLAW" compress "${ways[@]}" --budget 0.6 --shapes mixed --type Q8_0
expect_code 2 'heals them block by block only' "$WATTLAW" compress "${ways[@]}" --budget 0.6 --shapes mixed --heal lora
expect_code 2 'refuses a budget that is none' "$WATTLAW" compress "${ways[@]}" --budget lots
expect_code 0 'takes a plan' "$WATTLAW" compress "${ways[@]}" --width 192 --dry-run --json
jq '.plan.layers' "$OUT" >plan.json
expect_code 0 'and keeps to it' "$WATTLAW" compress "${ways[@]}" --plan plan.json --json
expect_json 'in all blocks' 'all(l["n_ff"] == 192 for l in d["plan"]["layers"])'
while IFS='|' read -r code plan words; do
    printf '%s' "$plan" >wrong.json
    expect_code "$code" "refuses the plan '$plan'" "$WATTLAW" compress "${ways[@]}" --plan wrong.json
    expect_err_grep 'says why' "$words"
done <<'LIST'
1|[{|bad JSON at line 1
1|{}|a list of 2 blocks
1|[{}]|a list of 2 blocks, found 1
1|[{}, 7]|block 1: expected an object
1|[{"n_ff": "192"}, {}]|block 0: key 'n_ff'
1|[{"n_ff": 0}, {}]|block 0: expected 'n_ff' from 1 to 256, found 0
1|[{}, {"n_ff": 192}]|block 1 is planned with .* sizes of their own
1|[{"is_removed": true}, {}]|block 0 is planned to go
LIST
printf '%0100d' 0 | tr 0 '[' >wrong.json
expect_code 1 'refuses a plan that is too deep' "$WATTLAW" compress "${ways[@]}" --plan wrong.json
expect_err_grep 'says how deep it may be' 'nested deeper than'
truncate -s 3M wrong.json
expect_code 1 'refuses a plan that is too large' "$WATTLAW" compress "${ways[@]}" --plan wrong.json
expect_err_grep 'says how large it may be' "wrong.json' is larger than the 1048576 bytes"
expect_code 1 'refuses a plan that is not there' "$WATTLAW" compress "${ways[@]}" --plan no-plan.json
expect_err_grep 'names it' "no-plan.json"

# Weights of few bits were rounded too much to tell what can go; whoever insists may.
"$WATTLAW" synth -q --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512 --ctx 256 \
    --type q4_0 -o few.gguf >/dev/null
few=(few.gguf -o few-out.gguf --tokens 1500 --threads 1 --check 0 --rivals none --floor none)
expect_code 1 'refuses weights of few bits' "$WATTLAW" compress "${few[@]}" --width 128
expect_err_grep 'names the type, and what to take' "stored as q4_0, expected q6_K or more.* or force it"
ok 'and leaves nothing' bash -c '! ls few-out.gguf* 2>/dev/null'
expect_code 0 'but not when forced' "$WATTLAW" compress "${few[@]}" --width 128 --force --dry-run

# Other architectures: no tensor that they do not take, and a tied output matrix stays tied.
for arch in qwen2 qwen3; do
    "$WATTLAW" synth -q --arch "$arch" --layers 3 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512 \
        --ctx 256 --type f16 --tied -o "$arch.gguf" >/dev/null
    other=("$arch.gguf" -o "$arch-out.gguf" --tokens 1500 --threads 1 --check 0 --rivals none --floor none)
    expect_code 0 "compresses a $arch" "$WATTLAW" compress "${other[@]}" --width 128 -q
    expect_code 0 'which runs' "$WATTLAW" run -m "$arch-out.gguf" -p 'Once upon a time' -n 4 --idle 0.1
    expect_code 0 'in shapes of their own' "$WATTLAW" compress "${other[@]}" --budget 0.6 --shapes mixed --force -q
    expect_code 0 'which run' "$WATTLAW" run -m "$arch-out.gguf" -p 'Once upon a time' -n 4 --idle 0.1
done
expect_code 0 'changes types' "$WATTLAW" compress "${ways[@]}" --type Q8_0 --json
expect_json 'of the matrices' 'len(d["types"]["tensors"]) > 4 and d["out_bytes"] < 0.7 * d["plan"]["in_bytes"]'
expect_code 0 'trains all blocks together' "$WATTLAW" compress "${ways[@]}" --width 128 --heal lora --minutes 0.1 --json
expect_json 'and says what it gained' 'd["distilled"]["kl_after"] <= d["distilled"]["kl_before"] or not d["distilled"]["is_kept"]'
expect_code 0 'exports a recipe' "$WATTLAW" compress "${ways[@]}" --width 128 --export-recipe recipe
ok 'with a training set' bash -c 'head -1 recipe/text.jsonl | jq -e ".tokens | length > 1"'
ok 'and a script' bash -c 'head -1 recipe/heal.py | grep -q python3 && grep -q heal.py recipe/README.md'

# What both cost, side by side, and the certificate.
expect_code 0 'measures both' trusting_of_busy "$WATTLAW" compress in.gguf -o sealed.gguf --tokens 1500 --threads 1 \
    --width 128 --floor none --check 3s --rivals Q8_0 --report report
expect_grep 'in a table' 'CPU AUC .*RAM AUC'
expect_grep 'with the original at lower bits' 'the original in Q8_0'
ok 'and a report' test -s report/report.html
ok 'beside it a page of the compression' grep -q 'the original in Q8_0' report/compression.html
ok 'which names it' grep -q 'href="report.html"' report/compression.html
expect_code 0 'the file says where it comes from' "$WATTLAW" models --info sealed.gguf --json
expect_json 'and what it kept' '"kl_mean" in json.dumps(d) and "in.gguf" in json.dumps(d)'

# What a user could take instead: other types, and a model of the user's own.
printf 'no model' >none.gguf
expect_code 0 'judges and times what could be taken instead' "$WATTLAW" compress in.gguf -o beside.gguf \
    --tokens 1500 --threads 1 --width 128 --floor none --check 0 --rivals "Q8_0,./in.gguf,./none.gguf" --json
expect_json 'in types' \
    'd["rivals"][0]["name"] == "the original in Q8_0" and d["rivals"][0]["verdict"]["kl_mean"] > 0'
expect_json 'the same model is no distance away' \
    'd["rivals"][1]["is_file"] and abs(d["rivals"][1]["verdict"]["kl_mean"]) < 1e-6'
expect_json 'of a file that is no model it is said' \
    'd["rivals"][2]["verdict"] is None and "none.gguf" in d["rivals"][2]["refusal"] and d["rivals"][2]["speed"] is None'
expect_json 'each with a time for a token, in as many rounds' \
    'all(s["n"] == d["speed"]["n"] >= 3 and 0 < s["decode_ms"]["low"] <= s["decode_ms"]["median"] <= s["decode_ms"]["high"]
         for s in [d["speed"], d["speed_original"], d["rivals"][0]["speed"], d["rivals"][1]["speed"]])'
expect_json 'the original has the speed of the original' 'd["speed_original"]["prompt_ratio"] == {"median": 1, "low": 1, "high": 1}'
expect_code 2 'a rival that is nothing' "$WATTLAW" compress in.gguf -o no.gguf --tokens 1500 --rivals Q99 --check 0 -q
expect_err_grep 'says what there is' "rival 'Q99' is no file.*expected one of F32"
expect_code 1 'a rival that is not there' "$WATTLAW" compress in.gguf -o no.gguf --rivals ./absent.gguf -q
