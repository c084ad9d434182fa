#!/usr/bin/env bash
# What io_uring and splice are worth: the same forwarder by hand on epoll, on epoll with the bodies
# of large responses spliced, and on io_uring. HTTP/1.1 keep-alive in clear text; each proxy has one
# thread on core 0, origin (nginx) and load (wrk) have core 1. Slices are interleaved, and their order
# changes from round to round. Prints medians [least–greatest] of processor time per request (utime,
# stime, all threads), system calls per request (a load of its own under strace), and requests per
# second; says at the end whether the kernel could do TLS. Takes three minutes. Needs nginx,
# wrk, strace, curl from Debian; only loopback is loaded. Builds the proxies without the engines of
# others.
#
# ROUNDS (default 6: each order of three once), SECONDS_EACH (default 2), CONNECTIONS (default 64), BODIES (default "1k 100k
# 1m"), PROXIES (default "epoll splice uring").
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-6}; seconds=${SECONDS_EACH:-2}; connections=${CONNECTIONS:-64}
read -ra bodies <<< "${BODIES:-1k 100k 1m}"
read -ra proxies <<< "${PROXIES:-epoll splice uring}"
missing=()
for tool in nginx wrk strace curl python3 taskset; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "missing: ${missing[*]} (apt-get install nginx-light wrk strace curl python3 util-linux)" >&2
  exit 2
fi
cargo build --quiet --locked --release --no-default-features --bin peer-epoll --bin peer-uring \
  --manifest-path benches/peers/Cargo.toml --target-dir target/peers

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

declare -A size=([1k]=1024 [16k]=16384 [32k]=32768 [64k]=65536 [100k]=102400 [1m]=1048576)
declare -A port=([epoll]=18401 [splice]=18402 [uring]=18403)
declare -A pid
for body in "${bodies[@]}"; do head -c "${size[$body]}" /dev/urandom > "$dir/$body"; done
cat > "$dir/origin.conf" <<CONF
daemon off; worker_processes 1; error_log $dir/error.log; pid $dir/origin.pid;
events { worker_connections 4096; }
http { access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 3600;
  server { listen 127.0.0.1:18400; location / { root $dir; } } }
CONF
cat > "$dir/done.lua" <<'LUA'
function done(summary)
  local e = summary.errors
  print("counted", summary.requests, summary.bytes, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout)
end
LUA
taskset -c 1 nginx -c "$dir/origin.conf" & pids+=($!)

ready() { # port
  local deadline=$((SECONDS + 20))
  until curl -sf -o /dev/null "http://127.0.0.1:$1/${bodies[0]}"; do
    if [ "$SECONDS" -gt "$deadline" ]; then echo "port $1 does not answer" >&2; exit 1; fi
  done
}
ready 18400
start() { # name program arguments…
  taskset -c 0 "target/peers/release/$2" "127.0.0.1:${port[$1]}" 127.0.0.1:18400 "${@:3}" \
    > "$dir/$1.log" & pid[$1]=$!; pids+=("${pid[$1]}")
  ready "${port[$1]}"
}
for proxy in "${proxies[@]}"; do
  case $proxy in
    epoll) start epoll peer-epoll ;;
    splice) start splice peer-epoll --splice ;;
    uring) start uring peer-uring ;;
    *) echo "no proxy $proxy: epoll, splice or uring" >&2; exit 2 ;;
  esac
done

# Each body of each proxy, eight on one connection after another, then eight at once.
verify() {
  local proxy body url copies copy
  for proxy in "${proxies[@]}"; do
    for body in "${bodies[@]}"; do
      url="http://127.0.0.1:${port[$proxy]}/$body"
      copies=()
      for copy in 1 2 3 4 5 6 7 8; do copies+=(-o "$dir/got.$copy" "$url"); done
      for at_once in "" "--no-progress-meter --parallel --parallel-immediate"; do
        rm -f "$dir"/got.*
        # shellcheck disable=SC2086
        curl -sf $at_once "${copies[@]}"
        for copy in 1 2 3 4 5 6 7 8; do
          cmp -s "$dir/got.$copy" "$dir/$body" || { echo "$proxy: $body is not whole" >&2; exit 1; }
        done
      done
    done
  done
}
verify

