#!/usr/bin/env bash
# CPU per request of the gateway beside nginx and HAProxy on the same work, in one run: HTTP/1.1
# keep-alive, a 1 KB response, one thread each on core 0; origin (nginx) and load (wrk) on core 1.
# Interleaved rounds; prints the median of utime+stime per completed request and the ratio to the
# better of the two peers. Needs nginx, haproxy and wrk from Debian; only loopback is loaded.
#
# ROUNDS (default 5), SECONDS_EACH (default 3), CONNECTIONS (default 64).
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}; seconds=${SECONDS_EACH:-3}; connections=${CONNECTIONS:-64}
missing=()
for tool in nginx haproxy wrk taskset; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "missing: ${missing[*]} (apt-get install nginx-light haproxy wrk util-linux)" >&2
  exit 2
fi

dir=$(mktemp -d)
# The origin's worker may run as another user.
chmod 755 "$dir"
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap finish EXIT

# The configuration has a directory of its own: the gateway watches it.
mkdir "$dir/logs" "$dir/conf"
head -c 1024 /dev/zero | tr '\0' 'x' > "$dir/1k"
common="daemon off; worker_processes 1; error_log $dir/error.log; "
cat > "$dir/origin.conf" <<CONF
$common pid $dir/origin.pid;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  server { listen 127.0.0.1:18100; location / { root $dir; } } }
CONF
cat > "$dir/nginx.conf" <<CONF
$common pid $dir/nginx.pid;
events { worker_connections 4096; }
http { access_log $dir/nginx-access.log combined buffer=32k; keepalive_requests 1000000000; keepalive_timeout 3600;
  upstream origin { server 127.0.0.1:18100; keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:18101; location / { proxy_pass http://origin; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header X-Forwarded-For \$remote_addr; } } }
CONF
cat > "$dir/haproxy.cfg" <<CONF
global
  nbthread 1
  maxconn 8000
  log 127.0.0.1:18514 local0
defaults
  mode http
  log global
  option httplog
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend f
  bind 127.0.0.1:18102
  option forwardfor
  default_backend b
backend b
  server o 127.0.0.1:18100
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

taskset -c 1 nginx -c "$dir/origin.conf" & pids+=($!)
taskset -c 0 nginx -c "$dir/nginx.conf" & pids+=($!); nginx_pid=$!
taskset -c 0 haproxy -f "$dir/haproxy.cfg" -db >/dev/null 2>&1 & pids+=($!); haproxy_pid=$!
taskset -c 0 target/dist/weir-gateway --config "$dir/conf/weir.yaml" --workers 1 --admin 127.0.0.1:18190 \
  --state-dir "$dir/state" 2>"$dir/weir.log" & pids+=($!); weir_pid=$!

ready() {
  local deadline=$((SECONDS + 20))
  until curl -sf -o /dev/null "http://127.0.0.1:$1/1k"; do
    if [ "$SECONDS" -gt "$deadline" ]; then
      echo "port $1 does not answer" >&2; cat "$dir/weir.log" >&2; exit 1
    fi
  done
}
for port in 18100 18101 18102 18103; do ready "$port"; done

# A process and its children, in clock ticks.
ticks() {
  local total=0 pid
  for pid in "$1" $(pgrep -P "$1" || true); do
    total=$((total + $(awk '{ print $14 + $15 }' "/proc/$pid/stat")))
  done
  echo "$total"
}
round() { # name port pid
  local before after requests
  before=$(ticks "$3")
  taskset -c 1 wrk -t1 -c"$connections" -d"${seconds}s" "http://127.0.0.1:$2/1k" > "$dir/wrk"
  after=$(ticks "$3")
  if grep -q 'Non-2xx\|Socket errors' "$dir/wrk"; then grep 'Non-2xx\|Socket errors' "$dir/wrk" | sed "s/^/$1: /"; fi
  requests=$(awk '/requests in/ { print $1 }' "$dir/wrk")
  awk -v t=$((after - before)) -v r="$requests" -v hz="$(getconf CLK_TCK)" \
    'BEGIN { printf "%.2f\n", t / hz * 1e6 / r }' >> "$dir/$1.us"
  awk '/Requests\/sec/ { print $2 }' "$dir/wrk" >> "$dir/$1.rps"
}
for _ in $(seq "$rounds"); do
  round nginx 18101 "$nginx_pid"
  round haproxy 18102 "$haproxy_pid"
  round weir 18103 "$weir_pid"
done

median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
best=$(printf '%s\n%s\n' "$(median "$dir/nginx.us")" "$(median "$dir/haproxy.us")" | sort -n | head -1)
printf '%-8s %14s %12s %18s %12s\n' proxy 'CPU us/request' 'requests/s' 'ratio to best peer' 'RSS MB'
for name in nginx haproxy weir; do
  pid=${name}_pid
  rss=0
  for p in "${!pid}" $(pgrep -P "${!pid}" || true); do
    rss=$((rss + $(awk '/VmRSS/ { print $2 }' "/proc/$p/status")))
  done
  awk -v n="$name" -v u="$(median "$dir/$name.us")" -v q="$(median "$dir/$name.rps")" -v b="$best" -v m="$rss" \
    'BEGIN { printf "%-8s %14.2f %12.0f %18.2f %12.1f\n", n, u, q, u / b, m / 1024 }'
done
nginx -v 2>&1; haproxy -v | head -1
