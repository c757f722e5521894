#!/usr/bin/env bash
# OpenAI's own client for node (tests/client) against `wattlaw serve`: before a fake model server, with keys and a
# queue, and before the built-in pair.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
command -v curl >/dev/null || skip 'no curl'
command -v node >/dev/null || skip 'no node (tools/setup --dev installs it)'
scripts=$WATTLAW_SOURCE_DIR/tests/client
export WATTLAW_NODE_FOLDER=${WATTLAW_NODE_FOLDER:-$WATTLAW_SOURCE_DIR/.deps/node}
[ -d "$WATTLAW_NODE_FOLDER/node_modules/openai" ] || skip 'the client is not installed (tools/setup --dev fetches it)'
# Only a proxy of the machine could come between the client and the loopback.
export no_proxy='*' NO_PROXY='*'

# run_client SCRIPT ARGUMENT...: each of its checks counts.
run_client() {
    local script=$1 code
    shift
    timeout 120 node "$scripts/$script" "$@" >client.out 2>client.err
    code=$?
    while IFS= read -r line; do
        case $line in
            'ok - '*) pass "${line#ok - }" ;;
            'not ok - '*) fail "${line#not ok - }" ;;
            *) printf '%s\n' "$line" ;; # what was found instead
        esac
    done <client.out
    if [ "$code" -ne 0 ] && ! grep '^not ok' client.out >/dev/null; then
        fail "$script ends well" "exit code $code: $(tail -n 20 client.err)"
    fi
}

start_stub --slots 4
start_gateway --upstream "$STUB"
run_client against_stub.mjs "$GATEWAY" "$STUB"
stop_gateway

# ---- keys ----
kitchen=$("$WATTLAW" serve --keys keys.json --new-key kitchen -q)
tired=$("$WATTLAW" serve --keys keys.json --new-key tired -q)
jq '(.keys[] | select(.name == "kitchen")) += {"requests_per_min": 3, "models": ["stub"]}
    | (.keys[] | select(.name == "tired")) += {"tokens_per_day": 1}' keys.json >k2 && mv k2 keys.json
start_gateway --upstream "$STUB" --keys keys.json
# Budgets come again with the minute and the day: not at the end of one.
until_ok 20 sh -c 'test "$(date +%-S)" -lt 50'
run_client against_keys.mjs keys "$GATEWAY" "$kitchen"
if [ "$(date +%H%M)" -lt 2358 ]; then
    run_client against_keys.mjs exhausted "$GATEWAY" "$tired"
fi
stop_gateway
start_gateway --upstream "$STUB" --concurrency 1 --queue 0
run_client against_keys.mjs busy "$GATEWAY"
stop_gateway

# ---- the built-in pair ----
if [ -x "${WATTLAW_ENGINE:-}" ] && { [ -x "$WATTLAW_BUILD_DIR/bin/llama-server" ] || command -v llama-server >/dev/null; }; then
    start_gateway --image-tokens-low 40
    run_client against_builtin.mjs "$GATEWAY" "$WATTLAW_SOURCE_DIR/models/tasks/panels/panel-01.webp"
    stop_gateway
else
    printf '# not asked without an engine and llama-server: the built-in pair\n'
fi
