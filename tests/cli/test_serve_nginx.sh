#!/usr/bin/env bash
# Two gateways behind nginx with docs/examples/nginx.conf, and one Prometheus over both: only ports and
# paths are others.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/cli/serve_lib.sh
. "$(dirname "$0")/serve_lib.sh"
PATH=$PATH:/usr/sbin
command -v curl >/dev/null || skip 'no curl'
command -v nginx >/dev/null || skip 'no nginx'
examples=$WATTLAW_SOURCE_DIR/docs/examples

pids=()
# shellcheck disable=SC2317  # called by the trap of serve_lib.sh
stop_all() {
    local pid
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null; done
    wait 2>/dev/null
}
any_port() { echo $((20000 + RANDOM % 12000)); }

# box NAME: a model server and a gateway, in a folder of their own.
declare -A stub gateway stub_pid gateway_pid
box() {
    mkdir -p "$1"
    cd "$1" || exit 1
    start_stub --slots 2
    start_gateway --upstream "$STUB"
    cd ..
    pids+=("$STUB_PID" "$GATEWAY_PID")
    stub[$1]=$STUB gateway[$1]=$GATEWAY stub_pid[$1]=$STUB_PID gateway_pid[$1]=$GATEWAY_PID
}
# seen NAME FIGURE: of a box's model server.
seen() { curl -s "${stub[$1]}/stub" | jq -r ".$2"; }
# asked NAME: requests that its gateway has counted.
asked() {
    curl -s "${gateway[$1]}/metrics" | awk '/^wattlaw_requests_total/ { n += $NF } END { print n + 0 }'
}
both() { echo $(($(seen a "$1") + $(seen b "$1"))); }
kill_box() {
    kill -9 "$1"
    wait "$1" 2>/dev/null
}

# start_nginx [SED]: with the example, changed further; nginx's master is $nginx.
start_nginx() {
    local try
    for try in 1 2 3 4 5; do
        port=$(any_port)
        sed -e "s#listen 80;#listen 127.0.0.1:$port;#" -e "s#192.0.2.1:8600#${gateway[a]#http://}#" \
            -e "s#192.0.2.2:8600#${gateway[b]#http://}#" -e "s#/var/log/nginx#$PWD#" -e "${1:-}" \
            "$examples/nginx.conf" >wattlaw.conf
        printf 'daemon off;\npid %s/nginx.pid;\nworker_processes 2;\nevents {}\nhttp {\n' "$PWD" >nginx.conf
        for what in client_body proxy fastcgi uwsgi scgi; do
            printf '    %s_temp_path %s/temp-%s;\n' $what "$PWD" $what >>nginx.conf
        done
        printf '    include %s/wattlaw.conf;\n}\n' "$PWD" >>nginx.conf
        nginx -e "$PWD/nginx.log" -c "$PWD/nginx.conf" 2>nginx.err &
        nginx=$!
        pids+=("$nginx")
        if until_ok 5 curl -s -o /dev/null "http://127.0.0.1:$port/"; then
            GATEWAY=http://127.0.0.1:$port # what `ask` and `fetch` ask
            return
        fi
    done
    fail "nginx starts ($try tries)" "$(cat nginx.err nginx.log)"
    exit 1
}

box a
box b
start_nginx
ok 'nginx likes the example' nginx -t -e "$PWD/nginx.log" -c "$PWD/nginx.conf"

# ---- answers ----
ask /v1/chat/completions "$(chat 'tokens=5 one two')"
expect_status 'a whole answer comes through' 200
expect_answer 'with its words and its energy' \
    '.choices[0].message.content == "word0 word1 word2 word3 word4" and .usage.energy.wh >= 0'
expect_header 'and its id' '^X-Request-Id: wl-'
id=$(sed -n 's/^X-Request-Id: \(.*\)\r/\1/ip' headers)
has_logged() { grep -F "$id" wattlaw.log; }
ok "which is in nginx's log, too" until_ok 5 has_logged
ask /v1/chat/completions "$(chat 'tokens=6 delay=2' '"stream":true')"
expect_pieces 'a stream comes through' '[.[].choices[0].delta.content // empty] | join("") == "word0 word1 word2 word3 word4 word5"'
expect_pieces 'with the energy in its last piece' '.[-1].usage.energy.wh > 0'
for _ in 1 2 3 4; do
    ask /v1/chat/completions "$(chat 'tokens=1')"
