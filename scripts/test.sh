#!/usr/bin/env bash
# Format, lint, unit tests, end-to-end tests. Installs what is missing first. The last line counts
# the tests of all parts.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-test-deps.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

step "format"
cargo fmt --all --check
step "lint"
cargo clippy --locked --workspace --all-targets -- -D warnings
# A workspace of its own, which only `make fuzz` builds otherwise.
cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir target
step "build"
cargo build --locked -p weir-cli -p weir-gateway -p weir-sidecar -p weir-control-plane \
  -p weir-sample-services

status=0
step "unit"
cargo nextest run --locked --workspace --exclude weir-e2e --no-fail-fast 2>&1 | tee -a "$log" || status=1
step "instruction counts"
cargo nextest run --locked --cargo-profile counted -p weir-micro --test counts --no-fail-fast 2>&1 \
  | tee -a "$log" || status=1
step "documentation examples"
cargo test --locked --workspace --doc --quiet 2>&1 | tee -a "$log" || status=1
step "end to end"
cargo nextest run --locked -p weir-e2e --no-fail-fast 2>&1 | tee -a "$log" || status=1

# nextest: "Summary [ 1.2s] 10 tests run: 9 passed (1 slow), 1 failed, 0 skipped";
# cargo test: "test result: ok. 2 passed; 0 failed; …".
sum() {
  sed -e 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^ *Summary|^test result:' \
    | grep -oE "[0-9]+ $1" | awk '{ total += $1 } END { print total + 0 }'
}
printf '\n%s passed, %s failed\n' "$(sum passed)" "$(sum failed)"
exit "$status"
