#!/usr/bin/env bash
# Provides the two interpreters that oarlock is built for: one with the GIL, one free-threaded,
# from one source with the same flags, in a cache outside the tree.
#
# usage: interpreters.sh gil|ft [address|thread]
#   prints the path of the interpreter's python on standard output; everything else goes to standard error.
#   PYTHON= (for gil) and FT_PYTHON= (for ft) name an interpreter of the user's instead; it is checked.
#   OPTIMIZED=1 builds with PGO and LTO. The second argument asks for a sanitizer build.
#
# A build counts only when it is finished and when the modules that applications need import (see usable()).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

kind=${1:?gil or ft}
sanitizer=${2:-}
case "$kind" in
gil) given=${PYTHON:-} ;;
ft) given=${FT_PYTHON:-} ;;
*) die "interpreters.sh: '$kind' is neither gil nor ft" ;;
esac

usable() { # PYTHON: do the optional modules work?
    "$1" -c 'import ssl, sqlite3, ctypes, zlib, bz2, lzma, uuid, venv' >/dev/null 2>&1
}

if [ -n "$given" ] && [ -z "$sanitizer" ]; then
    found=$(command -v "$given" || true)
    [ -n "$found" ] || die "$([ "$kind" = gil ] && echo PYTHON || echo FT_PYTHON)=$given is not a program on this machine"
    "$found" "$here/check_python.py" "$kind" || exit 1
    echo "$found"
    exit 0
fi

# ---- the source: Debian's python3.13, by apt-get's source verb and lists of our own ----
suite=trixie
fetch_source() { # into $CACHE/source; the system's own lists are not touched
    local dir="$CACHE/source" mirror keyring
    mkdir -p "$dir/lists/partial" "$dir/archives/partial"
    # The mirror is the one that this system already uses for Debian's main archive.
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 2>/dev/null |
        awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')
    if [ -z "$mirror" ]; then
        mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
            grep -oE 'https?://[^ ]+/debian/?([[:space:]]|$)' | head -n 1 | tr -d '[:space:]')
    fi
    [ -n "$mirror" ] || die "no Debian mirror in this system's package sources; give PYTHON= and FT_PYTHON= instead"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keyring" ] || keyring=/usr/share/keyrings/debian-archive-keyring.pgp
    echo "deb-src [signed-by=$keyring] $mirror $suite main" >"$dir/sources.list"
    (
        cd "$dir"
        options=(-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
            -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache::Archives=$dir/archives"
            -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root)
        apt-get "${options[@]}" update
        apt-get "${options[@]}" source --download-only python3.13
    )
}

mkdir -p "$CACHE/log"
exec 9>"$CACHE/interpreters-$kind${sanitizer:+-$sanitizer}.lock"
flock 9 # two makes at once build it once; a sanitizer's build does not keep others from their interpreter
source_tar() { find "$CACHE/source" -maxdepth 1 -name 'python3.13_*.orig.tar.*' ! -name '*.asc' 2>/dev/null | sort -V | tail -n 1; }
(
    flock 8
    if [ -z "$(source_tar)" ]; then
        "$here/packages.sh" build interpreter
        with_progress "fetching the source of CPython 3.13" "$CACHE/log/source.log" fetch_source
    fi
) 8>"$CACHE/source.lock"
tarball=$(source_tar)
[ -n "$tarball" ] || die "the source package did not hold an .orig.tar file; see $CACHE/log/source.log"
version=$(basename "$tarball" | sed -E 's/^python3\.13_([0-9.]+)\.orig.*/\1/')

# ---- the flags: the same for both; the cache key is their checksum ----
configure=(--enable-shared --with-ensurepip=install)
cflags="-fno-semantic-interposition"
[ "$kind" = ft ] && configure+=(--disable-gil)
if [ "${OPTIMIZED:-0}" = 1 ] && [ -z "$sanitizer" ]; then configure+=(--enable-optimizations --with-lto); fi
case "$sanitizer" in
"") ;;
# ASan's own allocator sees nothing behind pymalloc and mimalloc, so the raw allocator is used where there is a choice (GIL).
address) configure+=(--with-address-sanitizer --with-undefined-behavior-sanitizer --without-pymalloc) ;;
thread) configure+=(--with-thread-sanitizer) ;;
*) die "interpreters.sh: '$sanitizer' is neither address nor thread" ;;
esac
key=$(printf '%s\n' "$version" "${configure[@]}" "$cflags" "$(gcc -dumpfullversion)" | sha256sum | cut -c1-10)
prefix="$CACHE/python/$version-$kind${sanitizer:+-$sanitizer}-$key"
python="$prefix/bin/python3.13"
[ "$kind" = ft ] && python="$prefix/bin/python3.13t"

if [ ! -e "$prefix/.complete" ]; then
    "$here/packages.sh" build interpreter
    say "building CPython $version ($kind${sanitizer:+, $sanitizer sanitizer}) in $prefix"
    work="$CACHE/build/$version-$kind${sanitizer:+-$sanitizer}-$key"
    rm -rf "$work" "$prefix"
    mkdir -p "$work"
    tar -xf "$tarball" -C "$work" --strip-components=1
    compile() {
        cd "$work"
        # A sanitizer finds leaks and races in the helper programs of the build itself; they are not our subject.
        export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=0 TSAN_OPTIONS="report_bugs=0"
        ./configure --prefix="$prefix" "${configure[@]}" \
            CFLAGS_NODIST="$cflags" LDFLAGS_NODIST="$cflags" LDFLAGS="-Wl,-rpath,$prefix/lib"
        make -j"$(nproc)"
        make install
    }
    with_progress "compiling CPython $version ($kind${sanitizer:+, $sanitizer})" "$CACHE/log/python-$kind${sanitizer:+-$sanitizer}.log" compile
    if [ -z "$sanitizer" ]; then
        usable "$python" || die "the interpreter in $prefix lacks ssl, sqlite3, ctypes, zlib, bz2, lzma or uuid; see the log beside it"
    fi
    rm -rf "$work"
    touch "$prefix/.complete"
fi
echo "$python"
