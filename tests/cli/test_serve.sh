#!/usr/bin/env bash
# What `wattlaw serve` does with requests: a fake model server stands behind it.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
command -v curl >/dev/null || skip 'no curl'

start_stub --slots 4
start_gateway --upstream "$STUB"

# ---- whole answers ----
ask /v1/chat/completions "$(chat 'tokens=5 one two' '"x_unknown":{"a":1}')"
expect_status 'a chat is answered' 200
expect_answer 'with the words of the model server' '.choices[0].message.content == "word0 word1 word2 word3 word4"'
expect_answer 'and its usage' '.usage.prompt_tokens == 3 and .usage.completion_tokens == 5'
expect_answer 'and the energy' '.usage.energy | .wh >= 0 and has("wh_ci95") and (.source | length) > 0 and (.label | length) > 0'
expect_header 'the energy is a header, too' '^X-Wattlaw-Energy-Wh: [0-9u]'
expect_header 'so are the times' '^Server-Timing: .*queue;dur=.*model;dur='
expect_header 'and the id' '^X-Request-Id: wl-'
ok 'unknown fields go on' test "$(stub_count 'last_body | fromjson | .x_unknown.a')" = 1
ask /v1/completions '{"prompt":"tokens=3 a b"}'
expect_answer 'completions' '.choices[0].text == "word0 word1 word2" and .usage.energy.wh > 0'
ask /v1/embeddings '{"input":"a b c"}'
expect_answer 'embeddings' '.data[0].embedding == [0.25, -0.5, 0.125] and .usage.energy.wh >= 0'
ask /v1/messages '{"max_tokens":9,"messages":[{"role":"user","content":"a b"}]}'
expect_answer 'the form of Anthropic is passed on' '.content[0].text == "hello"'
fetch /v1/models
expect_answer 'the models are those of the server' '.data[0].id == "stub"'

# ---- streams ----
ask /v1/chat/completions "$(chat 'tokens=6 delay=2' '"stream":true')"
expect_status 'a stream' 200
expect_pieces 'has all words' '[.[].choices[0].delta.content // empty] | join("") == "word0 word1 word2 word3 word4 word5"'
expect_pieces 'no piece without choices, which was not asked for' 'all(.[]; .choices | length == 1)'
expect_pieces 'the energy is in the last piece' '.[-1].choices[0].finish_reason == "stop" and .[-1].usage.energy.wh > 0 and .[-1].usage.completion_tokens == 6'
ok 'and it ends as streams do' test "$(tail -n 2 "$OUT" | head -n 1)" = 'data: [DONE]'
ask /v1/chat/completions "$(chat 'tokens=2' '"stream":true,"stream_options":{"include_usage":true}')"
expect_pieces 'who asks for usage gets the piece, with the energy' '.[-1].choices == [] and .[-1].usage.energy.wh > 0 and .[-2].choices[0].finish_reason == "stop"'

# ---- errors ----
ask /v1/chat/completions "$(chat 'status=418')"
expect_status 'errors of the model server keep their status' 418
expect_answer 'and their words' '.error.message == "as asked"'
ask /v1/chat/completions '{"messages":'
expect_status 'no JSON' 400
expect_answer 'is said in the form of OpenAI' '.error.type == "invalid_request_error" and (.error.message | length) > 10'
ask /v1/chat/completions '{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}'
expect_answer 'what is wrong has its place' '.error.param == "messages[0].content[0].image_url"'
fetch /nowhere
expect_status 'an unknown path' 404
fetch /v1/models -X DELETE
expect_status 'a wrong method' 405
ask /v1/chat/completions "$(chat 'die=3 tokens=9 delay=2' '"stream":true')"
ok 'a stream that dies ends with an error event' grep -E '^data: {"error":.*model_server_died' "$OUT"
ok 'and not as if it were whole' sh -c "! grep -F '[DONE]' '$OUT'"
expect_code 18 'a stream of another form that dies is not whole' curl -sN --max-time 30 \
    -d '{"input":"die=3 tokens=9 delay=2","stream":true}' "$GATEWAY/v1/responses"
ask /v1/chat/completions "$(chat 'die=0')"
expect_status 'a server that dies before its answer' 502
ask /v1/chat/completions "$(chat garbage)"
expect_status 'garbage goes on as it came' 200
head -c 40000000 /dev/zero | tr '\0' ' ' >large
STATUS=$(curl -s -o "$OUT" -w '%{http_code}' --data-binary @large "$GATEWAY/v1/chat/completions")
expect_status 'too large a request' 413

# ---- a client that leaves ----
before=$(stub_count left)
curl -sN --max-time 0.5 -d "$(chat 'tokens=1000 delay=20' '"stream":true')" "$GATEWAY/v1/chat/completions" >/dev/null
has_left() { [ "$(stub_count left)" -gt "$before" ]; }
ok 'its work is cancelled' until_ok 5 has_left
ok 'nothing runs any more' test "$(stub_count running)" = 0

# ---- the ledger ----
fetch /v1/energy
expect_answer 'all of it is in the ledger' '.by_model | map(.requests) | add == 14'
ask /v1/chat/completions "$(chat 'tokens=1')"
id=$(sed -n 's/^X-Request-Id: \(.*\)\r/\1/p' headers)
ask /v1/feedback "{\"id\":\"$id\",\"score\":1,\"note\":\"fine\"}"
expect_status 'feedback is taken' 200
ask /v1/feedback '{"id":"wl-none","score":1}'
expect_status 'only of requests that were' 404
ask /v1/feedback "{\"id\":\"$id\",\"score\":2}"
expect_status 'and from -1 to 1' 400

# ---- figures ----
fetch /metrics
expect_status 'figures' 200
expect_grep 'requests by their end' 'wattlaw_requests_total{endpoint="chat",model="stub",end="client left"} 1'
expect_grep 'energy by kind' 'wattlaw_energy_joules_total{kind="requests",source=".*",scope=".*"} [0-9]'
expect_grep 'energy of requests' 'wattlaw_request_energy_wh_count{model="stub"} [1-9]'
if command -v promtool >/dev/null; then
    ok 'promtool likes them' sh -c "promtool check metrics <'$OUT'"
fi
fetch /
expect_header 'a page for people that loads nothing from elsewhere' "^Content-Security-Policy: default-src 'none'"
fetch /v1/energy/live
expect_status 'what it shows' 200

# ---- the end ----
curl -sN -d "$(chat 'tokens=20 delay=50' '"stream":true')" "$GATEWAY/v1/chat/completions" >late &
client=$!
sleep 0.3
stop_gateway TERM
wait $client
ok 'SIGTERM waits for the answers under way' grep -F '[DONE]' late
ok 'and is a good end' test "$CODE" = 0
start_gateway --upstream "$STUB" --drain 1s
curl -sN -d "$(chat 'tokens=1000 delay=50' '"stream":true')" "$GATEWAY/v1/chat/completions" >late &
client=$!
curl -s -d "$(chat 'tokens=1000 delay=50')" "$GATEWAY/v1/chat/completions" >late_whole &
client2=$!
sleep 0.3
stop_gateway TERM
wait $client $client2
ok 'who does not end in time is told, in a stream' grep -E '^data: \{"error":.*shutting_down' late
ok 'and before one' jq -e '.error.code == "shutting_down"' late_whole
ok 'the end is still a good one' test "$CODE" = 0
