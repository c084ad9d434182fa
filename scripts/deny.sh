#!/usr/bin/env bash
# Advisories, licences, bans and sources by cargo-deny, installed below target/ when missing.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cargo-deny >/dev/null; then
  [ -x target/deny/bin/cargo-deny ] || cargo install cargo-deny --locked --root target/deny
  PATH="$PWD/target/deny/bin:$PATH"
fi
# The advisory database is fetched from its public repository; without that network the other checks
# still run.
cargo deny --all-features check bans licenses sources
cargo deny --all-features check advisories || {
  echo "advisories were not checked: the database could not be read" >&2
  [ "${DENY_STRICT:-0}" = 0 ]
}
