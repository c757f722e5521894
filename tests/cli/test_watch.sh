#!/usr/bin/env bash
# wattlaw watch: commands and processes, exact joules of a made-up counter, outputs, exit codes.
# shellcheck source=tests/cli/lib.sh disable=SC2016
. "$(dirname "$0")/lib.sh"

watch=("$WATTLAW" watch --idle 0)

# steady COMMAND...: asked again where the machine stood still just then, so that the figures are not
# to be trusted (exit code 3). A test machine is shared; what is tested here is something else.
steady() {
    local code=3 tries=3
    while [ "$code" = 3 ] && [ "$tries" -gt 0 ]; do
        code=0
        "$@" >steady.out 2>steady.err || code=$?
        tries=$((tries - 1))
    done
    cat steady.out
    cat steady.err >&2
    return "$code"
}

# ---- usage ----

expect_code 2 'needs a command or a process' "$WATTLAW" watch
expect_err_grep 'says which' 'command after -- or --pid'
expect_code 2 'not both' "$WATTLAW" watch --pid 1 -- true
expect_code 2 'refuses a rate of nothing' "$WATTLAW" watch -r 0 -- true
expect_err_grep 'says the range' '0.1 to 200'
expect_code 2 'refuses a time without sense' "$WATTLAW" watch --for never -- true
expect_code 2 'refuses a negative rest' "$WATTLAW" watch --idle -1 -- true
expect_code 2 'refuses a negative process' "$WATTLAW" watch --pid -5
expect_code 1 'a process that is not there' "$WATTLAW" watch --pid 2147483000
expect_err_grep 'is named' 'no process 2147483000'
expect_code 1 'a command that is not there' "${watch[@]}" -- ./no-such-command
expect_err_grep 'is named' "cannot start './no-such-command'"
expect_code 1 'an unknown source' "${watch[@]}" --meters powercp -- true
expect_err_grep 'suggests the nearest' 'powercap'

# ---- a counter that we turn ourselves ----

[ -d "${WATTLAW_TEST_ROOTS:-}" ] || skip 'WATTLAW_TEST_ROOTS does not name the captured machines'
cp -r "$WATTLAW_TEST_ROOTS/mini_pc_n100" root && chmod -R u+w root
zone=root/sys/class/powercap/intel-rapl:0
export COUNTER=$TEST_DIR/$zone/energy_uj
# The counter below moves in steps of a joule: a step that is read soon after the one before must still
# be one that this machine can make (its stated limit times three, within 1 ms), or it is a reset.
for limit in "$zone"/constraint_*_power_limit_uw; do
    echo 1000000000 >"$limit"
done
# Adds 1 J each 50 ms, $1 times; the file keeps its length, so it is never seen empty.
cat >burn.sh <<'END'
uj=100000000
i=0
while [ "$i" -lt "$1" ]; do
    sleep 0.05
    i=$((i + 1))
    uj=$((uj + 1000000))
    printf '%s' "$uj" 1<>"$COUNTER"
done
END
reset_counter() { printf '100000000\n' >"$COUNTER"; }
# From the counter's beginning, however often it is asked again.
burnt() {
    reset_counter
    "$@"
}
metered=("$WATTLAW" watch --root root --meters powercap)

expect_code 0 'measures a command' steady burnt "${metered[@]}" --idle 2 --json --csv rows.csv \
    --prometheus rows.prom --record trace.txt -o result.json -- sh burn.sh 40
ok 'prints nothing on standard output when the summary goes to a file' test ! -s "$OUT"
expect_json 'with a schema version' 'd["schema_version"] == 1 and d["end"] == "exit"' result.json
expect_json 'every joule of the counter' 'abs(d["energy"][0]["gross"]["j"] - 40) < 0.5' result.json
expect_json 'net of a rest that took none' \
    'abs(d["energy"][0]["net"]["j"] - 40) < 0.5 and abs(d["energy"][0]["idle_w"]) < 0.01' result.json
