#!/usr/bin/env bash
# The main job on a real (tiny) model: run, study, report, predict, roi, resume.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
find_model
export WATTLAW_STORE=$PWD/store.db

expect_code 0 'run answers' "$WATTLAW" run -m "$model" -p 'Once upon a time' -n 24
[ "$model_is_real" = 0 ] || expect_grep 'in English' 'there\|little\|was'
expect_err_grep 'and shows an energy card' 'energy'
expect_code 0 'run --json' "$WATTLAW" run -m "$model" -p 'Once upon a time' -n 24 --json
ok 'with phases in order' sh -c "jq -e '.phases[0].phase == \"prefill\" and .phases[1].phase == \"decode\"
    and .phases[0].t1_ns <= .phases[1].t0_ns and .generated_tokens == 24' '$OUT'"

# On a busy machine a study ends with 3: measured, but not trustworthy. That is right here too.
trusting() {
    "$@"
    local code=$?
    [ $code -eq 3 ] && return 0
    return $code
}

study=(trusting "$WATTLAW" study -m "$model" --tokens 16..128 -g 16 --budget 6s --idle 1 --paper 0 -o report)
expect_code 0 'study' "${study[@]}"
expect_grep 'ends with the report path' '^report: report/report.html'
expect_grep 'accuracy is not invented' 'not measured'
for file in report.html report.json records.csv; do
    ok "$file is written" test -s "report/$file"
done
ok 'the page needs nothing from outside' sh -c "! grep -nE '(src|href)=\"?https?:' report/report.html"
ok 'JSON has a schema version and records' \
    sh -c "jq -e '.schema_version == 1 and (.models[0].records | length) > 20' report/report.json"
ok 'CSV has a line per record' \
    sh -c "test \$(jq '.models[0].records | length' report/report.json) -eq \$((\$(wc -l <report/records.csv) - 1))"
command -v sqlite3 >/dev/null && ok 'the store is sound' sh -c "sqlite3 store.db 'PRAGMA integrity_check' | grep -qx ok"

expect_code 0 'predict' "$WATTLAW" predict -n 100 -g 16 --json
ok 'gives a time with an interval around it' sh -c "jq -e '.models[0].predictions[] | select(.metric == \"time_s\")
    | .value > 0 and .run_pi95[0] < .value and .value < .run_pi95[1]' '$OUT'"
expect_code 0 'predict a text' "$WATTLAW" predict -p 'Once upon a time there was' -g 16
expect_code 0 'predict outside' "$WATTLAW" predict -n 5000 -g 16
expect_grep 'says so' 'extrapolated'
expect_code 0 'roi from the study' "$WATTLAW" roi -r 10
expect_code 0 'report rebuilds' "$WATTLAW" report -o again
ok 'the same records' cmp report/records.csv again/records.csv
expect_code 0 'report --list' "$WATTLAW" report --list
expect_grep 'lists it as done' 'done'

# Interrupted and continued.
long=("$WATTLAW" study -q -m "$model" --tokens 16..64 -g 64 --repeats 40 --min-repeats 40 --budget 1h
    --idle 1 --paper 0 -o long)
"${long[@]}" >/dev/null 2>int.log &
pid=$!
sleep 2.5
kill -INT $pid
wait $pid
code=$?
ok 'Ctrl-C ends with 130' test $code -eq 130
before=$("$WATTLAW" report --list --json | jq '.studies[0].n_records')
ok 'windows were kept' test "$before" -gt 0
expect_code 0 'the same command goes on' trusting "${long[@]}"
"$WATTLAW" report --list --json >list.json
ok 'in the same study' sh -c "jq -e '(.studies | length) == 2 and .studies[0].state == \"done\"' list.json"

printf '%s\n' 'Once upon a time' '{"prompt": "There was a little girl\nwho had a dog"}' >prompts.txt
expect_code 0 'own prompts' trusting "$WATTLAW" study -m "$model" --prompts prompts.txt -g 8 --budget 2s --idle 1 --paper 0 -o own
expect_code 1 'a bad prompt file' "$WATTLAW" study -m "$model" --prompts /dev/null

expect_code 0 'questions about pictures without an image encoder' trusting "$WATTLAW" study -m "$model" \
    --tasks panel --tokens 16 -g 4 --budget 1s --repeats 1 --min-repeats 1 --idle 1 --paper 0 -o blind
expect_err_grep 'are left out aloud' 'questions about pictures are left out'

# A question that is longer than all lengths of the sweep has room.
builtin=$WATTLAW_SOURCE_DIR/models/builtin/builtin.gguf
if [ -f "$builtin" ]; then
    printf '{"id": "long", "prompt": "%s", "reference": "yes"}\n' "$(printf 'the pump is on. %.0s' {1..120})" >long.jsonl
    expect_code 0 'a long question' trusting "$WATTLAW" study -m "$builtin" --tasks long.jsonl --tokens 16 -g 4 \
        --budget 1s --repeats 1 --min-repeats 1 --idle 1 --paper 0 -o longer
fi

# A model against itself, made smaller.
if [ -x "${WATTLAW_COMPRESSOR:-}" ] && "$WATTLAW" synth -q --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 \
    --vocab 512 --ctx 256 --type f16 -o in.gguf >/dev/null; then
    smaller=(trusting "$WATTLAW" study -m in.gguf --compress 0.6 --tokens 16 -g 8 --budget 2s --idle 1 --paper 0 -o less)
    expect_code 0 'a model against itself made smaller' "${smaller[@]}"
    ok 'two models in the report' sh -c "jq -e '(.models | length) == 2 and .models[1].file_bytes < .models[0].file_bytes' less/report.json"
    made=$(find "$HOME" -name 'in.gguf-0.6-*.gguf')
    ok 'the smaller one is kept' test -s "$made"
    stamp=$(stat -c %Y "$made")
    expect_code 0 'and found again' "${smaller[@]}" --fresh
    ok 'not made again' test "$(stat -c %Y "$made")" = "$stamp"
    expect_code 2 'not with another one' "$WATTLAW" study -m in.gguf --vs in.gguf --compress 0.5
    expect_err_grep 'says so' '--vs or --compress, not both'
fi
