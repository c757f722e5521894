#!/usr/bin/env bash
# What docs/observability has for Prometheus, Grafana and systemd is valid and fits the gateway.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
docs=$WATTLAW_SOURCE_DIR/docs/observability
dashboard=$docs/grafana-dashboard.json

ok 'the dashboard is JSON' jq -e . "$dashboard"
ok 'its panels have an id each' \
    jq -e '[.panels[].id] | length == (unique | length)' "$dashboard"
ok 'and a place each' \
    jq -e 'all(.panels[]; .gridPos.x + .gridPos.w <= 24 and .gridPos.w > 0)' "$dashboard"
ok 'and say what they ask' \
    jq -e 'all(.panels[] | select(.type != "row"); .targets | length > 0)' "$dashboard"

# Every figure that is asked for is one that the gateway writes.
jq -r '.panels[].targets[]?.expr' "$dashboard" >asked
cat "$docs/alerts.yml" "$docs/alerts-test.yml" >>asked
grep -oh 'wattlaw_[a-z_]*' asked | sed 's/_bucket$//' | sort -u >names
grep -oh '"wattlaw_[a-z_]*"' "$WATTLAW_SOURCE_DIR"/src/gateway/*.c | tr -d '"' | sort -u >written
ok 'there are some' test "$(wc -l <names)" -gt 20
comm -23 names written >unknown
ok 'all are written by the gateway' test ! -s unknown
[ ! -s unknown ] || sed 's/^/    not written: /' unknown

if command -v promtool >/dev/null; then
    sed "s#/etc/prometheus/wattlaw.key#$PWD/key#" "$docs/prometheus.yml" >prometheus.yml
    cp "$docs/alerts.yml" "$docs/alerts-test.yml" .
    echo 'wl-secret' >key
    expect_code 0 'Prometheus reads its settings' promtool check config prometheus.yml
    expect_code 0 'the alerts fire when they should' promtool test rules alerts-test.yml
    {
        printf 'groups:\n- name: dashboard\n  rules:\n'
        jq -r '.panels[].targets[]?.expr | gsub("\\$__rate_interval"; "5m") | @json' "$dashboard" |
            awk '{printf "  - record: dashboard:panel:%d\n    expr: %s\n", NR, $0}'
    } >panels.yml
    expect_code 0 'the questions of the dashboard can be asked' promtool check rules panels.yml
else
    printf '# promtool is not here: questions and alerts were not tried\n'
fi

if command -v systemd-analyze >/dev/null; then
    for unit in wattlaw-serve wattlaw-serve-hardened; do
        sed 's#/usr/bin/wattlaw#/usr/bin/env#; /^Documentation=/d' "$docs/$unit.service" >"$unit.service"
        systemd-analyze verify "./$unit.service" >"$unit.log" 2>&1
        expect_code 1 "$unit is a unit" grep "^$unit.service" "$unit.log"
    done
else
    printf '# systemd-analyze is not here: the units were not checked\n'
fi
