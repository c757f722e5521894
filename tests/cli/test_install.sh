#!/usr/bin/env bash
# What `make install` puts in place works from another folder, with nothing of the build tree.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
command -v cmake >/dev/null || skip 'no cmake'
model=$WATTLAW_TEST_MODELS/stories260k-f32.gguf
prefix=$PWD/prefix
unset WATTLAW_ENGINE WATTLAW_FAKE_ENGINE

expect_code 0 'install' cmake --install "$WATTLAW_BUILD_DIR" --prefix "$prefix"
ok 'the manual is there' test -s "$prefix/share/man/man1/wattlaw-study.1"
ok 'completion is there' test -s "$prefix/share/bash-completion/completions/wattlaw"
ok 'the public header is there' test -s "$prefix/include/wattlaw/wattlaw.h"
engine=$(find "$prefix" -name wattlaw-engine -type f)
ok 'the engine is there' test -x "$engine"
ok 'the engine names nothing of the build tree as its loader or library path' \
    sh -c "! readelf -ld '$engine' | grep -E 'interpreter|RPATH|RUNPATH' | grep -F '$WATTLAW_SOURCE_DIR'"
compressor=$(find "$prefix" -name wattlaw-compressor -type f)
ok 'the compressor is there' test -x "$compressor"
ok 'it names nothing of the build tree either' \
    sh -c "! readelf -ld '$compressor' | grep -E 'interpreter|RPATH|RUNPATH' | grep -F '$WATTLAW_SOURCE_DIR'"
ok 'task files and the recipe are there' \
    sh -c "test -s '$prefix/share/wattlaw/tasks/calib-text.jsonl' && test -s '$prefix/share/wattlaw/recipe/heal.py'"
cd /
expect_code 0 'doctor' "$prefix/bin/wattlaw" doctor
expect_grep 'finds the engine' 'llama.cpp [0-9]'
if [ -f "$model" ]; then
    expect_code 0 'run' "$prefix/bin/wattlaw" run -m "$model" -p 'Once upon a time' -n 8
    ok 'uses the installed back ends' sh -c "'$engine' --self-check"
    expect_code 0 'compress' env -u WATTLAW_COMPRESSOR "$prefix/bin/wattlaw" compress "$model" -o "$TEST_DIR/small.gguf" \
        --cut 0.2 --tokens 4000 --check 0 --rivals none --floor none
fi
# The gateway with a llama-server of its own; the loader is private, so nothing of the build tree is needed.
if find "$prefix" -name llama-server.bin | grep . >/dev/null && command -v curl >/dev/null; then
    env -u WATTLAW_GATEWAY -u WATTLAW_LLAMA_SERVER PATH=/usr/bin:/bin "$prefix/bin/wattlaw" serve --port 0 --no-ledger \
        >"$TEST_DIR/serve.log" 2>&1 &
    serve=$!
    for _ in $(seq 200); do
        port=$(sed -n 's/.*listening on http:\/\/[^ ]*:\([0-9]*\) .*/\1/p' "$TEST_DIR/serve.log")
        [ -n "$port" ] && curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
        sleep 0.1
    done
    expect_code 0 'serve answers' curl -sf "http://127.0.0.1:$port/v1/completions" -d '{"prompt":"status","max_tokens":4}'
    expect_grep 'with the installed model' '"completion_tokens":4'
    kill "$serve"
    wait "$serve"
fi
pc=$(find "$prefix" -name wattlaw.pc)
ok 'pkg-config file' test -s "$pc"
if command -v cc >/dev/null && [ -n "$pc" ]; then
    cat >"$TEST_DIR/use.c" <<'C'
#include <stdio.h>
#include <wattlaw/wattlaw.h>
int main(void) { puts(wattlaw_version()); return 0; }
C
    # shellcheck disable=SC2046
    expect_code 0 'a program builds against the library' cc -o "$TEST_DIR/use" "$TEST_DIR/use.c" \
        $(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs wattlaw) \
        "-Wl,-rpath,$(dirname "$(dirname "$pc")")"
    # Not `ldd | grep -q`: grep that has seen enough ends ldd by SIGPIPE, which would count as no match.
    if [[ $(ldd "$TEST_DIR/use") == *lib[at]san* ]]; then
        echo '# a plain program cannot load a sanitized library: not run'
    else
        expect_code 0 'and runs' "$TEST_DIR/use"
        # shellcheck disable=SC2046
        expect_code 0 'the example builds' \
            cc -o "$TEST_DIR/example" "$WATTLAW_SOURCE_DIR/examples/meter_function.c" \
            $(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs wattlaw) -lm \
            "-Wl,-rpath,$(dirname "$(dirname "$pc")")"
        expect_code 0 'and meters its function' "$TEST_DIR/example"
        expect_grep 'with an interval' 'J, 95 % between .* scope '
    fi
fi
