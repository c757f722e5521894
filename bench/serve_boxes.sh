#!/usr/bin/env bash
# One box, a model split over two boxes by llama.cpp's RPC, two boxes with a copy each: joules, core
# seconds and time of an answer.
#   bench/serve_boxes.sh BUILD_DIR [MODEL [LAYERS_AT_THE_HELPER]]
#   ROUNDS=7 ANSWERS=6 TOKENS=48 RESULTS=FILE bench/serve_boxes.sh ...
#
# A box is one core of this machine and a network namespace; a veth pair is the network between them.
# A relay adds delay, since few kernels of virtual machines have netem. Every server runs all the
# time, one arm works at a time, arms in another order each round. Needs root, two cores, nginx and
# `tools/setup --rpc`.
#
#   one       the model on box 1
#   split     half of its layers on box 1, the others on box 2; delays are those of a round trip
#   copies    the model on both, nginx in front
#
# Figures of a window, which is ANSWERS answers to one or two clients that never wait:
#   core s    of the servers' processes (gateways, nginx and relay included), of each box
#   J         what a gateway's meter counts for the machine; on machines without a meter that is
#             its estimate from the CPU time of everything
set -euo pipefail
build=$(cd "$1" && pwd)
model=${2:-builtin} layers=${3:-}
rounds=${ROUNDS:-7} answers=${ANSWERS:-6} tokens=${TOKENS:-48}
source=$(cd "$(dirname "$0")/.." && pwd)
results=${RESULTS:-}
dir=$(mktemp -d)
ns=wl-box2-$$
pids=()

stop() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns del "$ns" 2>/dev/null || true
    rm -rf "$dir"
}
trap stop EXIT
need() {
    echo "serve_boxes: $1" >&2
    exit 77
}
[ "$(id -u)" = 0 ] || need 'root is needed, for network namespaces'
[ "$(nproc)" -ge 2 ] || need 'two cores are needed: each is a box'
for what in nginx ip curl jq taskset; do command -v $what >/dev/null || need "no $what"; done
rpc_server=$source/.deps/bin/ggml-rpc-server
[ -x "$rpc_server" ] || need "no ggml-rpc-server: tools/setup --rpc"
[ -x "$build/bench/delay_relay" ] || need 'no delay_relay: make bench'
case $model in builtin) layers=${layers:-4} ;; *) layers=${layers:-15} ;; esac

# ---- two boxes ----

ip netns add "$ns"
ip link add "wl-a$$" type veth peer name wl-b netns "$ns"
ip addr add 10.77.0.1/30 dev "wl-a$$"
ip link set "wl-a$$" up
ip -n "$ns" addr add 10.77.0.2/30 dev wl-b
ip -n "$ns" link set wl-b up
ip -n "$ns" link set lo up

# box N COMMAND...: in the background, on its core and in its network; the process is in $pid.
box() {
    local number=$1 where=()
    shift
    [ "$number" = 1 ] || where=(ip netns exec "$ns")
    OMP_WAIT_POLICY=passive "${where[@]}" taskset -c $((number - 1)) "$@" >>"$dir/log" 2>&1 &
    pid=$!
    pids+=("$pid")
}
wait_for() {
    local n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 300 ] || need "not up after 60 s: $*
$(tail -n 20 "$dir/log")"
        sleep 0.2
    done
}

key=$("$build/bin/wattlaw" serve --keys "$dir/keys.json" --new-key bench 2>/dev/null)
jq '.keys[0].admin = true' "$dir/keys.json" >"$dir/k" && mv "$dir/k" "$dir/keys.json"
auth="Authorization: Bearer $key"

