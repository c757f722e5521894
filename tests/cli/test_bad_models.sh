#!/usr/bin/env bash
# A GGUF that cannot be used gives one clear sentence and exit code 1, never a crash of wattlaw.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
find_model
size=$(stat -c %s "$model")

refused() { # refused WHAT FILE
    expect_code 1 "$1" "$WATTLAW" run -m "$2" -p hello -n 1
    ok "$1: one line of error" sh -c "grep -c '^wattlaw: ' '$ERR' | grep -qx 1"
}

: >empty.gguf
refused 'an empty file' ./empty.gguf
printf 'GGU' >short.gguf
refused 'three bytes' ./short.gguf
printf 'GGUF' >magic.gguf
refused 'the magic alone' ./magic.gguf
head -c 5000 /dev/urandom >noise.gguf
refused 'noise' ./noise.gguf
for part in 1 3 5 7 9; do
    head -c $((size * part / 10)) "$model" >cut.gguf
    refused "cut to $part/10" ./cut.gguf
done
expect_err_grep 'says that it is cut' 'bytes'
if [ -f "${WATTLAW_TEST_MODELS:-}/proto-vlm-mmproj-f16.gguf" ]; then
    refused 'an image encoder' "${WATTLAW_TEST_MODELS:-}/proto-vlm-mmproj-f16.gguf"
fi
refused 'a folder' .
expect_code 1 'no such file' "$WATTLAW" run -m ./absent.gguf -p x
cp "$model" unreadable.gguf
chmod 000 unreadable.gguf
[ "$(id -u)" = 0 ] || refused 'not readable' ./unreadable.gguf
