#!/usr/bin/env bash
# sslyze against a TLS listener, by Mozilla's "intermediate" profile. Needs target/debug/weir-gateway.
# Installs sslyze from PyPI below target/conformance.
set -euo pipefail
cd "$(dirname "$0")/../.."

home=target/conformance/sslyze
gateway=target/debug/weir-gateway
[ -x "$gateway" ] || { echo "build it first: make build" >&2; exit 2; }
if [ ! -x "$home/bin/sslyze" ]; then
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet 'sslyze==6.3.1'
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
edge=$(free_port)
admin=$(free_port)
work=$(mktemp -d)
finish() { kill "$child" 2>/dev/null || true; rm -rf "$work"; }
child=
trap finish EXIT

# A root that sslyze is told to trust, and a certificate as an authority on the web would sign it.
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
new_key "$work/root.key"
openssl req -x509 -new -key "$work/root.key" -subj "/CN=test root" -days 30 -out "$work/root.pem" \
  -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign
new_key "$work/edge.key"
openssl req -new -key "$work/edge.key" -subj "/CN=localhost" -out "$work/edge.csr"
cat > "$work/extensions" <<EXTENSIONS
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost
EXTENSIONS
openssl x509 -req -in "$work/edge.csr" -CA "$work/root.pem" -CAkey "$work/root.key" -days 30 \
  -CAcreateserial -extfile "$work/extensions" -out "$work/edge.pem" 2>"$work/openssl.log"

mkdir "$work/config"
cat > "$work/config/weir.yaml" <<YAML
listeners:
  web:
    bind: "127.0.0.1:$edge"
    tls: { certificates: [{ cert: "$work/edge.pem", key: "$work/edge.key" }] }
routes: [{ path: "/*", respond: { status: 200 } }]
YAML
"$gateway" --config "$work/config/weir.yaml" --admin "127.0.0.1:$admin" >"$work/gateway.log" 2>&1 &
child=$!
until curl -fsS "http://127.0.0.1:$admin/readyz" >/dev/null 2>&1; do
  kill -0 "$child" 2>/dev/null || { cat "$work/gateway.log" >&2; exit 2; }
  sleep 0.1
done
"$home/bin/sslyze" --mozilla_config intermediate --certinfo_ca_file "$work/root.pem" \
  "localhost:$edge" >"$work/report" && verdict=0 || verdict=$?
grep -A3 'MOZILLA' "$work/report" | tail -2 || tail -20 "$work/report"
[ "$verdict" = 0 ] && echo "sslyze: intermediate profile: compliant" || exit 1
