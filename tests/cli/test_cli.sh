#!/usr/bin/env bash
# Every command: help, manual, completion, usage errors and exit codes agree.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

expect_code 2 'no command is a usage error' "$WATTLAW"
expect_err_grep 'and lists the commands' 'study'
expect_code 0 '--help' "$WATTLAW" --help
expect_code 0 '--version' "$WATTLAW" --version
expect_grep 'prints name and version' '^wattlaw [0-9]'
expect_code 2 'an unknown command' "$WATTLAW" studdy
expect_err_grep 'is corrected' "did you mean 'wattlaw study'"
expect_code 2 'an unknown option' "$WATTLAW" study --promts x
expect_err_grep 'is corrected too' "did you mean '--prompts'"
expect_code 2 'a bad --color' "$WATTLAW" roi --wh 1 --color sometimes

commands=$("$WATTLAW" --help | sed -nE 's/^  ([a-z]+) +.*/\1/p' | grep -v '^wattlaw$' | sort -u)
mkdir man
"$WATTLAW" generate man man
"$WATTLAW" generate completion .
for command in $commands; do
    expect_code 0 "$command --help" "$WATTLAW" "$command" --help
    expect_grep "$command --help has a usage line" "^usage: wattlaw $command"
    cp "$OUT" help.txt
    ok "$command has a manual page" test -s "man/wattlaw-$command.1"
    while read -r option; do
        ok "$command $option is in the manual" \
            grep -qF -- "$(printf '%s' "$option" | sed 's/-/\\-/g')" "man/wattlaw-$command.1"
        ok "$command $option is completed" grep -qF -- "$option" wattlaw.bash
    done < <(grep -oE -- '--[a-z][a-z-]+' help.txt | sort -u | grep -v -- '--help')
    ok "$command --help fits 80 columns" \
        awk 'length($0) > 80 { bad = 1; print } END { exit bad }' help.txt
done
ok 'bash can read the completion' bash -n wattlaw.bash

if command -v man >/dev/null; then
    expect_code 0 'the manual page renders without warnings' \
        sh -c 'man --warnings -l man/wattlaw-study.1 2>&1 >/dev/null | grep -v "cannot adjust" | (! grep .)'
fi

expect_code 1 'no store yet' "$WATTLAW" report --store "$PWD/none.db"
expect_err_grep 'says what makes one' 'wattlaw study'
expect_code 2 'roi refuses a negative tariff' "$WATTLAW" roi --wh 1 --seconds 10 --tariff -1
expect_code 0 'roi from figures' "$WATTLAW" roi --wh 0.25 --seconds 40 --vs-wh 0.1 --vs-seconds 15 --json
ok 'roi JSON: 0.25 Wh x 1000 a day is 91.25 kWh a year' \
    sh -c "jq -e '.models[0].per_year.kwh.value == 91.25' '$OUT'"
expect_code 2 'run without a model' "$WATTLAW" run -p hello
expect_code 2 'predict without a length' "$WATTLAW" predict
expect_code 2 'study with a bad sweep' "$WATTLAW" study --tokens 10..5
expect_err_grep 'shows what was expected' 'LOW..HIGH'
expect_code 2 'study --vs without -m' "$WATTLAW" study --vs x.gguf
expect_code 1 'a full disk is noticed' sh -c "'$WATTLAW' --help >/dev/full"

roots=$WATTLAW_SOURCE_DIR/tests/roots
expect_code 0 'doctor on a laptop with RAPL' "$WATTLAW" doctor --json --root "$roots/x86_rapl_laptop"
ok 'finds the counters' sh -c "jq -e '.sources[] | select(.name == \"powercap\") | .availability == \"available\"' '$OUT'"
ok 'and reads them' sh -c "jq -e '.sources[] | select(.name == \"powercap\") | .look.n_readings > 100 and .look.n_gaps == 0' '$OUT'"
ok 'which stand still in a captured machine' sh -c "jq -e '.sources[] | select(.name == \"powercap\") | .look.period_s == null' '$OUT'"
expect_code 0 'doctor --quick reads nothing' "$WATTLAW" doctor --quick --json --root "$roots/x86_rapl_laptop"
ok 'indeed' sh -c "jq -e 'all(.sources[]; .look == null)' '$OUT'"
expect_code 1 'doctor refuses a source that is not there' "$WATTLAW" doctor -M powercop
expect_err_grep 'and names the nearest' "did you mean 'powercap'"
expect_code 0 'doctor on a Raspberry Pi 5' "$WATTLAW" doctor --json --root "$roots/pi5"
ok 'knows the board' sh -c "jq -e '.estimate.class == \"raspberry-pi-5\"' '$OUT'"
