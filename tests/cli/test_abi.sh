#!/usr/bin/env bash
# The shared library exports what docs/abi.txt lists, and nothing else.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
library=$WATTLAW_BUILD_DIR/lib/libwattlaw.so
[ -e "$library" ] || skip "no $library in this build"
nm -D --defined-only "$library" | awk '$2 ~ /[TDBR]/ {print $3}' | grep -v '^_\(init\|fini\)$' | sort >found.txt
grep -v '^#' "$WATTLAW_SOURCE_DIR/docs/abi.txt" | sort >listed.txt
ok 'the exported symbols are those of docs/abi.txt' diff -u listed.txt found.txt