done
ok "both are used ($(asked a) and $(asked b) requests)" test $(($(asked a) * $(asked b))) -gt 0
for _ in 1 2; do
    curl -s -o /dev/null -d "$(chat 'tokens=10 delay=100')" "$GATEWAY/v1/chat/completions" &
    pids+=($!)
done
are_both_busy() { [ "$(seen a running)" = 1 ] && [ "$(seen b running)" = 1 ]; }
ok 'a second client gets the box that is free' until_ok 3 are_both_busy
wait "${pids[@]: -2}"

# ---- pieces come as they are made ----
curl -sN -d "$(chat 'tokens=10 delay=150' '"stream":true')" "$GATEWAY/v1/chat/completions" |
    while read -r line; do
        case $line in data:*) date +%s%3N ;; esac
    done >arrivals
spread=$(($(tail -n 1 arrivals) - $(head -n 1 arrivals)))
ok "nothing holds the first piece back (the last came $spread ms later)" test "$spread" -gt 900

# ---- a client that leaves ----
before=$(both left)
curl -sN --max-time 0.5 -d "$(chat 'tokens=1000 delay=20' '"stream":true')" "$GATEWAY/v1/chat/completions" >/dev/null
has_left() { [ "$(both left)" -gt "$before" ]; }
ok 'its work is cancelled through nginx and gateway' until_ok 5 has_left
ok 'nothing runs any more' test "$(both running)" = 0
before=$(both left)
curl -s --max-time 0.5 -d "$(chat 'tokens=1000 delay=20')" "$GATEWAY/v1/chat/completions" >/dev/null
ok 'also where it waited for a whole answer' until_ok 5 has_left

# ---- what belongs to one box ----
for _ in 1 2 3 4; do
    ask /v1/chat/completions "$(chat 'tokens=1')"
    id=$(sed -n 's/^X-Request-Id: \(.*\)\r/\1/ip' headers)
    ask /v1/feedback "{\"id\":\"$id\",\"score\":1}"
    echo "$STATUS" >>feedback
done
ok 'feedback finds the gateway that has the id' test "$(sort feedback | uniq -c | tr -s ' ')" = ' 4 200'
ask /v1/feedback '{"id":"wl-none","score":1}'
expect_status 'an id that nobody has' 404
fetch /metrics
expect_status 'figures of one or another are not given out' 404
fetch /v1/energy
expect_status 'nor is their energy' 404

# ---- one Prometheus ----
if command -v prometheus >/dev/null; then
    echo wl-unused >key
    cp "$examples/sums.yml" "$WATTLAW_SOURCE_DIR/docs/observability/alerts.yml" .
    sed -e "s#192.0.2.1:8600#${gateway[a]#http://}#" -e "s#192.0.2.2:8600#${gateway[b]#http://}#" \
        -e 's#15s#1s#' -e "s#/etc/prometheus/wattlaw.key#$PWD/key#; s#/etc/prometheus#$PWD#" \
        "$examples/prometheus.yml" >prometheus.yml
    if command -v promtool >/dev/null; then
        expect_code 0 'Prometheus reads the example' promtool check config prometheus.yml
    fi
    web=127.0.0.1:$(any_port)
    prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address="$web" \
        >prometheus.log 2>&1 &
    prometheus=$!
    pids+=("$prometheus")
    # is_true QUESTION FILTER
    is_true() {
        curl -s --data-urlencode "query=$1" "http://$web/api/v1/query" | jq -e "$2"
    }
    ok 'it sees both gateways' until_ok 20 is_true 'up{job="wattlaw"}' \
        '.data.result | length == 2 and all(.[]; .value[1] == "1")'
    has_all() { is_true 'sum(wattlaw_requests_total)' ".data.result[0].value[1] == \"$(($(asked a) + $(asked b)))\""; }
    ok 'and all of their requests' until_ok 10 has_all
    ok 'the sums of the example can be asked for' until_ok 20 is_true 'wattlaw:power_watts:sum' \
        '.data.result | length == 1'
    kill_box "$prometheus"
else
    printf '# prometheus is not here: its example was not tried\n'
fi

# ---- a model server that is down: its gateway says 503, and POST goes on to the other box ----
kill_box "${stub_pid[a]}"
for _ in 1 2 3 4 5 6; do
    ask /v1/chat/completions "$(chat 'tokens=1')"
    echo "$STATUS" >>passed_on
