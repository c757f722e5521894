#!/usr/bin/env bash
# A short soak of the gateway: good, bad, slow and leaving clients, faults around it, and the books
# in the end (tests/soak/soak.h). A long one: gateway_soak --events 100000 --rounds 8.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
[ -x "${WATTLAW_SOAK:-}" ] || skip 'gateway_soak is not built'
for seed in 1 2; do
    expect_code 0 "clients and faults, seed $seed" "$WATTLAW_SOAK" --dir soak --rounds 2 --events 700 \
        --per-second 120 --fault-ms 1200 --seed "$seed" --json soak.json
done
expect_json 'what was asked was counted' 'd["events"] == 700 and d["ledger_rows"] > 100' soak.json
grep -h 'account:\|ledger:' "$OUT" | sed 's/^/#/'
if [ "$test_failures" != 0 ]; then
    grep -v ' answered, \| refused, ' soak/gateway.log | tail -n 40
fi
