#!/usr/bin/env bash
# The gateway's live page: nothing from outside, and in a browser with hostile names.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
page=$WATTLAW_SOURCE_DIR/src/gateway/page.html

ok 'there is a page' test -s "$page"
expect_code 1 'no resources of others' \
    sh -c "sed \"s#http://www.w3.org/2000/svg##g\" '$page' | grep -nE 'https?:|//[a-z0-9.-]+\.[a-z]|@import|url\\('"
expect_code 1 'no way for a name to become markup' \
    grep -nE 'innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|javascript:' "$page"
expect_code 1 'no handlers in the markup' grep -nE '<[a-z]+ [^>]*\bon[a-z]+=' "$page"
ok 'one script' test "$(grep -c '<script' "$page")" = 1
ok 'one style' test "$(grep -c '<style' "$page")" = 1

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ] || ! command -v python3 >/dev/null; then
    [ "$test_failures" -eq 0 ] || exit 1
    skip 'the page in a browser needs chromium and python3'
fi

cat >gateway.py <<'END'
import http.server, json, sys, time
page = open(sys.argv[1], "rb").read()
evil = "<img src=x onerror=\"document.title='evil'\">"
now = int(time.time() * 1000)
request = {"id": "wl-1", "begin_ms": now - 5000, "key": evil, "model": evil, "endpoint": "chat", "http_status": 200,
    "end": "upstream died", "stream": True, "prompt_tokens": 100, "cached_tokens": None, "completion_tokens": 20,
    "images": 0, "wait_s": 0, "first_s": 0.5, "total_s": 2, "error": evil, "energy": {"wh": 0.25,
    "wh_ci95": [0.2, 0.3], "net_wh": None, "net_wh_ci95": None, "source": "x", "scope": "y", "label": "measured",
    "shared_by": 1}}
live = {"schema_version": 1, "now_ms": now, "uptime_s": 100, "version": "1", "draining": False,
    "meter": {"source": evil, "scope": "package", "label": "measured", "lost": False, "now_w": 12.25, "idle_w": 5,
        "idle_w_ci95": None, "gaps": 0, "gap_s": 0, "measured_wh": 2, "requests_wh": 1, "idle_wh": 1, "busy_s": 1,
        "idle_s": 1},
    "watts": {"period_s": 1, "values": [5, None, 12.25]}, "today": {"wh": 1, "tokens": 120},
    "minute": {"requests": 1, "prompt_tokens": 100, "completion_tokens": 20},
    "queue": {"waiting": 0, "running": 0, "at_once": 1, "open": 0},
    "upstream": {"kind": "ollama", "health": "down", "engine": evil, "model": evil, "problem": evil, "for_s": 5,
        "starts": 0, "deaths": 0},
    "ledger": {"failing": True, "waiting_rows": 1, "rows": 1, "problem": evil}, "canary": None, "n_keys": 1,
    "keys": [{"key": evil, "revoked": False, "running": 0, "wh": 1, "tokens": 120, "limits": [{"kind": "wh",
        "per": "day", "limit": 4, "used": 1, "held": 1, "left": 2}]}], "running": [], "requests": [request]}

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass
    def do_GET(self):
        is_page = self.path == "/"
        is_locked = not is_page and len(sys.argv) > 2 and self.headers["Authorization"] != "Bearer wl-x"
        visitor = b"" if sys.argv[2:] != ["opened"] else b"""<script>setTimeout(function () {
            document.getElementById("door-key").value = " wl-x ";
            document.getElementById("door-form").requestSubmit();
        }, 500);</script>"""
        body = page + visitor if is_page else json.dumps({"error": {"message": "no"}} if is_locked else live).encode()
        self.send_response(401 if is_locked else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8" if is_page else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; "
            "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; form-action 'none'")
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
END

# show NAME [locked|opened]: the page's document, as the browser has it after some polls, is in NAME.html.
show() {
    python3 gateway.py "$page" ${2:+"$2"} >port 2>server.log &
    local server=$! tries=100
    while [ ! -s port ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" \
        --virtual-time-budget=3000 --window-size=390,900 --dump-dom "http://127.0.0.1:$(cat port)/" \
        >"$1.html" 2>browser.log
    kill "$server"
    wait "$server" 2>/dev/null
    rm -f port
}

show live
ok 'shows the power' grep -q '12.3<span class="unit">W' live.html
ok 'draws it' grep -q '<path class="line" d="M[0-9]' live.html
ok 'shows what a request took' grep -q '250[^<]*mWh' live.html
ok 'and a budget' grep -q '1 of 4 Wh a day' live.html
ok 'names are text' grep -q '&lt;img src=x onerror=' live.html
expect_code 1 'and never markup' grep -q '<img' live.html
expect_code 1 'nor a script' grep -q '<title>evil' live.html
ok 'says what is wrong' grep -q 'The model server does not answer' live.html
show locked locked
ok 'asks for a key' grep -q '<section class="panel" id="door">' locked.html
ok 'and shows nothing else' grep -q '<div id="content" hidden' locked.html
show opened opened
ok 'takes it' grep -q '<section class="panel" id="door" hidden' opened.html
ok 'and shows all' grep -q '12.3<span class="unit">W' opened.html
