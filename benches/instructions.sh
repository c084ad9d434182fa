#!/usr/bin/env bash
# Instructions per request that the gateway executes in user space, by callgrind: HTTP/1.1
# keep-alive, a 1 KB response, one worker. Unlike times they do not depend on what else the machine
# does; two runs differ by about one part in a hundred. Needs target/dist/weir-gateway (for names of
# functions build it with CARGO_PROFILE_DIST_STRIP=none CARGO_PROFILE_DIST_DEBUG=line-tables-only),
# and valgrind, nginx, nghttp2-client from Debian; only loopback is used.
#
# REQUESTS (default 4000), PROFILE (where to keep what callgrind wrote; else it is removed).
set -euo pipefail
cd "$(dirname "$0")/.."

requests=${REQUESTS:-4000}
missing=()
for tool in valgrind callgrind_control nginx h2load; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "missing: ${missing[*]} (apt-get install valgrind nginx-light nghttp2-client)" >&2
  exit 2
fi

dir=$(mktemp -d)
# The origin's worker may run as another user.
chmod 755 "$dir"
profile=${PROFILE:-$dir/profile}
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap finish EXIT

mkdir "$dir/logs" "$dir/conf"
head -c 1024 /dev/zero | tr '\0' 'x' > "$dir/1k"
cat > "$dir/origin.conf" <<CONF
daemon off; worker_processes 1; error_log $dir/error.log; pid $dir/origin.pid;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  server { listen 127.0.0.1:18100; location / { root $dir; } } }
CONF
cat > "$dir/conf/weir.yaml" <<CONF
listeners:
  web: { bind: "127.0.0.1:18103" }
services:
  origin: { endpoints: ["127.0.0.1:18100"] }
routes:
  - { path: "/*", to: origin }
access_log: { file: "$dir/logs/weir-access.log" }
CONF
nginx -c "$dir/origin.conf" & pids+=($!)
valgrind -q --tool=callgrind --instr-atstart=no --callgrind-out-file="$profile" \
  target/dist/weir-gateway --config "$dir/conf/weir.yaml" --workers 1 --admin 127.0.0.1:18190 \
  --state-dir "$dir/state" 2>"$dir/weir.log" & pids+=($!); weir=$!

deadline=$((SECONDS + 60))
until curl -sf -o /dev/null http://127.0.0.1:18103/1k; do
  if [ "$SECONDS" -gt "$deadline" ]; then cat "$dir/weir.log" >&2; exit 1; fi
done
load() { h2load --h1 -c 8 -n "$1" http://127.0.0.1:18103/1k; }
load "$((requests / 2))" >/dev/null # pools, buffers and caches fill
callgrind_control -i on "$weir" >/dev/null 2>&1
load "$requests" > "$dir/load"
callgrind_control -i off "$weir" >/dev/null 2>&1
grep -q "status codes: $requests 2xx" "$dir/load" || { cat "$dir/load" >&2; exit 1; }
kill "$weir"; wait "$weir" || true
awk -v n="$requests" '/^totals:/ { printf "%.0f instructions per request\n", $2 / n }' "$profile"
