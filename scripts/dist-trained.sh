#!/usr/bin/env bash
# Builds the binaries to ship twice: instrumented first, to count what they do while the benchmarks'
# scenarios run for half a minute each, then optimised by those counts (profile-guided
# optimisation). Ends with them in target/dist. Takes two to three times as long as `make dist`.
#
# The profile is kept in target/trained/weir.profdata. TRAINING: other scenarios of `make bench`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
# The profile's format belongs to the compiler's LLVM.
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
merge() {
  local tool
  for tool in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "llvm-profdata-$llvm"; do
    if command -v "$tool" >/dev/null; then "$tool" merge "$@"; return; fi
  done
  install_packages "llvm-$llvm"
  "llvm-profdata-$llvm" merge "$@"
}

dir=$PWD/target/trained
trainees=(-p weir-gateway -p weir-sidecar -p weir-control-plane)
rm -rf "$dir/raw"
mkdir -p "$dir"

# With a target of its own, build scripts and macros are not instrumented. Nothing that matters to
# the counts happens at link time.
RUSTFLAGS="-Cprofile-generate=$dir/raw" CARGO_PROFILE_DIST_LTO=off \
  "$cargo" build --locked --profile dist --target "$host" --target-dir "$dir/build" "${trainees[@]}"
"$cargo" build --locked --release -p weir-benches

target/release/weir-bench --peers weir --rounds 1 --seconds 5 --out "$dir/report" \
  --weir-dir "$dir/build/$host/dist" \
  --scenarios "${TRAINING:-h1,tls,h2,grpc,large,connections,routes,jwt,ws,pair}"
merge -o "$dir/weir.profdata" "$dir"/raw/*.profraw

RUSTFLAGS="-Cprofile-use=$dir/weir.profdata" "$cargo" build --locked --profile dist "$@"