load() { # proxy body seconds: "requests microseconds", verified by their number of bytes
  taskset -c 1 wrk -t1 -c"$connections" -d"$3s" -s "$dir/done.lua" \
    "http://127.0.0.1:${port[$1]}/$2" > "$dir/wrk"
  awk -v who="$1 $2" -v size="${size[$2]}" '
    $1 == "counted" {
      if ($5 > 0) { print who ": " $5 " errors" > "/dev/stderr"; exit 1 }
      if ($3 < $2 * size) { print who ": bodies are not whole" > "/dev/stderr"; exit 1 }
      print $2, $4; found = 1
    }
    END { if (!found) exit 1 }' "$dir/wrk"
}
ticks() { awk '{ sub(/.*\) /, ""); print $12, $13 }' "/proc/$1/stat"; }

for body in "${bodies[@]}"; do
  for proxy in "${proxies[@]}"; do load "$proxy" "$body" 1 > /dev/null; done
done
# Round after round another proxy begins, and the order is turned round: no proxy has a place of its
# own, nor always the same one before it.
for ((round = 0; round < rounds; round++)); do
  for body in "${bodies[@]}"; do
    for ((n = 0; n < ${#proxies[@]}; n++)); do
      place=$((round + (round % 2 ? n : ${#proxies[@]} - 1 - n)))
      proxy=${proxies[place % ${#proxies[@]}]}
      before=$(ticks "${pid[$proxy]}")
      counted=$(load "$proxy" "$body" "$seconds")
      echo "$proxy $body $before $(ticks "${pid[$proxy]}") $counted" >> "$dir/slices"
    done
  done
done

for proxy in "${proxies[@]}"; do
  for body in "${bodies[@]}"; do
    strace -f -c -o "$dir/calls" -p "${pid[$proxy]}" 2> "$dir/strace" & strace=$!
    pids+=("$strace")
    deadline=$((SECONDS + 20))
    until grep -q attached "$dir/strace"; do
      if [ "$SECONDS" -gt "$deadline" ]; then cat "$dir/strace" >&2; exit 1; fi
    done
    counted=$(load "$proxy" "$body" 1)
    kill -INT "$strace"; wait "$strace" 2>/dev/null || true
    awk -v who="$proxy $body" -v requests="${counted% *}" '
      $NF != "total" && $4 ~ /^[0-9]+$/ { print who, $NF, $4 / requests }' \
      "$dir/calls" >> "$dir/calls.all"
  done
done
verify

HZ=$(getconf CLK_TCK) python3 - "$dir/slices" "$dir/calls.all" <<'PY'
import os, statistics, sys
hz = int(os.environ["HZ"])
slices, calls = {}, {}
for line in open(sys.argv[1]):
    proxy, body, *numbers = line.split()
    user0, system0, user1, system1, requests, duration = map(int, numbers)
    per = 1e6 / hz / requests
    slices.setdefault((body, proxy), []).append((
        (user1 - user0 + system1 - system0) * per, (user1 - user0) * per, (system1 - system0) * per,
        requests / duration * 1e6, (user1 - user0 + system1 - system0) / hz / duration * 1e8))
for line in open(sys.argv[2]):
    proxy, body, name, count = line.split()
    calls.setdefault((body, proxy), []).append((float(count), name))
print("| body | proxy | CPU µs per request | ÷ epoll | user | system | system calls per request "
      "| requests/s | core 0 busy % |")
print("|---|---|---|---|---|---|---|---|---|")
for (body, proxy), rows in slices.items():
    total, user, system, rate, busy = zip(*rows)
    base = slices.get((body, "epoll"), rows)
    ratio = statistics.median(total) / statistics.median(row[0] for row in base)
    spread = lambda v: f"{statistics.median(v):.2f} [{min(v):.2f}–{max(v):.2f}]"
    counted = sorted(calls[(body, proxy)], reverse=True)
    names = ", ".join(f"{name} {count:.2f}" for count, name in counted[:4] if count >= 0.01)
    print(f"| {body} | {proxy} | {spread(total)} | {ratio:.2f} | {statistics.median(user):.2f} "
          f"| {statistics.median(system):.2f} | {sum(c for c, _ in counted):.2f} ({names}) "
          f"| {statistics.median(rate):,.0f} | {statistics.median(busy):.0f} |")
PY
echo
echo "$rounds rounds of $seconds s, $connections connections; Linux $(uname -r);" \
  "$(nginx -v 2>&1); load average at the end $(cut -d' ' -f1-3 /proc/loadavg)"

python3 - <<'PY'
import errno, socket
TCP_ULP = 31
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
try:
    client.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    print("kTLS: this kernel has the `tls` ULP; docs/decisions/0016-ktls.md says what to measure")
except OSError as error:
    if error.errno != errno.ENOENT:
        raise
    print("kTLS: cannot be measured: this kernel has no `tls` ULP (CONFIG_TLS is not set, or the "
          "module is not there): setsockopt(TCP_ULP, \"tls\") failed with ENOENT")
PY
