#!/usr/bin/env bash
# Installs the Debian packages that a verb of the Makefile needs and that are missing; says which.
# usage: packages.sh build|test|lint|fuzz|bench|interop ...   (sudo only where the user is not root)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# package=FILE-that-proves-it, where a file is enough to know; otherwise dpkg is asked.
build="gcc make pkg-config ca-certificates libc6-dev libev-dev libcjson-dev libhttp-parser-dev"
interpreter="dpkg-dev xz-utils libssl-dev libsqlite3-dev libffi-dev zlib1g-dev libbz2-dev liblzma-dev uuid-dev"
tests="libcmocka-dev valgrind"
lint="clang clang-format clang-tidy"
fuzz="clang llvm libclang-rt-14-dev|libclang-rt-19-dev|libclang-rt-dev"
bench="wrk valgrind"
interop="curl wrk postgresql redis-server nodejs chromium nginx-light|nginx haproxy nghttp2-client"

wanted=""
for set in "$@"; do
    case "$set" in
    build) wanted="$wanted $build" ;;
    interpreter) wanted="$wanted $interpreter" ;;
    test) wanted="$wanted $tests" ;;
    lint) wanted="$wanted $lint" ;;
    fuzz) wanted="$wanted $fuzz" ;;
    bench) wanted="$wanted $bench" ;;
    interop) wanted="$wanted $interop" ;;
    *) die "packages.sh: no package set is called '$set' (build interpreter test lint fuzz bench interop)" ;;
    esac
done

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=""
for entry in $wanted; do
    have=no
    for alternative in ${entry//|/ }; do
        if installed "$alternative"; then have=yes; fi
    done
    [ "$have" = yes ] || missing="$missing $entry"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null ||
    die "these packages are missing:$missing; this is not a Debian system, so install their equivalents and run again"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing:$missing; become root or install sudo"
    as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
with_progress "reading the package lists" "$CACHE/log/apt-update.log" "${as_root[@]}" apt-get update
choice=""
for entry in $missing; do # of alternatives, the first that this release offers
    for alternative in ${entry//|/ }; do
        if [ -n "$(apt-cache madison "$alternative" 2>/dev/null)" ]; then
            choice="$choice $alternative"
            break
        fi
    done
done
say "installing:$choice"
# shellcheck disable=SC2086
with_progress "installing packages" "$CACHE/log/apt-install.log" \
    "${as_root[@]}" apt-get install -y --no-install-recommends $choice
