#!/usr/bin/env bash
# One box, a model split over two boxes by llama.cpp's RPC, two boxes with a copy each: joules, core
# seconds and time of an answer.
#   bench/serve_boxes.sh BUILD_DIR [MODEL [LAYERS_AT_THE_HELPER]]
#   ROUNDS=7 ANSWERS=6 TOKENS=48 WORDS=96 RESULTS=FILE bench/serve_boxes.sh ...
#   LIMIT_MIB=320 bench/serve_boxes.sh ...     boxes with so little memory that the model fits into two only
#
# A box is one core of this machine and a network namespace; a veth pair is the network between them.
# A relay adds delay, since few kernels of virtual machines have netem. Every server runs all the
# time, one arm works at a time, arms in another order each round. Needs root, two cores, nginx and
# `tools/setup --rpc`.
#
#   one       the model on box 1
#   split     half of its layers on box 1, the others on box 2; delays are those of a round trip
#   copies    the model on both, nginx in front
#   small     the model on box 1, whose memory is too small: it is read from disk again and again
#   talk      a conversation of six turns before two copies: by load, and by key (at the end)
#
# Figures of a window, which is ANSWERS answers to one or two clients that never wait:
#   core s    of the servers' processes on both boxes, gateways, nginx and relay included
#   J         of boxes of their own: idle watts of each box that is on, and watts of the busy core
#   J (meter) what a gateway's meter counts for this machine, with all else that runs here
#   J (said)  the sum of what the answers say of themselves
#
# A window begins when the machine is calm, or after ten seconds. Those beside which others took more
# than OTHERS cores (0.7) are left out of the figures.
#
# bench/serve_boxes.awk makes the table from the lines that RESULTS keeps.
set -euo pipefail
build=$(cd "$1" && pwd)
model=${2:-builtin} layers=${3:-}
rounds=${ROUNDS:-7} answers=${ANSWERS:-6} tokens=${TOKENS:-48}
source=$(cd "$(dirname "$0")/.." && pwd)
results=${RESULTS:-} limit=${LIMIT_MIB:-}
arms=(one split split-1ms split-10ms copies) loads=(1 2) ctx=2048
if [ -n "$limit" ]; then arms=(one small split) loads=(1) ctx=512; fi
dir=$(mktemp -d)
ns=wl-box2-$$
pids=()

stop() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns del "$ns" 2>/dev/null || true
    [ -z "$limit" ] || rmdir "$groups"/wl-box-$$-[12] 2>/dev/null || true
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

# Control groups for memory, below our own: of version 1, since in version 2 a group with processes has no
# other below it.
groups=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
if [ -n "$limit" ]; then
    for n in 1 2; do
        mkdir "$groups/wl-box-$$-$n" || need 'memory cannot be limited here (no control group of version 1)'
        echo $((limit << 20)) >"$groups/wl-box-$$-$n/memory.limit_in_bytes"
    done
fi
# own_file NAME: a copy of the model that no other process has in its memory.
own_file() {
    cp "$model" "$dir/$1.gguf"
    dd of="$dir/$1.gguf" oflag=nocache conv=notrunc,fdatasync count=0 status=none
    printf '%s' "$dir/$1.gguf"
}

