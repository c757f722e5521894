# shellcheck shell=bash
# Part of tools/setup --dev: OpenAI's own client for node, with which tests/cli/test_serve_client.sh asks the gateway. npm
# fetches it and checks it against the hash in tests/client/package-lock.json; nothing of it runs here.

client_is_there() {
    cmp -s "$TOP/tests/client/package-lock.json" "$DEPS/node/package-lock.json" && [ -d "$DEPS/node/node_modules/openai" ]
}

# Without the client one test skips: what goes wrong here (no network) is only said.
fetch_client() {
    local new=$DEPS/node.new
    if [ ! -f "$TOP/tests/client/package-lock.json" ] || client_is_there; then return 0; fi
    if ! have npm; then
        warn "no npm here: the test with OpenAI's client (test_serve_client) will skip"
        return 0
    fi
    take_turns
    rm -rf "$new"
    mkdir -p "$new"
    cp "$TOP"/tests/client/package*.json "$new/"
    if (cd "$new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1) >"$DEPS/npm.log" 2>&1; then
        rm -rf "$DEPS/node" "$DEPS/npm.log"
        mv "$new" "$DEPS/node"
    else
        rm -rf "$new"
        warn "npm could not fetch OpenAI's client: its test (test_serve_client) will skip; the log: .deps/npm.log"
    fi
}