expect_json 'as measured, in the scope of the CPU' \
    'd["energy"][0]["gross"]["label"] == "measured" and d["energy"][0]["scope"] == "cpu"' result.json
expect_json 'with the processes counted' 'd["n_processes"] >= 3 and d["n_processes_left"] == 0' result.json
expect_json 'with time, CPU and RAM' \
    '2 < d["seconds"] < 10 and 0 < d["cpu_core_s"] < 3 and d["ram_auc_mib_s"] > 0 and d["command"]["exit_code"] == 0' \
    result.json
expect_grep 'rows have a head' \
    '^t_s,cpu_core_s,cpu_pct,machine_cpu_pct,ram_mib,n_processes,powercap_cpu_w,powercap_cpu_j$' rows.csv
ok 'and ten lines a second' test "$(wc -l <rows.csv)" -ge 15
ok 'all of the same number of fields' awk -F, 'NF != 8 { exit 1 }' rows.csv
ok 'in which nothing that only grows falls' \
    awk -F, 'NR > 1 { if ($1 < t || $2 < c || $8 < j) exit 1; t = $1; c = $2; j = $8 }' rows.csv
expect_grep 'counters for node_exporter' \
    '^wattlaw_energy_joules_total{target="sh",source="powercap",scope="cpu",label="measured"} [34][0-9.]*$' rows.prom
ok 'each line of a known form' \
    awk '!/^# (HELP|TYPE) wattlaw_[a-z_]+ / && !/^wattlaw_[a-z_]+\{[^}]*\} [0-9.e+-]+$/ { exit 1 }' rows.prom
ok 'a trace was recorded' test "$(wc -l <trace.txt)" -gt 20
expect_grep 'in its format' 'wattlaw-trace' trace.txt

expect_code 0 'prints a table' steady burnt "${metered[@]}" --idle 2 -- sh burn.sh 20
expect_grep 'with the end of the command' 'the command exited with code 0'
expect_grep 'with energy' 'energy  *net .*mWh.*gross .*mWh.*powercap, scope cpu, measured'
expect_no_grep 'without colour' $'\033'

reset_counter
expect_code 3 'says when the counter vanished' "${metered[@]}" --idle 0 -- \
    sh -c 'sleep 0.3; rm -r "${COUNTER%/*}"; sleep 1.5'
expect_err_grep 'and why it is not to be trusted' 'not trustworthy: energy readings are missing'

# ---- the command is itself ----

expect_code 1 'the failure of a command' "${watch[@]}" --json -- sh -c 'exit 42'
expect_json 'shows its own code' 'd["command"] == {"exit_code": 42, "signal": None}'
expect_code 1 'the signal that ended it' "${watch[@]}" --json -- sh -c 'kill -9 $$'
expect_json 'is shown' 'd["command"] == {"exit_code": None, "signal": 9}'
ok 'input and output are its own' bash -c \
    '[ "$(printf hello | "$0" watch -q --idle 0 -o /dev/null -- cat)" = hello ]' "$WATTLAW"
expect_code 0 'its options are its own' steady "${watch[@]}" -o /dev/null -- printf '%s' --json -q
expect_grep 'and reach it' '^--json-q$'
expect_code 0 'an orphan stays in the tree' steady "${watch[@]}" --json -- \
    sh -c '(sh -c "sleep 0.6; true" &) ; sleep 1'
expect_json 'and is waited for' 'd["n_processes"] >= 3 and d["n_processes_left"] == 0'

if command -v timeout >/dev/null; then
    expect_code 130 'Ctrl-C goes to both' timeout -s INT --preserve-status 1.2 \
        "${watch[@]}" --json -- sleep 30
    expect_json 'and the summary is there' \
        'd["was_interrupted"] and d["command"]["signal"] == 2 and 0.5 < d["seconds"] < 10'
    expect_code 130 'so does SIGTERM' timeout --preserve-status 1.2 "${watch[@]}" -- sleep 30
    expect_grep 'with its summary' 'killed by signal 15'
    expect_code 130 'during the rest nothing is started' interrupt_after 1 \
        "$WATTLAW" watch --idle 20 -- touch started
    ok 'nothing' test ! -e started
