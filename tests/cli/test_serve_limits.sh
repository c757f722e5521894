#!/usr/bin/env bash
# What `wattlaw serve` refuses, shortens and stops: limits of requests, budgets of keys, the queue.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
command -v curl >/dev/null || skip 'no curl'
start_stub --slots 2

# ---- limits of each request ----
start_gateway --upstream "$STUB" --max-input 20 --max-output 7 --policy reject
counts=$(stub_count counts)
ask /v1/chat/completions "$(chat 'tokens=50 a b')"
expect_answer 'the output is limited' '.usage.completion_tokens == 7 and .choices[0].finish_reason == "length"'
ok 'the input was counted by the model server' test "$(stub_count counts)" -gt "$counts"
ask /v1/chat/completions "$(chat 'tokens=50 a b' '"max_tokens":3')"
expect_answer 'a smaller wish holds' '.usage.completion_tokens == 3'
ask /v1/chat/completions "$(chat 'tokens=50 a b' '"max_completion_tokens":100')"
expect_answer 'a larger one does not' '.usage.completion_tokens == 7'
ask /v1/chat/completions "$(chat 'a b c d e f g h i j k l m n o p q r s t u v')"
expect_status 'too long a request' 400
expect_answer 'is told the counts and the limit' '.error.code == "context_length_exceeded" and (.error.message | test("22 .*20"))'
ask /v1/messages '{"max_tokens":9,"messages":[]}'
expect_status 'a form that cannot be limited is refused' 403
ask /v1/embeddings '{"input":"a b c"}'
expect_status 'inputs of embeddings are counted, too' 200
stop_gateway

# ---- limits of a model, whatever it is called ----
echo '{"schema_version":1,"limits":{"output_tokens":6},"models":{"stub":{"output_tokens":2}}}' >limits.json
start_gateway --upstream "$STUB" --profile limits.json
ask /v1/chat/completions "$(chat 'tokens=50')"
expect_answer 'limits of a model' '.usage.completion_tokens == 2'
ask /v1/chat/completions '{"model":"another-name","messages":[{"role":"user","content":"tokens=50"}]}'
expect_answer 'another name for the only model is no way around them' '.usage.completion_tokens == 2'
fetch /metrics
expect_no_grep 'nor a name in the figures' 'another-name'
stop_gateway

# ---- dropping turns ----
start_gateway --upstream "$STUB" --max-input 20 --policy truncate
turns='{"messages":[{"role":"system","content":"be brief now"}'
for i in 1 2 3 4 5 6; do
    turns="$turns,{\"role\":\"user\",\"content\":\"question $i a b\"},{\"role\":\"assistant\",\"content\":\"answer $i\"}"
done
turns="$turns,{\"role\":\"user\",\"content\":\"tokens=2 last\"}]}"
ask /v1/chat/completions "$turns"
expect_status 'a long conversation is shortened' 200
expect_header 'and says so' '^X-Wattlaw-Turns-Dropped: [1-6]'
sent=$(stub_count last_body)
ok 'the system prompt stays' sh -c "printf %s '$sent' | jq -e '.messages[0].content == \"be brief now\"'"
ok 'the last turn stays' sh -c "printf %s '$sent' | jq -e '.messages[-1].content == \"tokens=2 last\"'"
ok 'the oldest went first' sh -c "printf %s '$sent' | jq -e '[.messages[].content] | index(\"question 1 a b\") == null and (.[-3] | test(\"question 6\"))'"
expect_answer 'it fits now' '.usage.prompt_tokens <= 20'
stop_gateway

# ---- time and joules ----
start_gateway --upstream "$STUB" --max-seconds 0.6
ask /v1/chat/completions "$(chat 'tokens=1000 delay=20' '"stream":true')"
expect_pieces 'a stream is stopped at its time' '.[-1].choices[0].finish_reason == "length" and .[-1].usage.energy.wh > 0'
expect_pieces 'after what came by then' 'length > 5 and length < 100'
ok 'as streams end' grep -F '[DONE]' "$OUT"
ask /v1/chat/completions "$(chat 'tokens=1000 delay=20')"
expect_answer 'so is a whole answer' '.object == "chat.completion" and .choices[0].finish_reason == "length" and (.choices[0].message.content | test("^word0 word1 "))'
none_runs() { [ "$(stub_count running)" = 0 ]; }
ok 'the model server stops, too' until_ok 5 none_runs
# Nothing has come by then: a long prompt.
ask /v1/chat/completions "$(chat 'tokens=2 prompt=2500' '"stream":true')"
expect_status 'a stream that is stopped before its first word is one' 200
expect_pieces 'with an end and the energy' 'length == 1 and .[0].choices[0].finish_reason == "length" and .[0].usage.energy.wh > 0'
ok 'as streams end, too' grep -F '[DONE]' "$OUT"
ask /v1/completions '{"prompt":"tokens=2 prompt=2500"}'
expect_answer 'an answer that is stopped before its first word is empty' '.object == "text_completion" and .choices[0].finish_reason == "length" and .choices[0].text == ""'
status_of_last() { [ "$(sqlite3 ledger.db 'SELECT http_status FROM request ORDER BY begin_wall_ms DESC LIMIT 1')" = "$1" ]; }
if command -v sqlite3 >/dev/null; then ok 'the ledger has its status' until_ok 5 status_of_last 200; fi
ask /v1/embeddings '{"input":"silent"}'
expect_status 'what cannot be shortened is refused' 504
expect_answer 'in words' '.error.code == "limit_reached"'
ask /v1/chat/completions "$(chat 'tokens=4')"
expect_answer 'what is short enough is whole' '.choices[0].finish_reason == "stop" and .choices[0].message.content == "word0 word1 word2 word3"'
stop_gateway
start_gateway --upstream "$STUB" --max-joules 3
ask /v1/chat/completions "$(chat 'tokens=1000 delay=20' '"stream":true')"
expect_pieces 'a stream is stopped at its joules' '.[-1].choices[0].finish_reason == "length"'
ok 'not far behind them' sh -c "sed -n 's/^data: //p' '$OUT' | grep energy | jq -e '.usage.energy.wh * 3600 | . > 2 and . < 20'"
stop_gateway

