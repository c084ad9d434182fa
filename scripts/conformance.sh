#!/usr/bin/env bash
# Runs every suite in scripts/conformance and prints what each of them found. Each installs what it
# needs below target/conformance. The results of the last release are in docs/conformance.md.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=0
for suite in scripts/conformance/*.sh; do
  printf '\n== %s\n' "$(basename "$suite" .sh)"
  "$suite" || { echo "$(basename "$suite") failed"; failed=1; }
done
exit "$failed"
