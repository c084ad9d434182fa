#!/usr/bin/env bash
# What TLS costs the gateway per request, and of what that consists: the upper bound of what kTLS
# could save. HTTP/1.1 keep-alive, clear text beside TLS 1.3 with AES-128-GCM; one worker on core 0,
# origin (nginx) and load (weir-load) on core 1. Slices are interleaved; prints the medians
# [least–greatest] of processor time per verified request (utime, stime), system calls per request
# (strace, in a load of its own), and the shares of processor time by samples of perf's cpu-clock,
# which needs no counters of the processor. Takes two minutes.
#
# Needs a gateway with its symbols (CARGO_PROFILE_DIST_STRIP=none make dist), weir-load (cargo build
# --release -p weir-benches), and nginx, perf, strace, openssl, curl from Debian; only loopback is
# loaded. GATEWAY (default target/dist/weir-gateway), LOAD (default target/release/weir-load), ROUNDS
# (default 5), SECONDS_EACH (default 2), BODIES (default "1k 100k").
set -euo pipefail
cd "$(dirname "$0")/.."

gateway=${GATEWAY:-target/dist/weir-gateway}; load=${LOAD:-target/release/weir-load}
rounds=${ROUNDS:-5}; seconds=${SECONDS_EACH:-2}
read -ra bodies <<< "${BODIES:-1k 100k}"
missing=()
for tool in nginx perf strace openssl curl python3 taskset "$gateway" "$load"; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "missing: ${missing[*]} (apt-get install nginx-light linux-perf strace openssl curl)" >&2
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

declare -A size=([1k]=1024 [100k]=102400 [1m]=1048576)
# What the gateway reads has directories of its own, which it watches: the origin opens files in
# another.
mkdir "$dir/logs" "$dir/conf" "$dir/tls"
for body in "${bodies[@]}"; do head -c "${size[$body]}" /dev/urandom > "$dir/$body"; done
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
openssl req -x509 "${key[@]}" -keyout "$dir/ca.key" -out "$dir/ca.pem" -subj /CN=authority \
  2>/dev/null
openssl req "${key[@]}" -keyout "$dir/tls/tls.key" -out "$dir/tls.csr" -subj /CN=localhost 2>/dev/null
openssl x509 -req -in "$dir/tls.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
  -days 2 -extfile <(echo subjectAltName=DNS:localhost) -out "$dir/tls/tls.pem" 2>/dev/null
cat > "$dir/origin.conf" <<CONF
daemon off; worker_processes 1; error_log $dir/error.log; pid $dir/origin.pid;
events { worker_connections 4096; }
http { access_log off; sendfile on; keepalive_requests 1000000000; keepalive_timeout 3600;
  server { listen 127.0.0.1:18410; location / { root $dir; } } }
CONF
cat > "$dir/conf/weir.yaml" <<CONF
listeners:
  clear: { bind: "127.0.0.1:18411" }
  secure:
    bind: "127.0.0.1:18412"
    tls: { certificates: [{ cert: "$dir/tls/tls.pem", key: "$dir/tls/tls.key" }] }
services:
  origin: { endpoints: ["127.0.0.1:18410"] }
routes:
  - { path: "/*", to: origin }
access_log: { file: "$dir/logs/weir-access.log" }
CONF
taskset -c 1 nginx -c "$dir/origin.conf" & pids+=($!)
taskset -c 0 "$gateway" --config "$dir/conf/weir.yaml" --workers 1 --admin 127.0.0.1:18419 \
  --state-dir "$dir/state" 2>"$dir/weir.log" & pids+=($!); weir=$!
deadline=$((SECONDS + 20))
until curl -sf -o /dev/null "http://127.0.0.1:18411/${bodies[0]}"; do
  if [ "$SECONDS" -gt "$deadline" ]; then cat "$dir/weir.log" >&2; exit 1; fi
done

requests() { # clear|secure body seconds: verified requests
  local where=(--target 127.0.0.1:18411)
  if [ "$1" = secure ]; then
    where=(--target 127.0.0.1:18412 --tls --ca "$dir/ca.pem" --server-name localhost)
  fi
  taskset -c 1 "$load" --protocol h1 "${where[@]}" --path "/$2" --connections 64 --duration "$3" \
    --warm-up 0 --expect-file "$dir/$2" > "$dir/load.json"
  python3 - "$dir/load.json" <<'PY'
import json, sys
got = json.load(open(sys.argv[1]))
errors = got["errors"]
errors = sum(errors.values()) if isinstance(errors, dict) else errors
if errors or not got["requests_with_warm_up"]:
    sys.exit(f"the load had errors: {got}")
print(got["requests_with_warm_up"])
PY
}
ticks() { awk '{ sub(/.*\) /, ""); print $12, $13 }' "/proc/$weir/stat"; }

