#!/usr/bin/env bash
# slowhttptest: slow heads (-H), slow bodies (-B) and many ranges (-R) from 1,000 connections cannot
# hold the gateway: it serves others meanwhile, and has closed them when the test ends. Needs
# target/debug/weir-gateway; installs slowhttptest from Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."

gateway=target/debug/weir-gateway
[ -x "$gateway" ] || { echo "build it first: make build" >&2; exit 2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
command -v slowhttptest >/dev/null ||
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    slowhttptest >&2

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
edge=$(free_port)
admin=$(free_port)
work=$(mktemp -d)
service=$(free_port)
children=()
finish() { kill "${children[@]}" 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

mkdir "$work/config"
cat > "$work/config/weir.yaml" <<YAML
listeners: { web: { bind: "127.0.0.1:$edge" } }
services: { app: { endpoints: ["127.0.0.1:$service"] } }
routes: [{ path: "/*", to: app }]
YAML
# A service that reads what it is sent before it answers.
python3 - "$service" >"$work/service.log" 2>&1 <<'PYTHON' &
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"fine")

    do_POST = do_GET

http.server.ThreadingHTTPServer.request_queue_size = 1024
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
PYTHON
children+=($!)
"$gateway" --config "$work/config/weir.yaml" --admin "127.0.0.1:$admin" >"$work/gateway.log" 2>&1 &
children+=($!)
until curl -fsS "http://127.0.0.1:$admin/readyz" >/dev/null 2>&1 \
  && (: </dev/tcp/127.0.0.1/"$service") 2>/dev/null; do
  kill -0 "${children[@]}" 2>/dev/null || { cat "$work/gateway.log" >&2; exit 2; }
  sleep 0.1
done

open_connections() {
  curl -fsS "http://127.0.0.1:$admin/metrics" |
    awk '/^weir_listener_connections_active\{listener="web"\}/ { print $2 }'
}

failed=0
for mode in H B R; do
  slowhttptest "-$mode" -c 1000 -r 500 -i 5 -l 45 -u "http://127.0.0.1:$edge/" \
    >"$work/slow-$mode.log" 2>&1 &
  test=$!
  slowest=0
  while kill -0 "$test" 2>/dev/null; do
    # From an address of its own: the thousand are all that `client_connections_max` grants theirs.
    took=$(curl -sS -o /dev/null -m 5 --interface 127.0.0.2 -w '%{http_code} %{time_total}' \
      "http://127.0.0.1:$edge/" || true)
    [ "${took%% *}" = 200 ] || { echo "-$mode: a client got ${took%% *}"; failed=1; }
    slowest=$(printf '%s\n%s\n' "$slowest" "${took##* }" | sort -g | tail -1)
    sleep 0.5
  done
  for _ in $(seq 100); do
    left=$(open_connections)
    [ "${left%%.*}" -gt 1 ] || break
    sleep 0.1
  done
  echo "slowhttptest -$mode: slowest answer to another client ${slowest}s, $left connections left"
  [ "${left%%.*}" -le 1 ] || failed=1
done
exit "$failed"