# ---- keys ----
expect_code 2 'a wide address needs keys' "$WATTLAW" serve --port 0 --host 0.0.0.0 --upstream "$STUB" --ledger x.db
kitchen=$("$WATTLAW" serve --keys keys.json --new-key kitchen -q)
admin=$("$WATTLAW" serve --keys keys.json --new-key boss -q)
ok 'the file is private' test "$(stat -c %a keys.json)" = 600
ok 'it has no secret' sh -c "! grep -F '$kitchen' keys.json"
expect_code 1 'a name is there once' "$WATTLAW" serve --keys keys.json --new-key boss
jq '(.keys[] | select(.name == "kitchen")) += {"tokens_per_day": 100, "requests_per_min": 50, "wh_per_day": 1000, "output_tokens": 9}
    | (.keys[] | select(.name == "boss")) += {"admin": true}' keys.json >k2 && mv k2 keys.json
rm -f ledger.db*
start_gateway --upstream "$STUB" --keys keys.json --host 127.0.0.1
ask /v1/chat/completions "$(chat 'tokens=2')"
expect_status 'without a key' 401
expect_answer 'in the form of OpenAI' '.error.code == "invalid_api_key"'
ask /v1/chat/completions "$(chat 'tokens=2')" -H "Authorization: Bearer wl-wrong"
expect_status 'with a wrong one' 401
ask /v1/chat/completions "$(chat 'tokens=30 a b c')" -H "Authorization: Bearer $kitchen"
expect_answer 'limits of a key' '.usage.completion_tokens == 9'
expect_header 'what is left is told' '^X-RateLimit-Remaining-Tokens: 87'
expect_header 'by kind' '^X-RateLimit-Remaining-Requests: 49'
fetch /metrics -H "Authorization: Bearer $kitchen"
expect_status 'figures of all are for administrators' 403
fetch /metrics -H "Authorization: Bearer $admin"
expect_grep 'who see the budgets' 'wattlaw_budget_used_ratio{key="kitchen",kind="tokens"} 0.13'
fetch /v1/energy -H "Authorization: Bearer $kitchen"
expect_answer 'others see their own use' '(.by_key | length) == 1 and .by_key[0].key == "kitchen"'

# Many at once cannot spend more than there is.
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
    curl -s -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $kitchen" \
        -d "$(chat 'tokens=9 delay=2')" "$GATEWAY/v1/chat/completions" >>codes &
    pids="${pids:-} $!"
done
# shellcheck disable=SC2086
wait $pids
ok 'some were answered' grep -x 200 codes
ok 'some were refused' grep -x 429 codes
used=$(curl -s -H "Authorization: Bearer $admin" "$GATEWAY/v1/energy" |
    jq '[.by_key[] | select(.key == "kitchen")][0] | .prompt_tokens + .completion_tokens')
ok "the budget holds ($used of 100 tokens)" test "$used" -le 100
ask /v1/chat/completions "$(chat 'a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g')" -H "Authorization: Bearer $kitchen"
expect_status 'what is used up is used up' 429
expect_header 'until midnight' '^Retry-After: [0-9]+'
stop_gateway
start_gateway --upstream "$STUB" --keys keys.json
ask /v1/chat/completions "$(chat 'a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g')" -H "Authorization: Bearer $kitchen"
expect_status 'a restart forgets nothing' 429

# ---- SIGHUP ----
jq '(.keys[] | select(.name == "kitchen")).tokens_per_day = 100000' keys.json >k2 && mv k2 keys.json
kill -HUP "$GATEWAY_PID"
is_more() { [ "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $kitchen" -d "$(chat 'tokens=1')" "$GATEWAY/v1/chat/completions")" = 200 ]; }
ok 'SIGHUP takes new limits' until_ok 5 is_more
echo '{"keys": 3}' >keys.json
kill -HUP "$GATEWAY_PID"
says_old() { grep 'the old keys stay' gateway.log; }
ok 'a file that is wrong is told, the old keys stay' until_ok 5 says_old
ok 'and hold' is_more
stop_gateway

# ---- the queue ----
start_gateway --upstream "$STUB" --concurrency 1 --queue 1 --queue-time 1s
slow() { curl -s -o /dev/null -w '%{http_code}\n' -D "head.$1" -d "$(chat 'tokens=3 prompt=1500')" "$GATEWAY/v1/chat/completions" >>queue_codes; }
slow 1 &
p1=$!
sleep 0.2
slow 2 &
p2=$!
sleep 0.2
slow 3
ok 'a full queue refuses at once' grep -x 503 queue_codes
ok 'and tells when to come again' grep -iE '^Retry-After: [0-9]+' head.3
wait $p1 $p2
ok 'who waits too long is refused' test "$(grep -cx 503 queue_codes)" = 2
ok 'the others are served' test "$(grep -cx 200 queue_codes)" = 1
stop_gateway

# ---- a model server that is away ----
start_gateway --upstream "$STUB"
kill -9 "$STUB_PID"
wait "$STUB_PID" 2>/dev/null
STUB_PID=''
ask /v1/chat/completions "$(chat 'tokens=1')"
expect_status 'without a model server' 503
expect_answer 'the reason is told' '.error.code == "model_server_unavailable"'
fetch /health
expect_status 'the health says so' 503
