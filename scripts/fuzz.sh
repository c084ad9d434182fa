#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS (default 20). cargo-fuzz is installed below target/ when
# missing; the sanitizer flags it passes want unstable options of the compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTC_BOOTSTRAP=1
if ! command -v cargo-fuzz >/dev/null; then
  [ -x target/fuzz-tool/bin/cargo-fuzz ] || cargo install cargo-fuzz --locked --root target/fuzz-tool
  PATH="$PWD/target/fuzz-tool/bin:$PATH"
fi
for target in $(cargo fuzz list); do
  echo "== $target"
  cargo fuzz run "$target" -- -max_total_time="${FUZZ_SECONDS:-20}" -rss_limit_mb=4096
done