fi

# On a real terminal Ctrl-C reaches the command once, and what it does then decides.
cat >terminal.py <<'END'
import os, pty, sys, time
keys, pid_fd = sys.argv[1].encode().decode('unicode_escape').encode(), pty.fork()
if pid_fd[0] == 0:
    os.environ['TERM'] = 'xterm'
    os.execvp(sys.argv[2], sys.argv[2:])
for key in keys:
    time.sleep(1)
    os.write(pid_fd[1], bytes([key]))
out = b''
try:
    while True:
        piece = os.read(pid_fd[1], 4096)
        if not piece:
            break
        out += piece
except OSError:
    pass
sys.stdout.write(out.decode(errors='replace').replace('\r', '\n'))
sys.exit(os.WEXITSTATUS(os.waitpid(pid_fd[0], 0)[1]))
END
if command -v python3 >/dev/null; then
    expect_code 130 'one Ctrl-C on a terminal' python3 terminal.py '\x03' "${watch[@]}" -- \
        sh -c 'trap "echo got-int; exit 4" INT; while :; do sleep 0.1; done'
    ok 'arrives once' test "$(grep -c got-int "$OUT")" = 1
    expect_grep 'with a live line' 'CPU .*RAM .*W'
    expect_grep 'and the summary' 'the command exited with code 4'
    expect_code 0 'a program that lives on after Ctrl-C' \
        steady python3 terminal.py '\x03\x03' "${watch[@]}" -q -- \
        sh -c 'trap "echo got-int" INT; n=0; while [ $n -lt 35 ]; do sleep 0.1; n=$((n + 1)); done; exit 0'
    ok 'is watched on' test "$(grep -c got-int "$OUT")" = 2
    expect_code 0 'the command reads what is typed' \
        steady python3 terminal.py '\n' "${watch[@]}" -q -- \
        sh -c 'read -r line; echo "<$line>"'
    expect_grep 'itself' '^<>$'
else
    printf '# not checked without python3: a real terminal\n'
fi

# ---- a running process ----

sh -c 'while :; do :; done' &
spinner=$!
expect_code 0 'watches a process for a time' steady "$WATTLAW" watch --pid "$spinner" --for 2 --json
expect_json 'its CPU time' 'd["end"] == "time" and 0.3 < d["cpu_core_s"] <= 1.1 * d["seconds"]'
expect_json 'for about that time' '1.9 < d["seconds"] < 4 and d["command"] is None'
(sleep 1; kill "$spinner") &
expect_code 0 'until it ends' "$WATTLAW" watch --pid "$spinner" --for 20
expect_grep 'and says so' 'the process has ended'
wait

expect_code 0 'splits into windows' steady "${watch[@]}" --windows --json -- sh -c \
    'sleep 2.5; timeout 1.6 sh -c "while :; do :; done"; sleep 2.5'
expect_json 'one of them' 'len(d["windows"]) == 1'
expect_json 'where the load was' \
    '1.2 < d["windows"][0]["seconds"] < 2.5 and abs(d["windows"][0]["cpu_core_s"] - d["cpu_core_s"]) < 0.2'

# ---- what it costs ----

if [ -r /proc/self/status ] && ! grep -qa __asan_init "$WATTLAW" && ! grep -qa __tsan_init "$WATTLAW"; then
    expect_code 0 'shows its own memory' steady "${watch[@]}" -q -o /dev/null -- \
        sh -c 'sleep 2; cat /proc/$PPID/status'
    ok 'which is below 10 MiB' awk '/^VmHWM:/ { exit !($2 > 0 && $2 < 10240) }' "$OUT"
fi
