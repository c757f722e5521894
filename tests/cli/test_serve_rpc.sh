#!/usr/bin/env bash
# `wattlaw serve --rpc`: layers of the model are computed by another process, llama.cpp's RPC server.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"

# ---- what the model server is told ----
expect_code 0 'the settings can be shown' "$WATTLAW" serve --no-ledger --rpc a:1,b:2 --show-settings
ok 'all layers go to the helpers' jq -e '.server_args == ["--rpc", "a:1,b:2", "-ngl", "999"]' "$OUT"
expect_code 0 'with a number of layers' "$WATTLAW" serve --no-ledger --rpc a:1 --server-arg=-ngl --server-arg=3 --show-settings
ok 'only those go' jq -e '.server_args == ["-ngl", "3", "--rpc", "a:1"]' "$OUT"
expect_code 2 'not before a server that runs' "$WATTLAW" serve --upstream http://127.0.0.1:1 --rpc a:1 --show-settings

# ---- two processes ----
rpc_server=$WATTLAW_SOURCE_DIR/.deps/bin/ggml-rpc-server
has_all() { command -v curl && [ -x "$rpc_server" ] && [ -x "$WATTLAW_BUILD_DIR/bin/llama-server" ]; }
if ! has_all >/dev/null; then
    printf '# no curl, llama-server or ggml-rpc-server (tools/setup --rpc): no layer was sent anywhere\n'
    exit 0
fi
need_engine

RPC_PID=''
# shellcheck disable=SC2317  # called by the trap of serve_lib.sh
stop_all() {
    [ -z "$GATEWAY_PID" ] || kill -9 "$GATEWAY_PID" 2>/dev/null
    [ -z "$RPC_PID" ] || kill -9 "$RPC_PID" 2>/dev/null
    wait 2>/dev/null
}
is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$port"); }
start_helper() {
    for _ in 1 2 3 4 5; do
        port=${1:-$((20000 + RANDOM % 12000))}
        "$rpc_server" --threads 1 --port "$port" >helper.log 2>&1 &
        RPC_PID=$!
        sleep 0.3
        if kill -0 $RPC_PID 2>/dev/null && until_ok 5 is_open; then return; fi
    done
    fail 'the RPC server starts' "$(cat helper.log)"
    exit 1
}
cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
question='{"messages":[{"role":"user","content":"reverse: 1 2 3 4 5"}],"max_tokens":32,"temperature":0,"cache_prompt":false}'

start_gateway --mmproj none --threads 1
ask /v1/chat/completions "$question"
alone=$(jq -c '[.choices[0].message.content, .usage.prompt_tokens, .usage.completion_tokens]' "$OUT")
stop_gateway

start_helper
for layers in 999 3; do
    start_gateway --mmproj none --threads 1 --rpc "127.0.0.1:$port" --server-arg=-ngl --server-arg="$layers"
    ask /v1/chat/completions "$question"
    expect_status "with --rpc and $layers layers" 200
    split=$(jq -c '[.choices[0].message.content, .usage.prompt_tokens, .usage.completion_tokens]' "$OUT")
    ok 'the answer is the same' test "$split" = "$alone"
    expect_answer 'with its energy' '.usage.energy | .wh >= 0 and (.source | length) > 0'
    before=$(cpu_ticks $RPC_PID)
    for _ in 1 2 3; do ask /v1/chat/completions "$question"; done
    used=$(($(cpu_ticks $RPC_PID) - before))
    ok "and the helper has worked (${used}0 ms)" test "$used" -gt 0
    [ "$layers" = 3 ] || stop_gateway
done

# ---- a helper that dies takes the model server with it: requests are told, and it comes back ----
long='{"messages":[{"role":"user","content":"reverse: 1 2 3"}],"max_tokens":2000,"temperature":0,"ignore_eos":true,"stream":true}'
curl -sN -o broken -d "$long" "$GATEWAY/v1/chat/completions" &
client=$!
has_begun() { [ "$(grep -c '^data:' broken)" -gt 2 ]; }
until_ok 10 has_begun
kill -9 $RPC_PID
wait $RPC_PID 2>/dev/null
wait $client
ok 'a stream is told that its helper died' grep -E '^data: {"error":.*model_server_died' broken
start_helper "$port"
is_well() {
    ask /v1/chat/completions "$question"
    [ "$STATUS" = 200 ]
}
ok 'when the helper is back, so are the answers' until_ok 30 is_well
stop_gateway
