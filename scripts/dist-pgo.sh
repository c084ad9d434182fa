#!/usr/bin/env bash
# Builds the binaries to ship twice: first so that they count what they execute, then, after the load
# of the benchmarks, so that what is executed often is laid out for it. Takes two `make dist` and two
# minutes. The binaries are in target/dist-pgo; docs/decisions/0017 has what it is worth.
#
# Needs a profile tool of the compiler's LLVM: that of rustup's component llvm-tools, or llvm-profdata
# of Debian's package of that version. LLVM_PROFDATA names another; SECONDS_EACH (default 2) is how long
# each scenario runs, twice.
set -euo pipefail
cd "$(dirname "$0")/.."

crates=(-p weir-cli -p weir-gateway -p weir-sidecar -p weir-control-plane -p weir-sample-services)
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

find_tool() {
  local tool
  for tool in "${LLVM_PROFDATA:-}" "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" \
    "llvm-profdata-$llvm" "/usr/lib/llvm-$llvm/bin/llvm-profdata"; do
    if [ -n "$tool" ] && command -v "$tool"; then return; fi
  done
  echo "no llvm-profdata of LLVM $llvm: rustup component add llvm-tools," \
    "or apt-get install llvm-$llvm" >&2
  exit 2
}
tool=$(find_tool)

# With a target, so that the flags are not for build scripts and macros. Everything else is as in
# `make dist`: the names of functions, by which counts are found again, depend on it.
build() { # directory, flags
  CARGO_TARGET_DIR=$1 RUSTFLAGS="${RUSTFLAGS:-} $2" \
    cargo build --locked --profile dist --target "$host" "${crates[@]}"
}

counts=$PWD/target/pgo/counts
rm -rf "$counts"
build target/pgo/counting "-Cprofile-generate=$counts"
cargo build --locked --release -p weir-benches
target/release/weir-bench --peers weir --rounds 1 --seconds "${SECONDS_EACH:-2}" \
  --scenarios h1,tls,h2,grpc,large,connections,routes,jwt,ws,pair \
  --weir-dir "target/pgo/counting/$host/dist" --out target/pgo/load >target/pgo/load.txt
"$tool" merge -o target/pgo/weir.profdata "$counts"
build target/pgo/guided "-Cprofile-use=$PWD/target/pgo/weir.profdata"

mkdir -p target/dist-pgo
for program in weir weir-gateway weir-sidecar weir-control-plane weir-sample-services; do
  cp --remove-destination "target/pgo/guided/$host/dist/$program" target/dist-pgo/
done
ls -l target/dist-pgo
