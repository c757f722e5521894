#!/usr/bin/env bash
# What `wattlaw serve` does when what it rests on fails: the ledger's disk, the meter, itself; and
# what it watches: canaries, feedback.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
command -v curl >/dev/null || skip 'no curl'
start_stub --slots 4

# ---- kill -9: no answer that was seen is missing in the ledger ----
start_gateway --upstream "$STUB"
for _ in $(seq 60); do
    curl -s -D - -o answer -d "$(chat 'tokens=3')" "$GATEWAY/v1/chat/completions" |
        sed -n 's/^X-Request-Id: \(.*\)\r/\1/p' >id
    if jq -e '.usage' answer >/dev/null 2>&1; then cat id >>seen; fi
done &
asker=$!
sleep 0.7
kill -9 "$GATEWAY_PID"
wait "$GATEWAY_PID" 2>/dev/null
kill "$asker" 2>/dev/null
wait "$asker" 2>/dev/null
n_seen=$(grep -c . seen)
ok "some were answered ($n_seen)" test "$n_seen" -gt 3
start_gateway --upstream "$STUB"
while read -r id; do
    ask /v1/feedback "{\"id\":\"$id\",\"score\":0.5}"
    [ "$STATUS" = 200 ] || echo "$id" >>lost
done <seen
ok 'all of them are in the ledger' test ! -e lost
stop_gateway

# ---- a full disk: the file may not grow ----
rm -f ledger.db*
: >gateway.log # not the port of the one before
(
    trap '' XFSZ
    ulimit -f 300
    exec "$WATTLAW" serve --port 0 --ledger "$PWD/ledger.db" --upstream "$STUB"
) >gateway.out 2>gateway.log &
GATEWAY_PID=$!
until_ok 15 has_port
GATEWAY=http://127.0.0.1:$(gateway_port)
until_ok 20 curl -sf "$GATEWAY/health"
is_full() {
    curl -s -o full.json -w '%{http_code}' -d "$(chat 'tokens=1')" "$GATEWAY/v1/chat/completions" >full.code
    [ "$(cat full.code)" = 503 ]
}
ok 'what cannot be written down is not begun' until_ok 60 is_full
ok 'and it says why' jq -e '.error.code == "ledger_failing"' full.json
fetch /metrics
expect_grep 'an alert can be made of it' 'wattlaw_ledger_failing 1'
ok 'what was refused goes no further' sh -c "! grep -E 'answered.*ledger cannot' gateway.log"
kill -9 "$GATEWAY_PID"
wait "$GATEWAY_PID" 2>/dev/null
GATEWAY_PID=''

# ---- a meter that is lost ----
rm -f ledger.db*
mkfifo watts
{ for _ in $(seq 40); do echo 7.5; sleep 0.1; done; } >watts &
feeder=$!
start_gateway --upstream "$STUB" --meters "fifo:$PWD/watts"
ask /v1/chat/completions "$(chat 'tokens=10 delay=30')"
expect_answer 'a meter of the user' '.usage.energy.source | test("fifo")'
kill "$feeder" 2>/dev/null
wait "$feeder" 2>/dev/null
sleep 5
ask /v1/chat/completions "$(chat 'tokens=2')"
expect_status 'without it requests are served all the same' 200
fetch /metrics
expect_grep 'the gap is told' 'wattlaw_meter_\(lost 1\|gaps_total [1-9]\)'
stop_gateway
# The last readings do not come: nobody waits long for them at the end.
{ for _ in $(seq 40); do echo 7.5; sleep 0.1; done; } >watts &
feeder=$!
start_gateway --upstream "$STUB" --meters "fifo:$PWD/watts" --drain 20s
ask /v1/chat/completions "$(chat 'tokens=2')"
kill "$feeder" 2>/dev/null
wait "$feeder" 2>/dev/null
ask /v1/chat/completions "$(chat 'tokens=5 delay=30')"
begin=$SECONDS
stop_gateway
ok "the end does not wait for a meter that is away ($((SECONDS - begin)) s)" test "$((SECONDS - begin))" -lt 8
start_gateway --upstream "$STUB" --meters "exec:/nowhere/at/all"
ask /v1/chat/completions "$(chat 'tokens=2')"
expect_answer 'without any meter there is no energy' '.usage.prompt_tokens == 1 and (.usage | has("energy") | not)'
stop_gateway

# ---- canaries ----
rm -f ledger.db*
cat >canary.jsonl <<'JSON'
{"id": "right", "prompt": "tokens=2", "reference": "word0 word1", "scorer": "exact"}
{"id": "wrong", "prompt": "tokens=3", "reference": "word0", "scorer": "exact"}
JSON
start_gateway --upstream "$STUB" --canary canary.jsonl --canary-every 2s --canary-floor 0.8 --canary-max-wh 100 --keep-text
has_run() { curl -s "$GATEWAY/metrics" | grep 'wattlaw_canary_accuracy_ratio 0.5'; }
ok 'canaries are asked while nobody else is there' until_ok 20 has_run
fetch /metrics
expect_grep 'their energy is known' 'wattlaw_canary_wh_per_answer [0-9]'
expect_grep 'two answers say little against a floor' 'wattlaw_canary_out_of_floor{what="accuracy"} 0'
fetch /v1/energy/live
expect_answer 'the page shows them' '.canary.answers == 2 and .canary.right == 1'
ask /v1/chat/completions "$(chat 'tokens=2')" -H 'X-Wattlaw-Canary: guessed'
expect_answer 'nobody else can be one' '.choices[0].message.content == "word0 word1"'
id=$(sed -n 's/^X-Request-Id: \(.*\)\r/\1/p' headers)
ask /v1/feedback "{\"id\":\"$id\",\"score\":1}"
expect_status 'feedback' 200
stop_gateway
expect_code 0 'is exported as tasks' "$WATTLAW" serve --ledger ledger.db --export-feedback tasks.jsonl
expect_grep 'one task' '^1 tasks in'
ok 'with the answer as its reference' jq -e '.prompt == "tokens=2" and .reference == "word0 word1"' tasks.jsonl
expect_code 0 'which eval reads' "$WATTLAW" eval --tasks tasks.jsonl --help

expect_code 1 'a set time that is none' "$WATTLAW" serve --port 0 --ledger x.db --upstream "$STUB" --canary canary.jsonl --canary-at 25:00
expect_err_grep 'is told' "canary_at.*found '25:00'"
at=$(date -d '+1 minute' +%H:%M)
start_gateway --upstream "$STUB" --canary canary.jsonl --canary-at "$at"
ok "canaries at a set time ($at)" until_ok 75 has_run
stop_gateway

# Many wrong answers are below the floor.
rm -f canary.jsonl
for i in $(seq 12); do
    echo "{\"id\": \"w$i\", \"prompt\": \"tokens=3\", \"reference\": \"word0\", \"scorer\": \"exact\"}" >>canary.jsonl
done
start_gateway --upstream "$STUB" --canary canary.jsonl --canary-floor 0.9 --canary-max-wh 0
is_alarmed() { curl -s "$GATEWAY/metrics" | grep 'out_of_floor{what="accuracy"} 1'; }
ok 'too many wrong answers raise the alert' until_ok 20 is_alarmed
fetch /metrics
expect_grep 'so does too much energy' 'out_of_floor{what="energy"} 1'
expect_grep 'the log warns' 'BELOW ITS FLOOR' gateway.log
stop_gateway