for ((round = 0; round < rounds; round++)); do
  for body in "${bodies[@]}"; do
    order=(clear secure)
    if ((round % 2)); then order=(secure clear); fi
    for how in "${order[@]}"; do
      before=$(ticks); counted=$(requests "$how" "$body" "$seconds")
      echo "$how $body $before $(ticks) $counted" >> "$dir/slices"
    done
  done
done
for body in "${bodies[@]}"; do
  for how in clear secure; do
    strace -f -c -o "$dir/calls" -p "$weir" 2> "$dir/strace" & strace=$!; pids+=("$strace")
    deadline=$((SECONDS + 20))
    until grep -q attached "$dir/strace"; do
      if [ "$SECONDS" -gt "$deadline" ]; then cat "$dir/strace" >&2; exit 1; fi
    done
    counted=$(requests "$how" "$body" 1)
    kill -INT "$strace"; wait "$strace" 2>/dev/null || true
    awk -v who="$how $body" -v requests="$counted" '
      $NF != "total" && $4 ~ /^[0-9]+$/ { print who, $NF, $4 / requests }' \
      "$dir/calls" >> "$dir/calls.all"
    # As long as the load, but for its first moment: connections are made then.
    requests "$how" "$body" 6 > /dev/null & loading=$!; pids+=("$loading")
    taskset -c 1 perf record -q -e cpu-clock -F 2000 -p "$weir" -D 1000 -o "$dir/perf" \
      -- sleep 5.5 > /dev/null 2>&1
    wait "$loading"
    perf script -i "$dir/perf" -F ip,sym,dso 2>/dev/null \
      | awk -v who="$how $body" 'NF { print who, $0 }' >> "$dir/samples"
  done
done

HZ=$(getconf CLK_TCK) python3 - "$dir/slices" "$dir/calls.all" "$dir/samples" <<'PY'
import collections, os, re, statistics, sys
hz = int(os.environ["HZ"])
slices, calls = {}, {}
for line in open(sys.argv[1]):
    how, body, *numbers = line.split()
    user0, system0, user1, system1, requests = map(int, numbers)
    per = 1e6 / hz / requests
    slices.setdefault((body, how), []).append(
        ((user1 - user0 + system1 - system0) * per, (user1 - user0) * per, (system1 - system0) * per))
for line in open(sys.argv[2]):
    how, body, name, count = line.split()
    calls.setdefault((body, how), []).append((float(count), name))
print("| body | | CPU µs per request | user | system | system calls per request |")
print("|---|---|---|---|---|---|")
for (body, how), rows in sorted(slices.items(), key=lambda item: (len(item[0][0]), item[0][1])):
    total, user, system = zip(*rows)
    counted = sorted(calls[(body, how)], reverse=True)
    names = ", ".join(f"{name} {count:.2f}" for count, name in counted[:5] if count >= 0.01)
    print(f"| {body} | {how} | {statistics.median(total):.2f} [{min(total):.2f}–{max(total):.2f}] "
          f"| {statistics.median(user):.2f} | {statistics.median(system):.2f} "
          f"| {sum(c for c, _ in counted):.2f} ({names}) |")

KINDS = (
    ("AES-GCM", r"gcm|aes_|aesni|vaes|ghash|EVP_AEAD|CRYPTO_", False),
    ("copies in user space", r"mem(move|cpy|set)", False),
    ("rustls otherwise", r"rustls", False),
    ("copies in the kernel", r"copy_(from|to)_(iter|user)|rep_movs|csum_and_copy", True),
)
shares = {}
top = {}
for line in open(sys.argv[3]):
    how, body, _, *rest = line.split(maxsplit=3)
    symbol = rest[0] if rest else ""
    in_kernel = "[kernel" in symbol
    kind = "the kernel otherwise" if in_kernel else "user space otherwise"
    for name, pattern, kernel in KINDS:
        if kernel == in_kernel and re.search(pattern, symbol.split(" (")[0]):
            kind = name
            break
    counter = shares.setdefault((body, how), collections.Counter())
    counter[kind] += 1
    if kind == "AES-GCM":
        top.setdefault((body, how), collections.Counter())[symbol.split(" (")[0]] += 1
kinds = [name for name, _, _ in KINDS] + ["user space otherwise", "the kernel otherwise"]
print()
print("| body | | samples | " + " | ".join(f"{kind} %" for kind in kinds) + " |")
print("|---|---|---|" + "---|" * len(kinds))
for (body, how), counter in sorted(shares.items(), key=lambda item: (len(item[0][0]), item[0][1])):
    samples = sum(counter.values())
    print(f"| {body} | {how} | {samples} | "
          + " | ".join(f"{100 * counter[kind] / samples:.1f}" for kind in kinds) + " |")
print()
for (body, how), counter in top.items():
    print(f"AES-GCM of {body} {how}:", ", ".join(name for name, _ in counter.most_common(4)))
PY
