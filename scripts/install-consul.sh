#!/bin/sh
# Installs a Consul agent for the tests, from Debian.
#
# Consul left Debian after bullseye, so this adds a bullseye source beside the present release: the
# mirror and the signing keys are those that the machine already uses, and the pin keeps bullseye
# below every other source, so that nothing else is ever taken from it. Safe to run again.
set -eu

RELEASE=bullseye
SOURCES=/etc/apt/sources.list.d/weir-consul.sources
PREFERENCES=/etc/apt/preferences.d/weir-consul
KEYRING_FALLBACK=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'install-consul: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

if command -v consul >/dev/null 2>&1; then
    exit 0
fi
command -v apt-get >/dev/null 2>&1 ||
    die "apt-get is missing; install a consul binary (1.8 or later) into PATH by hand"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "must be root (or have sudo) to run: $*"
    fi
}

# A source of the Debian release itself is one whose suite is plain: neither its security nor its
# updates, and not some other vendor's, so the URI must also carry the component "main" and a suite
# named like the running release (or stable). Answers "URI|signed-by" of the first such source.
codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
[ -n "$codename" ] || die "VERSION_CODENAME is missing in /etc/os-release; is this Debian?"

from_deb822() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] && [ "$file" != "$SOURCES" ] || continue
        # Paragraphs end at blank lines; comment lines do not belong to a field.
        awk -v codename="$codename" '
            function wanted(suites, components,   list, count, i) {
                if (components !~ /(^| )main( |$)/) return 0
                count = split(suites, list, " ")
                for (i = 1; i <= count; i++)
                    if (list[i] == codename || list[i] == "stable") return 1
                return 0
            }
            function flush(   uris) {
                if (field["types"] ~ /(^| )deb( |$)/ && tolower(field["enabled"]) != "no" &&
                    wanted(field["suites"], field["components"])) {
                    split(field["uris"], uris, " ")
                    print uris[1] "|" field["signed-by"]
                    exit
                }
                delete field
                name = ""
            }
            /^#/ { next }
            /^[ \t]*$/ { flush(); next }
            /^[ \t]/ { sub(/^[ \t]+/, ""); field[name] = field[name] " " $0; next }
            {
                name = tolower(substr($0, 1, index($0, ":") - 1))
                value = substr($0, index($0, ":") + 1)
                gsub(/^[ \t]+|[ \t]+$/, "", value)
                field[name] = value
            }
            END { flush() }
        ' "$file"
    done
}

from_one_line() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        awk -v codename="$codename" '
            $1 != "deb" { next }
            {
                line = $0
                signed = ""
                if (match(line, /\[[^]]*\]/)) {
                    options = substr(line, RSTART + 1, RLENGTH - 2)
                    line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
                    count = split(options, option, " ")
                    for (i = 1; i <= count; i++)
                        if (option[i] ~ /^signed-by=/) signed = substr(option[i], 11)
                }
                count = split(line, part, " ")
                if (part[3] != codename && part[3] != "stable") next
                for (i = 4; i <= count; i++)
                    if (part[i] == "main") { print part[2] "|" signed; exit }
            }
        ' "$file"
    done
}

source_line=$( { from_deb822; from_one_line; } | head -n 1 )
[ -n "$source_line" ] ||
    die "no apt source of Debian $codename with component main found to take the mirror from"
mirror=${source_line%%|*}
keyring=${source_line#*|}
# An embedded key or none at all: the archive keyring holds the keys of past releases as well.
case $keyring in
    /*) ;;
    *) keyring=$KEYRING_FALLBACK ;;
esac
[ -r "$keyring" ] || die "keyring $keyring is not readable; install debian-archive-keyring"

if [ "$codename" != "$RELEASE" ]; then
    say "adding a $RELEASE source with the present mirror, pinned at 50"
    as_root tee "$SOURCES" >/dev/null <<SOURCE
Types: deb
URIs: $mirror
Suites: $RELEASE
Components: main
Signed-By: $keyring
SOURCE
    as_root tee "$PREFERENCES" >/dev/null <<PIN
Package: *
Pin: release n=$RELEASE
Pin-Priority: 50
PIN
fi

# Another source that is down must not matter: what counts is whether consul can then be had.
as_root apt-get update || say "apt-get update reported errors; trying all the same"
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends consul
command -v consul >/dev/null 2>&1 || die "the package is installed but consul is not on PATH"
consul version | head -n 1 >&2
