#!/usr/bin/env bash
# Autobahn's WebSocket suite: the same server is asked directly and through the gateway, and every
# verdict must be the same. The server is `ws`, which reads on after it has refused a frame: the
# suite's own closes at once, with bytes unread, and so gives now this verdict and now that without
# any proxy. Needs target/debug/weir-gateway and npm. Installs the suite, which wants Python 2.7, and
# the server below target/: the interpreter from Debian, the rest from PyPI and npm.
#
# Cases 12 and 13 (compression extensions) are left out: they are between client and server, and a
# proxy passes their frames on as any other; they take an hour.
set -euo pipefail
cd "$(dirname "$0")/../.."

home=target/conformance/autobahn
gateway=target/debug/weir-gateway
[ -x "$gateway" ] || { echo "build it first: make build" >&2; exit 2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_suite() {
  scripts/install-consul.sh # adds the Debian release that still has Python 2.7
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    python2.7 python2.7-dev gcc libffi-dev libssl-dev python3-venv
  python3 -m venv "$home/installer"
  "$home/installer/bin/pip" install --quiet 'virtualenv==20.4.7'
  "$home/installer/bin/virtualenv" --quiet --python python2.7 "$home/suite"
  "$home/suite/bin/pip" install --quiet 'autobahntestsuite==0.8.2'
}
[ -x "$home/suite/bin/wstest" ] || install_suite >&2
peers=target/test-peers/ws
version=8.18.3
if ! grep -q "\"version\": \"$version\"" "$peers/node_modules/ws/package.json" 2>/dev/null; then
  mkdir -p "$peers"
  npm install --silent --no-audit --no-fund --prefix "$peers" "ws@$version"
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
server=$(free_port)
edge=$(free_port)
admin=$(free_port)
work=$(mktemp -d)
children=()
finish() { kill "${children[@]}" 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT

mkdir "$work/config"
cat > "$work/config/weir.yaml" <<YAML
listeners: { web: { bind: "127.0.0.1:$edge" } }
services: { echo: { endpoints: ["127.0.0.1:$server"] } }
routes: [{ path: "/*", to: echo }]
YAML
cat > "$work/echo.cjs" <<'JS'
const { WebSocketServer } = require(process.argv[2]);
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[3]) });
server.on('connection', socket => {
  // What the suite sends wrongly on purpose.
  socket.on('error', () => {});
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});
JS
node "$work/echo.cjs" "$PWD/$peers/node_modules/ws" "$server" >"$work/server.log" 2>&1 &
children+=($!)
"$gateway" --config "$work/config/weir.yaml" --admin "127.0.0.1:$admin" \
  >"$work/gateway.log" 2>&1 &
children+=($!)
until curl -fsS "http://127.0.0.1:$admin/readyz" >/dev/null 2>&1 \
  && (: </dev/tcp/127.0.0.1/"$server") 2>/dev/null; do
  kill -0 "${children[@]}" 2>/dev/null || { cat "$work"/*.log >&2; exit 2; }
  sleep 0.1
done

cat > "$work/spec.json" <<JSON
{ "outdir": "$work/reports",
  "servers": [
    { "agent": "direct", "url": "ws://127.0.0.1:$server" },
    { "agent": "weir", "url": "ws://127.0.0.1:$edge" } ],
  "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {} }
JSON
"$home/suite/bin/wstest" -m fuzzingclient -s "$work/spec.json" >"$work/client.log" 2>&1
python3 - "$work/reports/index.json" <<'PYTHON'
import collections, json, sys

report = json.load(open(sys.argv[1]))
direct, weir = report["direct"], report["weir"]
verdict = lambda case: (case["behavior"], case["behaviorClose"])
different = [name for name, case in direct.items() if verdict(case) != verdict(weir[name])]
for name in different:
    print(f"case {name}: direct {verdict(direct[name])}, through Weir {verdict(weir[name])}")
counts = collections.Counter(case["behavior"] for case in weir.values())
print(f"autobahn: {len(direct) - len(different)} of {len(direct)} verdicts equal; {dict(counts)}")
sys.exit(bool(different) or not direct)
PYTHON
