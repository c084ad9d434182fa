#!/usr/bin/env bash
# Installs what the tests need and this machine lacks: Debian packages (HAProxy and nginx among
# them, to stand before and behind the gateway; valgrind, to count instructions; a C++ compiler, for
# the library of the fuzz targets), a real Consul, cargo-nextest, and, below target/, a Python venv
# with Flask, grpcio and websockets and a folder with Express (services and clients of the kind that
# people have, for tests that put the gateway in front of them). Does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/packages.sh

packages=()
command -v curl >/dev/null || packages+=(curl)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
command -v npm >/dev/null || packages+=(nodejs npm)
command -v c++ >/dev/null || packages+=(g++)
command -v openssl >/dev/null || packages+=(openssl)
command -v haproxy >/dev/null || packages+=(haproxy)
command -v nginx >/dev/null || packages+=(nginx-light)
command -v promtool >/dev/null || packages+=(prometheus)
command -v valgrind >/dev/null || packages+=(valgrind)
install_packages ${packages[@]+"${packages[@]}"}

scripts/install-consul.sh

command -v cargo-nextest >/dev/null || cargo install cargo-nextest --locked

peers=target/test-peers
mkdir -p "$peers"
if ! "$peers/venv/bin/python" -c 'import flask, grpc, websockets' 2>/dev/null; then
  python3 -m venv "$peers/venv"
  "$peers/venv/bin/pip" install --quiet 'flask==3.1.3' 'grpcio==1.76.0' 'websockets==15.0.1'
fi
if [ ! -d "$peers/node_modules/express" ]; then
  npm install --silent --no-audit --no-fund --prefix "$peers" express@5.1.0
fi
