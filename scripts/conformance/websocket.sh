#!/usr/bin/env bash
# Autobahn's WebSocket suite: the same server is asked directly and through the gateway, and every
# verdict must be the same. A few cases are decided by how bytes fall together in the server's reads,
# so that it gives now this verdict and now that by itself: cases that differ are asked ROUNDS times
# more (default 20), and then no verdict through the gateway may be one that was never given
# directly. Needs target/debug/weir-gateway. Installs the suite, which wants Python 2.7, below
# target/conformance: the interpreter from Debian, the rest from PyPI.
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
# The server wants to be called by the port it listens on.
routes: [{ path: "/*", to: echo, rewrite: { host: "127.0.0.1:$server" } }]
YAML
"$home/suite/bin/wstest" -m echoserver -w "ws://127.0.0.1:$server" >"$work/server.log" 2>&1 &
children+=($!)
"$gateway" --config "$work/config/weir.yaml" --admin "127.0.0.1:$admin" \
  >"$work/gateway.log" 2>&1 &
children+=($!)
until curl -fsS "http://127.0.0.1:$admin/readyz" >/dev/null 2>&1 \
  && (: </dev/tcp/127.0.0.1/"$server") 2>/dev/null; do
  kill -0 "${children[@]}" 2>/dev/null || { cat "$work"/*.log >&2; exit 2; }
  sleep 0.1
done

# Asks the cases (a list of JSON) on both ways; what it found is in the directory $1.
ask() {
  cat > "$work/spec.json" <<JSON
{ "outdir": "$1",
  "servers": [
    { "agent": "direct", "url": "ws://127.0.0.1:$server" },
    { "agent": "weir", "url": "ws://127.0.0.1:$edge" } ],
  "cases": [$2], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {} }
JSON
  "$home/suite/bin/wstest" -m fuzzingclient -s "$work/spec.json" >"$work/client.log" 2>&1
}

ask "$work/reports" '"*"'
different=$(python3 - "$work/reports/index.json" <<'PYTHON'
import collections, json, sys

report = json.load(open(sys.argv[1]))
direct, weir = report["direct"], report["weir"]
verdict = lambda case: (case["behavior"], case["behaviorClose"])
different = [name for name, case in direct.items() if verdict(case) != verdict(weir[name])]
counts = collections.Counter(case["behavior"] for case in weir.values())
print(f"autobahn: {len(direct) - len(different)} of {len(direct)} verdicts equal; {dict(counts)}",
      file=sys.stderr)
print(",".join(f'"{name}"' for name in different) if direct else "none")
PYTHON
)
[ "$different" != none ] || exit 1
[ -n "$different" ] || exit 0
for round in $(seq "${ROUNDS:-20}"); do
  ask "$work/again/$round" "$different"
done
python3 - "$work"/reports/index.json "$work"/again/*/index.json <<'PYTHON'
import collections, json, sys

first, *again = [json.load(open(path)) for path in sys.argv[1:]]
seen = collections.defaultdict(collections.Counter)
for report in [first, *again]:
    for agent in ("direct", "weir"):
        for name in again[0][agent]:
            case = report[agent][name]
            seen[name, agent][case["behavior"], case["behaviorClose"]] += 1
foreign = 0
for name in sorted(again[0]["direct"]):
    direct, weir = seen[name, "direct"], seen[name, "weir"]
    foreign += bool(set(weir) - set(direct))
    shown = lambda counts: ", ".join(f"{number} x {'/'.join(verdict)}"
                                     for verdict, number in counts.most_common())
    print(f"case {name}: direct {shown(direct)}; through Weir {shown(weir)}")
print(f"autobahn: {foreign} cases with a verdict that was never given directly")
sys.exit(bool(foreign))
PYTHON
