#!/usr/bin/env bash
# `wattlaw serve` with a llama-server of its own and the built-in pair: text, pictures, counts, death
# and sleep of the server.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
command -v curl >/dev/null || skip 'no curl'
need_engine
[ -x "$WATTLAW_BUILD_DIR/bin/llama-server" ] || command -v llama-server >/dev/null || skip 'no llama-server'
picture=$WATTLAW_SOURCE_DIR/models/tasks/panels/panel-01.webp

# A question about a picture; more fields in $1.
about_picture() {
    printf '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/webp;base64,'
    base64 -w0 "$picture"
    printf '"%s}},{"type":"text","text":"What is the serial number?"}]}],"temperature":0,"max_tokens":12}' "${1:-}"
}

server_pid() { sed -n 's/.*model server started, process \([0-9]*\)$/\1/p' gateway.log | tail -n 1; }

start_gateway --max-input 2000
ask /v1/chat/completions '{"messages":[{"role":"user","content":"reverse: 1 2 3"}],"max_tokens":8,"temperature":0}'
expect_status 'the built-in model answers' 200
expect_answer 'with the energy' '.usage.energy.source != null and .usage.completion_tokens > 0'
fetch /metrics
expect_grep 'a whole answer is divided by the times that the server tells' 'energy_joules_total{phase="answer",.*} [0-9.e-]*[1-9]'
expect_grep 'nothing is left undivided' 'energy_joules_total{phase="whole",.*} 0$'
about_picture >question.json
ask /v1/chat/completions @question.json
expect_status 'it sees pictures' 200
expect_answer 'and reads them' '.choices[0].message.content | test("[0-9]")'
before=$(jq .usage.prompt_tokens "$OUT")
stop_gateway
ok 'the end is a good one' test "$CODE" = 0
ok 'no server is left' sh -c "! kill -0 $(server_pid) 2>/dev/null"

start_gateway --image-tokens 80 --image-tokens-low 40
ask /v1/chat/completions @question.json
expect_answer "a clamp saves tokens ($before before)" ".usage.prompt_tokens < $before - 20"
expect_header 'and says so' '^X-Wattlaw-Images-Shrunk: 1'
shrunk=$(jq .usage.prompt_tokens "$OUT")
about_picture ',"detail":"low"' >low.json
ask /v1/chat/completions @low.json
expect_answer "detail low saves more ($shrunk with auto)" ".usage.prompt_tokens < $shrunk"
fetch /metrics
expect_grep 'pixels are counted' 'wattlaw_image_pixels_total{side="out"} [1-9]'

# ---- death ----
pid=$(server_pid)
kill -9 "$pid"
is_new() { [ "$(server_pid)" != "$pid" ] && curl -sf "$GATEWAY/health"; }
ok 'a server that dies is started again' until_ok 20 is_new
ask /v1/chat/completions '{"messages":[{"role":"user","content":"reverse: 1 2 3"}],"max_tokens":4}'
expect_status 'and answers' 200
fetch /metrics
expect_grep 'its death is counted' 'wattlaw_upstream_deaths_total 1'
stop_gateway

# ---- sleep ----
start_gateway --idle-unload 1s
pid=$(server_pid)
is_asleep() { ! kill -0 "$pid"; }
ok 'a server that nobody asks is stopped' until_ok 15 is_asleep
fetch /health
expect_answer 'which is no illness' '.status == "ok" and .model_server == "asleep"'
ask /v1/chat/completions '{"messages":[{"role":"user","content":"reverse: 1 2 3"}],"max_tokens":4}'
expect_status 'the next request wakes it' 200
is_asleep_again() { curl -s "$GATEWAY/health" | grep asleep; }
ok 'it sleeps again' until_ok 15 is_asleep_again
fetch /v1/models
expect_answer 'asking for its models wakes it, too' '.data[0].id == "builtin"'
stop_gateway

# ---- a profile ----
cat >profile.json <<'JSON'
{"schema_version": 1, "model": "builtin", "mmproj": "none", "engine": {"ctx": 512, "threads": 1},
 "limits": {"output_tokens": 3}}
JSON
start_gateway --profile profile.json
ask /v1/chat/completions '{"messages":[{"role":"user","content":"reverse: 1 2 3 4 5 6"}],"max_tokens":40}'
expect_answer 'limits of a profile' '.usage.completion_tokens <= 3'
sed -i 's/"output_tokens": 3/"output_tokens": 2/' profile.json
kill -HUP "$GATEWAY_PID"
is_two() {
    curl -s -d '{"messages":[{"role":"user","content":"reverse: 1 2 3 4 5 6"}]}' "$GATEWAY/v1/chat/completions" |
        jq -e '.usage.completion_tokens == 2'
}
ok 'SIGHUP reads it again' until_ok 20 is_two
# A change that needs a new server comes although requests never stop.
pid=$(server_pid)
while :; do
    curl -s -o /dev/null -d '{"messages":[{"role":"user","content":"reverse: 1 2 3"}]}' "$GATEWAY/v1/chat/completions"
done &
client=$!
while :; do
    curl -s -o /dev/null -d '{"messages":[{"role":"user","content":"reverse: 4 5 6"}]}' "$GATEWAY/v1/chat/completions"
done &
client2=$!
sed -i 's/"ctx": 512/"ctx": 768/' profile.json
kill -HUP "$GATEWAY_PID"
is_new() { [ "$(server_pid)" != "$pid" ]; }
ok 'other settings of the server are taken while requests come' until_ok 20 is_new
kill "$client" "$client2"
wait "$client" "$client2" 2>/dev/null
ok 'and none of them failed' sh -c "! grep -E ' (502|503|504) ' gateway.log"
stop_gateway
