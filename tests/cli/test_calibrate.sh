#!/usr/bin/env bash
# Calibration against figures typed from a display: run, stored, shown, used, gone stale, forgotten.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
find_model
export XDG_DATA_HOME=$PWD/data
root=$WATTLAW_SOURCE_DIR/tests/roots/pi5
stored=$XDG_DATA_HOME/wattlaw/machine.json

expect_code 2 'no reference is a usage error' "$WATTLAW" calibrate
expect_err_grep 'says the two ways' '--typed'
expect_code 2 'two references too' "$WATTLAW" calibrate --typed --reference powercap
expect_code 2 'a bad scope' "$WATTLAW" calibrate --typed --scope planet
expect_code 2 'blocks of no length' "$WATTLAW" calibrate --typed --block-s 0.1
expect_code 1 'a reference that is not there' "$WATTLAW" calibrate --reference fnirsi -m "$model" --root "$root"
expect_code 2 'a reference that is no meter' "$WATTLAW" calibrate --reference estimate -m "$model" --root "$root"
expect_code 1 'nothing to show yet' "$WATTLAW" calibrate --show
expect_err_grep 'says so' 'nothing is calibrated'

# typed FIGURES...: one thread, so four blocks, on a machine whose /proc/stat stands still.
typed() {
    printf '%s\n' "$@" | "$WATTLAW" calibrate --typed --block-s 1 -t 1 -m "$model" --root "$root" --json
}
expect_code 1 'too few figures' typed '5.10 W' '7.20 W'
expect_err_grep 'names the block that lacks one' 'prefill'
expect_code 1 'a figure that is none' typed '5.10 W' 'seven'
expect_err_grep 'shows what was expected' '6.2 W or 0.104 Wh'
expect_code 3 'a display of something else' typed '5.10 W' '5.10 W' '5.11 W' '5.10 W'
expect_err_grep 'is not believed' 'does it meter this machine'
ok 'and nothing is stored' test ! -e "$stored"

# On a machine that is busy otherwise the engine's share of a core varies: refused then, rightly.
typed '5.10 W' '7.20 W' '7.30 W' '5.12 W' >"$OUT" 2>"$ERR"
code=$?
ok 'JSON has all blocks' sh -c "jq -e '.schema_version == 1 and (.blocks | length) == 4
    and .blocks[1].reference.power_w == 7.2 and .blocks[1].core_s > 0' '$OUT'"
ok 'and a finding about the model' sh -c "jq -e '.findings[] | select(.source == \"estimate\")
    | .is_trusted or (.reason | length) > 0' '$OUT'"
if [ $code -ne 0 ]; then
    ok 'the refusal is honest' test $code -eq 3
    printf '# this machine is too busy now to calibrate a model on it: the rest is left out\n'
    exit
fi
ok 'the result is stored' test -s "$stored"
ok 'idle is what was typed' sh -c "jq -e '.calibrations[] | select(.source == \"estimate\")
    | .terms.idle_w.value > 4.8 and .terms.idle_w.value < 5.4 and .terms.idle_w.is_fitted' '$stored'"
expect_code 0 'show' "$WATTLAW" calibrate --show --root "$root"
expect_grep 'names the source' 'estimate against typed'
expect_code 0 'show as JSON' "$WATTLAW" calibrate --show --json --root "$root"
ok 'is the file' sh -c "jq -S . '$OUT' >a.json && jq -S . '$stored' >b.json && cmp a.json b.json"

expect_code 0 'run uses it' "$WATTLAW" run -m "$model" -p 'Once' -n 100 -t 1 --root "$root" --json
ok 'and says so' sh -c "jq -e '.energies[] | select(.source == \"estimate\") | .label == \"calibrated\"' '$OUT'"

jq '.machine = "machine:0000000000000000"' "$stored" >other.json
cp "$stored" mine.json
cp other.json "$stored"
expect_code 0 'show on another machine' "$WATTLAW" calibrate --show --root "$root"
expect_err_grep 'warns' 'of another machine'
expect_code 0 'run on another machine' "$WATTLAW" run -m "$model" -p 'Once' -n 4
expect_err_grep 'warns and goes on' 'of another machine'
printf '{' >"$stored"
expect_code 0 'run with a broken file' "$WATTLAW" run -m "$model" -p 'Once' -n 4
expect_err_grep 'warns too' 'machine.json'

cp mine.json "$stored"
expect_code 1 'forget what is not there' "$WATTLAW" calibrate --forget powercap
expect_code 0 'forget one' "$WATTLAW" calibrate --forget estimate
expect_code 1 'it is gone' "$WATTLAW" calibrate --show
printf '{' >"$stored"
expect_code 0 'forget all, even a broken file' "$WATTLAW" calibrate --forget
expect_code 1 'all gone' "$WATTLAW" calibrate --show
