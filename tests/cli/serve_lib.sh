# shellcheck shell=bash
# For tests of `wattlaw serve`: a fake model server, a gateway before it, and how to ask.
#
#     start_stub [--slots N]           $STUB is its address
#     start_gateway OPTION...          $GATEWAY is its address; log in gateway.log; waits until it is up
#     ask PATH JSON [CURL OPTION...]   the answer in $OUT, headers in headers, the status in $STATUS
#     stub_count NAME                  a figure of GET /stub
#     row COLUMNS [WHERE]              of the ledger, after it was written

STUB_PID='' GATEWAY_PID=''

stop_all() {
    [ -z "$GATEWAY_PID" ] || kill -9 "$GATEWAY_PID" 2>/dev/null
    [ -z "$STUB_PID" ] || kill -9 "$STUB_PID" 2>/dev/null
    wait 2>/dev/null
}
trap 'stop_all; test_finish' EXIT

# until_ok SECONDS COMMAND...: tries until it succeeds.
until_ok() {
    local n=$(($1 * 20))
    shift
    while ! "$@" >/dev/null 2>&1; do
        n=$((n - 1))
        [ "$n" -gt 0 ] || return 1
        sleep 0.05
    done
}

start_stub() {
    rm -f stub.port
    "$WATTLAW_FAKE_MODEL_SERVER" "$@" >stub.port 2>stub.log &
    STUB_PID=$!
    until_ok 10 test -s stub.port || fail 'the fake model server starts' "$(cat stub.log)"
    STUB=http://127.0.0.1:$(cat stub.port)
}

gateway_port() { sed -n 's/.*listening on http:\/\/[^ ]*:\([0-9]*\) .*/\1/p' gateway.log; }
has_port() { [ -n "$(gateway_port)" ]; }

start_gateway() {
    : >gateway.log # not the port of the one before
    "$WATTLAW" serve --port 0 --ledger "$PWD/ledger.db" "$@" >gateway.out 2>gateway.log &
    GATEWAY_PID=$!
    until_ok 15 has_port || fail 'the gateway starts' "$(cat gateway.log)"
    GATEWAY=http://127.0.0.1:$(gateway_port)
    until_ok 30 curl -sf "$GATEWAY/health" || fail 'the model server comes up' "$(cat gateway.log)"
}

# stop_gateway [SIGNAL]: its exit code in $CODE.
stop_gateway() {
    kill "-${1:-TERM}" "$GATEWAY_PID"
    wait "$GATEWAY_PID"
    CODE=$? # of the caller's interest
    export CODE
    GATEWAY_PID=''
}

ask() {
    local path=$1 body=$2
    shift 2
    STATUS=$(curl -sN -o "$OUT" -D headers -w '%{http_code}' --max-time 30 -H 'Content-Type: application/json' \
        "$@" -d "$body" "$GATEWAY$path")
}

fetch() {
    local path=$1
    shift
    STATUS=$(curl -sN -o "$OUT" -D headers -w '%{http_code}' --max-time 30 "$@" "$GATEWAY$path")
}

# chat TEXT [MORE FIELDS]: a request of one message.
chat() { printf '{"model":"stub","messages":[{"role":"user","content":"%s"}]%s}' "$1" "${2:+,$2}"; }

stub_count() { curl -s "$STUB/stub" | jq -r ".$1"; }

# expect_status WHAT STATUS
expect_status() {
    if [ "$STATUS" = "$2" ]; then pass "$1"; else fail "$1" "status $STATUS, expected $2: $(head -c 2000 "$OUT")"; fi
}
# expect_answer WHAT FILTER: jq's filter is true of the answer.
expect_answer() {
    if jq -e "$2" "$OUT" >/dev/null 2>&1; then pass "$1"; else fail "$1" "not true: $2 of $(head -c 2000 "$OUT")"; fi
}
# expect_header WHAT PATTERN
expect_header() {
    if grep -iE "$2" headers >/dev/null; then pass "$1"; else fail "$1" "$(cat headers)"; fi
}
# The pieces of a stream in $OUT as one JSON list.
pieces() { sed -n 's/^data: //p' "$OUT" | grep -v '^\[DONE\]$' | jq -s .; }
# expect_pieces WHAT FILTER
expect_pieces() {
    if pieces | jq -e "$2" >/dev/null 2>&1; then pass "$1"; else fail "$1" "not true: $2 of $(cat "$OUT")"; fi
}