# gateway NAME BOX PORT OPTION...
declare -A url group
gateway() {
    local name=$1 number=$2 port=$3
    shift 3
    box "$number" "$build/bin/wattlaw" serve -q -m "$model" --mmproj none --no-ledger --threads 1 \
        --host "10.77.0.$number" --port "$port" --keys "$dir/keys.json" --slots 2 --ctx 1024 "$@"
    url[$name]=http://10.77.0.$number:$port
    group[$name]+=" $pid"
    wait_for curl -sf -H "$auth" "${url[$name]}/health"
}
# helper NAME PORT MICROSECONDS: an RPC server for itself, since each serves one client at a time.
helper() {
    local name=$1 port=$2 delay=$3 host=10.77.0.2
    [ "$delay" = 0 ] || host=127.0.0.1 # where the relay goes on to
    box 2 "$rpc_server" --threads 1 --host "$host" --port "$port"
    group[$name]+=" $pid"
    if [ "$delay" -gt 0 ]; then
        box 2 "$build/bench/delay_relay" $((port + 100)) "$port" "$delay"
        group[$name]+=" $pid"
    fi
    sleep 0.5
}
split() {
    local name=$1 port=$2 delay=$3 rpc=$2
    helper "$name" "$port" "$delay"
    [ "$delay" = 0 ] || rpc=$((port + 100))
    gateway "$name" 1 $((port + 200)) --rpc "10.77.0.2:$rpc" --server-arg=-ngl --server-arg="$layers"
}

gateway one 1 8600
gateway second 2 8600
split split 52000 0
split split-1ms 52001 500
split split-10ms 52002 5000
sed -e 's#listen 80;#listen 10.77.0.1:8080;#' -e "s#/var/log/nginx#$dir#" \
    -e 's#192.0.2.1:#10.77.0.1:#; s#192.0.2.2:#10.77.0.2:#' \
    "$source/docs/examples/nginx.conf" >"$dir/wattlaw.conf"
cat >"$dir/nginx.conf" <<CONF
daemon off;
pid $dir/nginx.pid;
events {}
http {
    include $dir/wattlaw.conf;
}
CONF
box 1 nginx -e "$dir/nginx.log" -c "$dir/nginx.conf"
url[copies]=http://10.77.0.1:8080
group[copies]="${group[one]} ${group[second]} $pid"
wait_for curl -sf -H "$auth" "${url[copies]}/health"

# ---- a window ----

words=$(for i in $(seq 96); do printf 'word%d ' $((i % 7)); done)
jq -n --arg text "reverse: $words" --argjson n "$tokens" '{messages: [{role: "user", content: $text}],
    max_tokens: $n, temperature: 0, ignore_eos: true, cache_prompt: false, logprobs: true}' >"$dir/ask.json"