# box N COMMAND...: in the background, on its core, in its network, and with $is_small in its memory;
# the process is in $pid.
is_small=
box() {
    local number=$1 where=()
    shift
    # shellcheck disable=SC2016  # for the shell that is started
    [ -z "$is_small" ] || where=(bash -c 'echo $$ >"$0"; exec "$@"' "$groups/wl-box-$$-$number/cgroup.procs")
    [ "$number" = 1 ] || where+=(ip netns exec "$ns")
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
    box "$number" "$build/bin/wattlaw" serve -q -m "${file:-$model}" --mmproj none --no-ledger --threads 1 \
        --host "10.77.0.$number" --port "$port" --keys "$dir/keys.json" --slots 2 --ctx "$ctx" "$@"
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

# nginx_for PORT [SED]: with the example; its process is in $pid.
nginx_for() {
    mkdir -p "$dir/nginx-$1"
    sed -e "s#listen 80;#listen 10.77.0.1:$1;#" -e "s#/var/log/nginx#$dir/nginx-$1#" \
        -e 's#192.0.2.1:#10.77.0.1:#; s#192.0.2.2:#10.77.0.2:#' -e "${2:-}" \
        "$source/docs/examples/nginx.conf" >"$dir/nginx-$1/wattlaw.conf"
    printf 'daemon off;\npid %s/pid;\nevents {}\nhttp {\n    include %s/wattlaw.conf;\n}\n' \
        "$dir/nginx-$1" "$dir/nginx-$1" >"$dir/nginx-$1/nginx.conf"
    box 1 nginx -e "$dir/nginx-$1/error.log" -c "$dir/nginx-$1/nginx.conf"
}

gateway one 1 8600
if [ -n "$limit" ]; then
    is_small=1
    file=$(own_file small) gateway small 1 8601
    file=$(own_file split) split split 52000 0
else
    gateway second 2 8600
    split split 52000 0
    split split-1ms 52001 500
    split split-10ms 52002 5000
    nginx_for 8080
    url[copies]=http://10.77.0.1:8080
    group[copies]="${group[one]} ${group[second]} $pid"
    nginx_for 8081 's/^    least_conn;$//; s/^    #hash/    hash/'
    url[by-key]=http://10.77.0.1:8081
    group[by-key]="${group[one]} ${group[second]} $pid"
    wait_for curl -sf -H "$auth" "${url[copies]}/health"
    wait_for curl -sf -H "$auth" "${url[by-key]}/health"
fi

# ---- a window ----

words=$(for i in $(seq "${WORDS:-96}"); do printf 'word%d ' $((i % 7)); done)
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

# Until others leave most of the machine alone for half a second, or ten seconds have passed.
calm() {
    local n b
    for ((n = 0; n < 20; n++)); do
        b=$(busy)
        sleep 0.5
        [ $(($(busy) - b)) -gt 20 ] || return 0
    done
}

# window ROUND ARM CLIENTS: a line of figures into $dir/results.
window() {
    local round=$1 arm=$2 clients=$3 c t0 t1 j0 j1 b0 b1 w0 w1 asking=()
    rm -f "$dir"/answer-*
    calm
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

# talk ROUND WAY: six turns, each with all before it; a line into $dir/talks.
talk() {
    local round=$1 way=$2 turn t0 t1 w0 w1
    rm -f "$dir"/turn-*
    calm
    # shellcheck disable=SC2086
    t0=$(ticks ${group[$way]}) w0=$(now)
    for turn in 1 2 3 4 5 6; do
        jq -n --arg text "$round $way ${words:0:192}" --argjson n "$turn" '{messages: [range($n) | {role: "user",
            content: "\(.) \($text)"}], max_tokens: 8, temperature: 0, ignore_eos: true}' >"$dir/turn.json"
        curl -sf -H "$auth" -d @"$dir/turn.json" -o "$dir/turn-$turn" "${url[$way]}/v1/chat/completions" ||
            need "$way: turn $turn failed"
    done
    w1=$(now)
    # shellcheck disable=SC2086
    t1=$(ticks ${group[$way]})
    jq -s -r --arg round "$round" --arg way "$way" --argjson wall "$(awk "BEGIN { print $w1 - $w0 }")" \
        --argjson cpu "$(awk "BEGIN { print ($t1 - $t0) / 100 }")" '[$round, $way, $wall, $cpu,
         (map(.usage.prompt_tokens) | add), (map(.usage.prompt_tokens_details.cached_tokens) | add)] | @tsv' \
        "$dir"/turn-[1-6] >>"$dir/talks"
}

for arm in "${arms[@]}"; do window 0 "$arm" 1; done # warms up
for ((round = 1; round <= rounds; round++)); do
    for clients in "${loads[@]}"; do
        mapfile -t order < <(printf '%s\n' "${arms[@]}" | shuf --random-source=<(yes "$round$clients"))
        for arm in "${order[@]}"; do
            case $clients$arm in 2split-*) ;; *) window "$round" "$arm" "$clients" ;; esac
        done
    done
    if [ -z "$limit" ]; then
        mapfile -t order < <(printf 'copies\nby-key\n' | shuf --random-source=<(yes "$round"))
        for way in "${order[@]}"; do talk "$round" "$way"; done
    fi
done
touch "$dir/talks"
[ -z "$results" ] || cat "$dir/results" "$dir/talks" >"$results"

# ---- figures ----

printf '%s, %d of its layers at the helper, one core a box; %d windows of %d answers of %d tokens for each row\n' \
    "${model##*/}" "$layers" "$rounds" "$answers" "$tokens"
watts=$("$build/bin/wattlaw" doctor 2>/dev/null |
    sed -n 's/.*idle \([0-9.]*\) W, \([0-9.]*\) W per busy core.*/\1 \2/p' | head -n 1)
printf 'a box takes %s W at rest and %s W for its core\n' "${watts% *}" "${watts#* }"
cat "$dir/results" "$dir/talks" |
    awk -F '\t' -v idle_w="${watts% *}" -v core_w="${watts#* }" -v others="${OTHERS:-0.7}" -f "$source/bench/serve_boxes.awk"
