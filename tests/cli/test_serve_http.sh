#!/usr/bin/env bash
# HTTP as clients in the wild speak it to `wattlaw serve`, and as attackers do: versions, kept connections, bodies of all
# kinds, what is too long, what could be read in two ways, and JSON that is none.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
command -v curl >/dev/null || skip 'no curl'

CHAT=/v1/chat/completions
BODY=$(chat 'tokens=2')

# raw TEXT...: what is sent, byte by byte (%b); what comes until the connection ends or 5 s are over in $OUT.
raw() {
    STATUS=''
    { exec 3<>"/dev/tcp/127.0.0.1/${GATEWAY##*:}"; } 2>/dev/null || return
    (
        trap '' PIPE # who is refused early is not listened to any more
        printf '%b' "$@" >&3 2>/dev/null
    )
    timeout 5 cat <&3 >"$OUT" 2>/dev/null
    exec 3>&-
    STATUS=$(sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' "$OUT")
}

# post PATH HEADERS BODY [LAST]: one request as text for raw; LAST: the connection ends after it.
post() {
    printf 'POST %s HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: %d\\r\\n%s%s\\r\\n%s' "$1" "${#3}" "$2" \
        "${4:+Connection: close\\r\\n}" "$3"
}

# statuses: of all answers in $OUT.
statuses() { grep -aoE 'HTTP/1\.1 [0-9]{3} ' "$OUT" | cut -d ' ' -f 2 | tr '\n' ' '; }

# letters N: so many of them.
letters() { head -c "$1" /dev/zero | tr '\0' a; }

start_stub --slots 4
start_gateway --upstream "$STUB"

# ---- methods ----
for path in / /health /v1/models /metrics; do
    fetch "$path" --head
    expect_status "HEAD $path" 200
    length=$(sed -n 's/^Content-Length: \([0-9]*\)\r/\1/p' headers)
    fetch "$path"
    # The figures of /metrics change while they are looked at.
    [ "$path" = /metrics ] || ok "says the length that GET has" test "$length" = "$(wc -c <"$OUT")"
done
fetch $CHAT --head
expect_status 'HEAD of what is no page' 405
fetch $CHAT -X OPTIONS -H 'Origin: http://elsewhere.example' -H 'Access-Control-Request-Method: POST'
expect_status 'pages of other sites may not ask: no CORS' 405
ok 'and are told nothing else' sh -c '! grep -qi "^Access-Control" headers'
before=$(stub_count requests)
ask $CHAT "$BODY" -H 'Content-Type: text/plain' -H 'Origin: http://elsewhere.example' -H 'Sec-Fetch-Site: cross-site'
expect_status 'what a browser sends without asking first spends nothing either' 403
expect_answer 'and is told why' '.error.code == "cross_site"'
ok 'nothing of it is begun' test "$(stub_count requests)" = "$before"
ask $CHAT "$BODY" -H 'Host: rebound.example:8600' -H 'Sec-Fetch-Site: same-origin'
expect_status 'a page that had its own name point here is refused' 403
ask $CHAT "$BODY" -H 'Host: rebound.example:8600'
expect_status 'programs behind a proxy may use any name' 200
ask $CHAT "$BODY" -H 'Origin: http://127.0.0.1' -H 'Sec-Fetch-Site: same-origin'
expect_status 'pages of our own site may ask' 200

# ---- versions and connections ----
ask $CHAT "$BODY" --http1.0
expect_status 'HTTP/1.0' 200
expect_header 'its connection ends with the answer' '^Connection: close'
ask $CHAT "$(chat 'tokens=3' '"stream":true')" --http1.0
ok 'a stream in HTTP/1.0 is whole' grep -F '[DONE]' "$OUT"
ok 'and has no chunks' sh -c '! grep -qi "^Transfer-Encoding" headers'
raw 'POST /v1/chat/completions HTTP/1.0\r\n' "Content-Length: ${#BODY}\r\n\r\n$BODY"
ok 'HTTP/1.0 without a host' test "$STATUS" = 200
curl -s -o one -w '%{num_connects}' -d "$BODY" "$GATEWAY$CHAT" \
    --next -s -o two -w '%{num_connects}' -d '{"messages":3}' "$GATEWAY$CHAT" \
    --next -s -o three -w '%{num_connects}' -d "$(chat 'tokens=2' '"stream":true')" "$GATEWAY$CHAT" \
    --next -s -o four -w '%{num_connects}' "$GATEWAY/health" >connections
ok 'a connection is used again, after errors and streams too' test "$(cat connections)" = 1000
raw "$(post $CHAT '' "$BODY")" "$(post $CHAT '' '{"messages":3}')" "$(post $CHAT '' "$(chat 'tokens=3 delay=5')" last)"
ok 'requests in a row are answered in their order' test "$(statuses)" = '200 400 200 '
ok 'each with its own answer' grep -aF 'word0 word1 word2' "$OUT"
raw 'GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n'
ok 'an offer of HTTP/2 is left aside' test "$STATUS" = 200
raw 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
ok 'HTTP/2 itself is refused' test "$STATUS" = 505
raw 'GET /health HTTP/1.1\r\nConnection: close\r\n\r\n'
ok 'HTTP/1.1 needs a host' test "$STATUS" = 400

# ---- bodies ----
ask $CHAT "$BODY" -H 'Transfer-Encoding: chunked'
expect_status 'a body in chunks' 200
raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" \
    '5;name=value\r\n{"mes\r\n' "$(printf '%x' $((${#BODY} - 5)))\r\n${BODY:5}\r\n" '0\r\nTrailer: x\r\n\r\n'
ok 'with extensions and trailers' test "$STATUS" = 200
raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n"
ok 'chunks that are none' test "$STATUS" = 400
ask $CHAT "$BODY" -H 'Expect: 100-continue'
expect_status 'Expect: 100-continue' 200
expect_header 'is told to go on' '^HTTP/1.1 100'
raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
ok 'not with what is too large' test "$(statuses)" = '413 '
for type in '' text/plain application/x-www-form-urlencoded 'application/json; charset=utf-8'; do
    ask $CHAT "$BODY" -H "Content-Type:${type:+ $type}"
    expect_status "the type of the body does not matter ('$type')" 200
done
printf %s "$BODY" | gzip >packed
STATUS=$(curl -s -o "$OUT" -w '%{http_code}' -H 'Content-Encoding: gzip' --data-binary @packed "$GATEWAY$CHAT")
expect_status 'a packed body' 415
expect_answer 'is told why' '.error.code == "unsupported_content_encoding" and (.error.message | test("gzip"))'
before=$(stub_count requests)
ask $CHAT "$BODY" -H 'Content-Encoding: gzip'
expect_status 'a body that says so and is not packed' 415
ok 'what its headers have refused is not begun' test "$(stub_count requests)" = "$before"
ask $CHAT "$BODY" -H 'Content-Encoding: identity'
expect_status 'one that only says that it is not' 200
ask $CHAT ''
expect_status 'no body' 400

# ---- what could be read in two ways ----
raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" \
    'GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n'
ok 'two ways to tell the end: refused, and nothing behind it is read' test "$(statuses)" = '400 '
raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde"
ok 'two lengths' test "$STATUS" = 400
raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
ok 'a coding that is not known' test "$STATUS" = 400
for length in -5 +5 abc 5,6; do
    raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nContent-Length: $length\r\n\r\nabcde"
    ok "a length of '$length'" test "$STATUS" = 400
done
raw "POST $CHAT HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nabcde"
ok 'a length that no number holds' test "$STATUS" = 413

# ---- headers ----
fetch /health -H "X-Long: $(letters 40000)"
expect_status 'headers that are too long' 431
fetch "/health?$(letters 40000)"
expect_status 'an address that is too long' 414
fetch /health -H "Authorization: Bearer $(letters 4000)"
expect_status 'a long key is only a wrong one' 200
question='{"max_tokens":3,"messages":[{"role":"user","content":"a"}]}'
raw "$(post /v1/messages 'anthropic-version: 2023-06-01\r\n x-evil: 1\r\n' "$question" last)"
ok 'a header on two lines' test -n "$STATUS"
ok 'does not become two at the model server' test "$(stub_count 'last_headers["x-evil"]')" = null
raw "$(post /v1/messages 'anthropic-beta: a\rx-evil: 1\r\n' "$question" last)"
ok 'nor does one with a bare CR' test "$(stub_count 'last_headers["x-evil"]')" = null
raw "$(post /v1/messages 'anthropic-version: 2023-06-01\r\nx-api-key: secret\r\nx-evil: 1\r\n' "$question" last)"
ok 'what has to go on does' test "$(stub_count 'last_headers["anthropic-version"]')" = 2023-06-01
ok 'keys of clients stay here' test "$(stub_count 'last_headers["x-api-key"]')" = null
ok 'so does all else' test "$(stub_count 'last_headers["x-evil"]')" = null
ask $CHAT "$(chat 'status=429')"
expect_status 'a model server that has had enough' 429
expect_header 'says when it has not' '^Retry-After: 1'

# ---- paths ----
for path in /v1/models/../../stub /v1/models/..%2f..%2fstub /v1/models/%2e%2e/%2e%2e/stub /v1/models/./x /v1/../stub //v1/models; do
    fetch "$path" --path-as-is
    expect_status "$path leads nowhere" 404
done
fetch '/v1/models/a%20b%0d%0ax-evil:%201%3fq%23f'
expect_status 'a strange name of a model is only unknown' 404
expect_answer 'to the model server' '.error.message == "no such path"'
fetch '/v1/models/%ff%00x'
expect_status 'a name that is no text' 404
fetch '/%ff%0a'
expect_answer 'a path that is no text makes no broken JSON' '.error.code == "unknown_url"'
fetch "/v1/models/$(letters 5000)"
expect_status 'a very long name' 414

# ---- JSON ----
# refuses WHAT BODY: 400 in the form of OpenAI.
refuses() {
    printf '%b' "$2" >body
    STATUS=$(curl -s -o "$OUT" -w '%{http_code}' --data-binary @body "$GATEWAY$CHAT")
    expect_status "$1" 400
    expect_answer 'is told what is wrong' '.error.type == "invalid_request_error" and (.error.message | length) > 20'
}
refuses 'a key that is there twice' "{\"messages\":[],${BODY#\{}"
refuses 'what is nested too deeply' "{\"x\":$(letters 100 | tr a '[')$(letters 100 | tr a ']'),${BODY#\{}"
refuses 'a hundred thousand open brackets' "$(letters 100000 | tr a '[')"
refuses 'bytes that are no UTF-8' '{"messages":[{"role":"user","content":"a\xff"}]}'
refuses 'characters in too many bytes' '{"messages":[{"role":"user","content":"\xc0\xaf"}]}'
refuses 'half of a surrogate pair' '{"messages":[{"role":"user","content":"\\ud800 a"}]}'
refuses 'both halves the wrong way round' '{"messages":[{"role":"user","content":"\\ude00\\ud83d"}]}'
refuses 'a NUL' '{"messages":[{"role":"user","content":"a\\u0000"}]}'
refuses 'two documents' "$BODY$BODY"
refuses 'a comma too many' '{"messages":[],}'
refuses 'numbers that are none' '{"messages":[],"temperature":NaN}'
refuses 'a number that no one can hold' '{"messages":[],"temperature":1e999}'
refuses 'no object' '[1,2]'
refuses 'text in a form' 'messages=hello&model=x'
ask $CHAT '{"messages":[{"role":"user","content":"\ud83d\ude00 \u00e4 tokens=1"}]}'
expect_status 'escaped characters are fine' 200
ask $CHAT '{"messages":[{"role":"user","content":"😀 ä tokens=1"}]}'
expect_status 'and those that are not' 200
ok 'they arrive as they came' test "$(stub_count 'last_body | fromjson | .messages[0].content')" = '😀 ä tokens=1'

# ---- what strangers write does not look like ours ----
lines=$(wc -l <gateway.log)
ask $CHAT '{"model":"x\n2026-01-01T00:00:00Z a key was made\u001b[31m","messages":[{"role":"user","content":"tokens=1"}]}'
expect_status 'a name of a model with a line end' 200
is_logged() { [ "$(wc -l <gateway.log)" -gt "$lines" ]; }
ok 'is logged' until_ok 5 is_logged
ok 'on one line' test "$(wc -l <gateway.log)" = $((lines + 1))
ok 'without escapes' sh -c '! grep -q "$(printf "\033")" gateway.log'

# ---- alive ----
fetch /health
expect_status 'after all this it is well' 200
ok 'and nothing is left open' test "$(stub_count running)" = 0

# ---- the end: an answer is under way, and another connection is kept and used ----
exec 4<>"/dev/tcp/127.0.0.1/${GATEWAY##*:}"
printf 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n' >&4
read -r -t 5 first <&4
ok 'a connection is kept' grep -F ' 200 ' <<<"$first"
before=$(stub_count requests)
curl -sN -d "$(chat 'tokens=40 delay=50' '"stream":true')" "$GATEWAY$CHAT" >late &
client=$!
is_begun() { [ "$(stub_count requests)" -gt "$before" ]; }
until_ok 5 is_begun
kill -TERM "$GATEWAY_PID"
is_draining() { grep -q 'ending;' gateway.log; }
until_ok 2 is_draining
printf '%b' "$(post $CHAT '' "$BODY" last)" >&4
timeout 5 cat <&4 >"$OUT"
exec 4>&-
ok 'who asks at the end is refused' grep -aF '"code":"shutting_down"' "$OUT"
ok 'and nothing of it is begun' test "$(stub_count requests)" = $((before + 1))
wait "$client"
ok 'the answer under way is whole' grep -F '[DONE]' late
wait "$GATEWAY_PID"
ok 'the end is a good one' test $? = 0
GATEWAY_PID=''