# CPU time of processes and all below them, in ticks: on both boxes' cores together.
ticks() {
    local all=("$@") i=0 pid
    while [ $i -lt ${#all[@]} ]; do
        read -ra children </proc/"${all[i]}"/task/"${all[i]}"/children || true
        all+=("${children[@]}")
        i=$((i + 1))
    done
    for pid in "${all[@]}"; do sed 's/.*) //' "/proc/$pid/stat"; done | awk '{ n += $12 + $13 } END { print n + 0 }'
}
machine_j() {
    curl -s -H "$auth" "${url[one]}/metrics" |
        awk '/^wattlaw_energy_joules_total/ { j += $NF } END { printf "%.6f", j }'
}
now() { awk '{ print $1 }' /proc/uptime; }
busy() { awk '/^cpu / { print ($2 + $3 + $4 + $7 + $8) }' /proc/stat; }

# window ROUND ARM CLIENTS: a line of figures into $dir/results.
window() {
    local round=$1 arm=$2 clients=$3 c t0 t1 j0 j1 b0 b1 w0 w1 asking=()
    rm -f "$dir"/answer-*
    # shellcheck disable=SC2086  # lists of processes
    t0=$(ticks ${group[$arm]})
    j0=$(machine_j) b0=$(busy) w0=$(now)
    for ((c = 0; c < clients; c++)); do
        curl -sf --max-time 600 -H "$auth" -H 'Content-Type: application/json' -d @"$dir/ask.json" \
            -o "$dir/answer-$c-#1" "${url[$arm]}/v1/chat/completions?n=[1-$((answers / clients))]" &
        asking+=($!)
    done
    wait "${asking[@]}"
    w1=$(now) b1=$(busy) j1=$(machine_j)
    # shellcheck disable=SC2086
    t1=$(ticks ${group[$arm]})
    [ "$(find "$dir" -name 'answer-*' | wc -l)" = $((answers / clients * clients)) ] || need "$arm: answers are missing"
    # JSON's own figures: what the answers say of themselves.
    jq -s -r --arg round "$round" --arg arm "$arm" --argjson clients "$clients" \
        --argjson wall "$(awk "BEGIN { print $w1 - $w0 }")" --argjson cpu "$(awk "BEGIN { print ($t1 - $t0) / 100 }")" \
        --argjson busy "$(awk "BEGIN { print ($b1 - $b0) / 100 }")" --argjson j "$(awk "BEGIN { print $j1 - $j0 }")" '
        def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end;
        length as $n | [$round, $arm, $clients, $n, $wall, $wall / $n, $cpu / $n, $busy / $n, $j / $n,
         (map(.usage.energy.wh) | add) * 3600 / $n,
         (map(.timings.prompt_per_second) | median), (map(.timings.predicted_per_second) | median),
         (map(.choices[0].logprobs.content | map(.id) | tostring) | unique | join("|") | @base64)] | @tsv' \
        "$dir"/answer-* >>"$dir/results"
}

arms=(one split split-1ms split-10ms copies)
for arm in "${arms[@]}"; do window 0 "$arm" 1; done # warms up
sed -i '/^0\t/w '"$dir/warm" "$dir/results"
for ((round = 1; round <= rounds; round++)); do
    for clients in 1 2; do
        mapfile -t order < <(printf '%s\n' "${arms[@]}" | shuf --random-source=<(yes "$round$clients"))
        for arm in "${order[@]}"; do window "$round" "$arm" "$clients"; done
    done
done
[ -z "$results" ] || cp "$dir/results" "$results"

# ---- figures ----

printf '%s, %d of its layers at the helper, one core a box; %d windows of %d answers of %d tokens for each row\n' \
    "${model##*/}" "$layers" "$rounds" "$answers" "$tokens"
printf 'idle power that J counts: %s\n' "$("$build/bin/wattlaw" doctor 2>/dev/null | sed -n 's/.*\(idle [0-9.]* W, [0-9.]* W per busy core\).*/\1/p')"
# Means, and ratios to `one` with the same number of clients, paired by round: geometric means with
# Student intervals.
awk -F '\t' '
function student(dof) { return dof >= 30 ? 2.04 : T[dof] }
BEGIN {
    split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 2.120 2.110 2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045", T, " ")
    n_arms = split("one split split-1ms split-10ms copies", ARMS, " ")
    n_what = split("6 7 9", WHAT, " ")
}
$1 > 0 {
    n[$2, $3]++
    for (i = 5; i <= 12; i++) { sum[$2, $3, i] += $i; value[$1, $2, $3, i] = $i }
    rounds = $1 > rounds ? $1 : rounds
    tokens[$2, $3] = tokens[$2, $3] "\n" $13
    first[$2, $3] = $13
}
END {
    printf "%-11s %7s %9s %7s %7s %9s %9s %9s  %s\n", "arm", "clients", "s/answer", "core s", "J", "J (sum)", "prompt/s", "answer/s", "ratio to one: s, core s, J"
    for (c = 1; c <= 2; c++) for (a = 1; a <= n_arms; a++) {
        arm = ARMS[a]; k = n[arm, c]
        printf "%-11s %7d %9.3f %7.3f %7.2f %9.2f %9.1f %9.1f ", arm, c, sum[arm, c, 6] / k, sum[arm, c, 7] / k, sum[arm, c, 9] / k, sum[arm, c, 10] / k, sum[arm, c, 11] / k, sum[arm, c, 12] / k
        if (arm != "one") for (w = 1; w <= n_what; w++) {
            m = 0; s = 0; j = 0
            for (r = 1; r <= rounds; r++) if ((r, arm, c, WHAT[w]) in value) {
                j++; x[j] = log(value[r, arm, c, WHAT[w]] / value[r, "one", c, WHAT[w]]); m += x[j]
            }
            m /= j
            for (r = 1; r <= j; r++) s += (x[r] - m) ^ 2
            half = j > 1 ? student(j - 1) * sqrt(s / (j - 1) / j) : 0
            printf " x%.2f (%.2f to %.2f)", exp(m), exp(m - half), exp(m + half)
        }
        printf "\n"
    }
    for (a = 2; a <= n_arms; a++) printf "%s: tokens of its answers are those of one: %s\n", ARMS[a], first[ARMS[a], 1] == first["one", 1] ? "yes" : "no"
}' "$dir/results"
