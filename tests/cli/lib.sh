# shellcheck shell=bash
# Helpers for the shell tests, in the manner of git's test-lib. A test begins with
#
#     . "$(dirname "$0")/lib.sh"
#
# and is then in an empty folder of its own, with a home folder of its own and none of the
# caller's model folders. One line per check, 'ok - what' or 'not ok - what'; the exit code is 1
# when any failed, 77 when the test was skipped. The folder is removed at the end, or kept and
# named when KEEP=1.
#
#     expect_code 0 'lists the shapes' "$WATTLAW" synth --list
#     expect_grep 'says the size' '145 MiB'           # in the output of the command before
#     expect_no_grep 'no colour' $'\033'
#     expect_err_grep 'gives a hint' 'did you mean'   # in its standard error
#     ok 'the file is there' test -s model.gguf
#     skip 'no engine in this build'

set -uo pipefail

TEST_DIR=$(mktemp -d "${TMPDIR:-/tmp}/wattlaw-test.XXXXXX")
# The output of the latest expect_code.
OUT=$TEST_DIR/.out
ERR=$TEST_DIR/.err
test_failures=0
test_checks=0
test_is_skipped=0

test_finish() {
    local code=$?
    if [ "${KEEP:-0}" = 1 ]; then
        printf '# kept: %s\n' "$TEST_DIR"
    else
        chmod -R u+rwX "$TEST_DIR" 2>/dev/null
        rm -rf "$TEST_DIR"
    fi
    if [ "$test_is_skipped" = 1 ]; then
        exit 77
    fi
    printf '1..%d\n' "$test_checks"
    if [ "$test_failures" -gt 0 ]; then
        printf '# %d of %d failed\n' "$test_failures" "$test_checks"
        exit 1
    fi
    exit "$code"
}
trap test_finish EXIT
trap 'exit 130' INT TERM

pass() {
    test_checks=$((test_checks + 1))
    printf 'ok - %s\n' "$1"
}

# fail WHAT [DETAILS]
fail() {
    test_checks=$((test_checks + 1))
    test_failures=$((test_failures + 1))
    printf 'not ok - %s\n' "$1"
    [ "$#" -lt 2 ] || printf '%s\n' "$2" | head -40 | sed 's/^/    /'
}

# skip REASON: the whole test cannot run here.
skip() {
    printf '# skipped: %s\n' "$1"
    test_is_skipped=1
    exit 77
}

# ok WHAT COMMAND...: the command succeeds.
ok() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then pass "$what"; else fail "$what" "failed: $*
$said"; fi
}

# interrupt_after SECONDS COMMAND...: SIGINT to the command alone. Without --foreground timeout also
# sends SIGCONT to the whole group, which now and then lets LeakSanitizer, when it looks at a process
# that ends, wait for ever.
interrupt_after() {
    local seconds=$1
    shift
    timeout --foreground --preserve-status -s INT "$seconds" "$@"
}

# expect_code CODE WHAT COMMAND...: the command ends with CODE; its output is in $OUT and $ERR. A
# crash is never what is expected.
expect_code() {
    local expected=$1 what=$2 code
    shift 2
    "$@" >"$OUT" 2>"$ERR" </dev/null
    code=$?
    if [ "$code" -eq "$expected" ]; then
        pass "$what"
    else
        fail "$what" "expected exit code $expected, found $code: $*
--- standard output
$(head -15 "$OUT")
--- standard error
$(head -15 "$ERR")"
    fi
}

test_grep() {
    local what=$1 pattern=$2 file=$3
    if grep -q -e "$pattern" -- "$file"; then
        pass "$what"
    else
        fail "$what" "no '$pattern' in:
$(cat "$file")"
    fi
}

# expect_grep WHAT PATTERN [FILE]
expect_grep() { test_grep "$1" "$2" "${3:-$OUT}"; }
expect_err_grep() { test_grep "$1" "$2" "$ERR"; }

# expect_no_grep WHAT PATTERN [FILE]
expect_no_grep() {
    local file=${3:-$OUT}
    if grep -q -e "$2" -- "$file"; then
        fail "$1" "found '$2' in:
$(cat "$file")"
    else
        pass "$1"
    fi
}

# expect_json WHAT EXPRESSION [FILE]: a Python expression over `d`, the JSON document. Without
# Python only this check is left out.
expect_json() {
    local what=$1 expression=$2 file=${3:-$OUT} said
    if ! command -v python3 >/dev/null; then
        printf '# not checked without python3: %s\n' "$what"
    elif said=$(python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else "false: " + sys.argv[2])' "$file" "$expression" 2>&1); then
        pass "$what"
    else
        fail "$what" "$said
$(head -c 2000 "$file")"
    fi
}

# need_engine: skips the test when wattlaw-engine cannot run here.
need_engine() {
    [ -x "${WATTLAW_ENGINE:-}" ] || skip 'wattlaw-engine is not built (WATTLAW_ENGINE)'
}

[ -n "${WATTLAW:-}" ] || skip 'WATTLAW does not name the program to test'
[ -x "$WATTLAW" ] || skip "'$WATTLAW' is not there"

# Nothing of the real home may be read or written.
mkdir -p "$TEST_DIR/home"
export HOME=$TEST_DIR/home
unset XDG_DATA_HOME XDG_CACHE_HOME XDG_CONFIG_HOME WATTLAW_MODELS_PATH WATTLAW_STORE LLAMA_CACHE \
    HF_HUB_CACHE HF_HOME OLLAMA_MODELS NO_COLOR
export LC_ALL=C.UTF-8
cd "$TEST_DIR" || exit 1

# find_model: sets $model to the real test model, or, without one, to a tiny one with random weights
# ($model_is_real tells which), so that the main job is tested on every machine.
find_model() {
    model=${WATTLAW_TEST_MODELS:-}/stories260k-f32.gguf
    # shellcheck disable=SC2034
    model_is_real=1
    if [ ! -f "$model" ]; then
        need_engine
        model=$TEST_DIR/tiny.gguf
        # shellcheck disable=SC2034
        model_is_real=0
        "$WATTLAW" synth -q --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 128 --vocab 320 \
            --ctx 512 --type f32 -o "$model" >/dev/null || skip 'no model, and synth cannot make one'
        printf '# no real model in WATTLAW_TEST_MODELS: using random weights\n'
    fi
}
