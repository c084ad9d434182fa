#!/usr/bin/env bash
# Runs http-cache-tests (https://cache-tests.fyi) through a gateway that caches: its own server as
# the origin, its own client. Prints the counts by kind and every required check that fails; ends
# with 1 when fewer than REQUIRED_MIN required checks pass. Needs target/debug/weir-gateway and npm;
# the suite is installed below target/. Results: target/conformance/http-cache.json.
set -euo pipefail
cd "$(dirname "$0")/../.."

REQUIRED_MIN=${REQUIRED_MIN:-142}
version=0.4.5
peers=target/test-peers/http-cache-tests
suite=$peers/node_modules/http-cache-tests
gateway=${WEIR_GATEWAY:-target/debug/weir-gateway}
results=target/conformance/http-cache.json

[ -x "$gateway" ] || { echo "no $gateway: cargo build -p weir-gateway" >&2; exit 2; }
if ! grep -q "\"version\": \"$version\"" "$suite/package.json" 2>/dev/null; then
  mkdir -p "$peers"
  npm install --silent --no-audit --no-fund --prefix "$peers" "http-cache-tests@$version"
fi
mkdir -p "$(dirname "$results")"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
origin=$(free_port); edge=$(free_port); admin=$(free_port)
run=$(mktemp -d)
started=()
stop() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$run"
}
trap stop EXIT

cat > "$run/weir.yaml" <<YAML
listeners: { web: { bind: "127.0.0.1:$edge" } }
access_log: { file: $run/access.log }
services: { origin: { endpoints: ["127.0.0.1:$origin"], outlier: false } }
routes:
  - { path: "/test/*", to: origin, cache: {} }
  - { path: "/*", to: origin }
YAML

(cd "$suite" && npm_config_port=$origin npm_config_protocol=http npm_config_pidfile="$run/origin.pid" \
  exec node --no-warnings server/server.mjs) > "$run/origin.log" 2>&1 &
started+=($!)
"$gateway" --config "$run/weir.yaml" --state-dir "$run/state" --admin "127.0.0.1:$admin" > "$run/gateway.log" 2>&1 &
started+=($!)
for _ in $(seq 100); do
  if curl -sf -o /dev/null "http://127.0.0.1:$admin/ready" && curl -s -o /dev/null "http://127.0.0.1:$origin/"; then
    break
  fi
  sleep 0.1
done

(cd "$suite" && npm_config_base="http://127.0.0.1:$edge" npm_package_config_id="${1:-}" node --no-warnings cli.mjs) > "$run/out"
if [ -n "${1:-}" ]; then
  cat "$run/out" "$run/origin.log"
  exit
fi
cp "$run/out" "$results"

cat > "$run/count.mjs" <<'JS'
import fs from 'fs'
import { pathToFileURL } from 'url'
const [suite, results, least] = process.argv.slice(2)
const load = async name => (await import(pathToFileURL(`${suite}/tests/${name}.mjs`))).default
const suites = await load('index')
const surrogate = await load('surrogate-control')
if (!suites.includes(surrogate)) suites.push(surrogate)
const said = JSON.parse(fs.readFileSync(results))
const counts = {}
const failed = []
for (const suite of suites) {
  for (const test of suite.tests) {
    if (!(test.id in said)) continue
    const kind = test.kind ?? 'required'
    const count = counts[kind] ??= { passed: 0, of: 0 }
    count.of += 1
    if (said[test.id] === true) count.passed += 1
    else if (kind === 'required') failed.push(`${test.id}: ${said[test.id].join(': ')}`)
  }
}
for (const [kind, { passed, of }] of Object.entries(counts)) console.log(`${kind}: ${passed} of ${of}`)
for (const line of failed) console.log(`  failed: ${line}`)
if (!(counts.required?.passed >= Number(least))) {
  console.log(`fewer than ${least} required checks pass`)
  process.exit(1)
}
JS
node --no-warnings "$run/count.mjs" "$(realpath "$suite")" "$(realpath "$results")" "$REQUIRED_MIN"