done
ok 'nobody notices a model server that is down' test "$(sort passed_on | uniq -c | tr -s ' ')" = ' 6 200'
ok 'because nginx asked the other gateway' grep -E '127.0.0.1:[0-9]+, 127.0.0.1:[0-9]+ 503, 200' wattlaw.log
cd a || exit 1
"$WATTLAW_FAKE_MODEL_SERVER" --slots 2 --port "${stub[a]##*:}" >stub.port 2>stub.log &
pids+=($!)
cd ..
ok 'it comes back' until_ok 20 curl -sf "${gateway[a]}/health"
sleep 5 # fail_timeout

# ---- a gateway that is restarted: clients notice nothing ----
for client in 1 2 3; do
    for _ in $(seq 25); do
        curl -s -o /dev/null -w '%{http_code}\n' -d "$(chat 'tokens=3 delay=30')" "$GATEWAY/v1/chat/completions"
    done >"restart-$client" &
    pids+=($!)
done
sleep 0.7
kill -TERM "${gateway_pid[b]}"
wait "${gateway_pid[b]}"
cd b || exit 1
"$WATTLAW" serve --port "${gateway[b]##*:}" --ledger "$PWD/ledger.db" --upstream "${stub[b]}" >gateway.out 2>gateway.log &
gateway_pid[b]=$!
pids+=("${gateway_pid[b]}")
cd ..
until_ok 20 curl -sf "${gateway[b]}/health"
wait "${pids[@]: -4:3}"
ok 'a restart of one is not noticed' test "$(sort restart-? | uniq -c | tr -s ' ')" = ' 75 200'

# ---- a gateway that dies ----
# Two whole answers and a stream that has begun, each with pieces still to come; one box has two.
for n in 1 2; do
    curl -s -o "whole-$n" -w '%{http_code}' -d "$(chat 'tokens=20 delay=100')" \
        "$GATEWAY/v1/chat/completions" >"code-$n" &
    pids+=($!)
done
until_ok 3 are_both_busy
kill_box "${gateway_pid[a]}"
wait "${pids[@]: -2}"
ok 'an answer that had not begun is made by the other box' test "$(cat code-1 code-2)" = 200200
ok 'and is whole' test "$(jq -r .usage.completion_tokens whole-1 whole-2 | tr '\n' ' ')" = '20 20 '
for _ in 1 2 3 4 5 6; do
    ask /v1/chat/completions "$(chat 'tokens=1')"
    echo "$STATUS" >>after
done
ok 'the other one serves' test "$(sort after | uniq -c | tr -s ' ')" = ' 6 200'
curl -sN -d "$(chat 'tokens=40 delay=50' '"stream":true')" "$GATEWAY/v1/chat/completions" >broken &
client=$!
pids+=("$client")
has_begun() { [ "$(grep -c '^data:' broken)" -gt 2 ]; }
until_ok 5 has_begun
kill_box "${gateway_pid[b]}"
wait "$client"
code=$?
ok 'a stream that was cut is seen to be cut' test "$code" -ne 0
ok 'and is not begun again' sh -c "! grep -F '[DONE]' broken"

# ---- nobody there ----
ask /v1/chat/completions "$(chat 'tokens=1')"
expect_status 'no gateway at all' 503
expect_header 'says when to try again' '^Retry-After: 5'
expect_answer 'in the form of OpenAI' '.error.code == "overloaded"'

# ---- by key ----
kill "$nginx"
wait "$nginx" 2>/dev/null
box a
box b
start_nginx 's/^    least_conn;$//; s/^    #hash/    hash/'
before_a=$(asked a) before_b=$(asked b)
for _ in 1 2 3 4 5 6; do
    ask /v1/chat/completions "$(chat 'tokens=1')" -H 'Authorization: Bearer wl-kitchen'
done
are_counted() { [ $(($(asked a) + $(asked b) - before_a - before_b)) = 6 ]; }
until_ok 5 are_counted # a moment after their answers
new_a=$(($(asked a) - before_a)) new_b=$(($(asked b) - before_b))
ok "with a hash of the key one box answers ($new_a and $new_b requests)" \
    test $((new_a + new_b)) = 6 -a $((new_a * new_b)) = 0
kill "$nginx"
wait "$nginx"
