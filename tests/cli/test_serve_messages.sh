#!/usr/bin/env bash
# The form of Anthropic (/v1/messages) through `wattlaw serve`: the real llama-server with the built-in pair, and what the
# fake model server shows of headers and budgets.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
command -v curl >/dev/null || skip 'no curl'

# message CONTENT [MORE FIELDS]: CONTENT is JSON.
message() { printf '{"max_tokens":12,"temperature":0,"messages":[{"role":"user","content":%s}]%s}' "$1" "${2:+,$2}"; }
QUESTION=$(message '"reverse: 1 2 3"')

# ---- keys and headers ----
start_stub
key=$("$WATTLAW" serve --keys keys.json --new-key kitchen -q)
jq '(.keys[] | select(.name == "kitchen")).tokens_per_day = 1000' keys.json >k2 && mv k2 keys.json
start_gateway --upstream "$STUB" --keys keys.json
ask /v1/messages "$QUESTION"
expect_status 'without a key' 401
ask /v1/messages "$QUESTION" -H "x-api-key: $key" -H 'anthropic-version: 2023-06-01' -H 'anthropic-beta: a,b'
expect_status 'keys where these clients put them' 200
expect_answer 'with the energy' '.usage.energy.wh >= 0 and .usage.input_tokens == 4'
expect_header 'what is left is told' '^X-RateLimit-Remaining-Tokens: 995'
ok 'the version goes on' test "$(stub_count 'last_headers["anthropic-version"]')" = 2023-06-01
ok 'so do wishes for what is new' test "$(stub_count 'last_headers["anthropic-beta"]')" = a,b
ok 'the key does not' test "$(stub_count 'last_headers["x-api-key"]')" = null
ask /v1/messages '[]' -H "x-api-key: $key"
expect_status 'no object' 400
stop_gateway

# ---- the real thing ----
if [ ! -x "${WATTLAW_ENGINE:-}" ] ||
    { [ ! -x "$WATTLAW_BUILD_DIR/bin/llama-server" ] && ! command -v llama-server >/dev/null; }; then
    printf '# not asked without an engine and llama-server: the built-in pair\n'
    exit 0
fi
rm -f ledger.db*
start_gateway
ask /v1/messages "$QUESTION" -H 'anthropic-version: 2023-06-01'
expect_status 'a whole answer' 200
expect_answer 'in the form of Anthropic' '.type == "message" and .stop_reason != null and (.content[0].text | length) > 0'
expect_answer 'with the energy' '.usage | .output_tokens > 0 and .energy.wh >= 0 and .energy.source != null'
whole=$(jq -r '.content[0].text' "$OUT")
input=$(jq '.usage | .input_tokens + .cache_read_input_tokens' "$OUT")
output=$(jq '.usage.output_tokens' "$OUT")
ask /v1/messages/count_tokens "$QUESTION"
expect_answer "tokens are counted ($input)" ".input_tokens == $input"

ask /v1/messages "$(message '"reverse: 1 2 3"' '"stream":true')"
expect_status 'a stream' 200
expect_header 'is one' '^Content-Type: text/event-stream'
ok 'events have their names' grep -x 'event: content_block_delta' "$OUT"
expect_pieces 'the words are the same' "[.[].delta.text // empty] | join(\"\") == $(jq -Rn '$whole' --arg whole "$whole")"
expect_pieces 'it begins and ends as it should' '.[0].type == "message_start" and .[-1].type == "message_stop"'
ok 'the energy is a comment behind it' grep -E '^: wattlaw {"wh":' "$OUT"
ok 'which is the only line that is not of the stream' test "$(grep -cvE '^(event: |data: |: wattlaw |$)' "$OUT")" = 0

ask /v1/messages "$(message '[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="}},{"type":"text","text":"What is the serial number?"}]')"
expect_status 'a picture' 200
ask /v1/messages "$(message '"weather in Rome"' '"system":"be brief","tools":[{"name":"weather","description":"of a place","input_schema":{"type":"object","properties":{"place":{"type":"string"}}}}]')"
expect_status 'a system prompt and tools' 200

fetch /v1/energy
expect_answer 'each of them is in the ledger, counting is free' '.totals.requests == 4 and .totals.answered == 4'
expect_answer 'with its tokens' ".totals.prompt_tokens > 2 * $input and .totals.completion_tokens > 2 * $output"

curl -sN --max-time 1 -d '{"max_tokens":4000,"stream":true,"messages":[{"role":"user","content":"log:"}]}' "$GATEWAY/v1/messages" >/dev/null
is_free() { curl -s "$GATEWAY/v1/energy/live" | jq -e '.queue.running == 0'; }
ok 'who leaves ends the work' until_ok 10 is_free
stop_gateway

start_gateway --max-output 5
ask /v1/messages "$QUESTION"
expect_status 'where answers are limited this form is refused' 403
expect_answer 'and another one is named' '.error.code == "endpoint_not_limited" and (.error.message | test("/v1/chat/completions"))'
stop_gateway
