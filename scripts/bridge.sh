#!/usr/bin/env bash
# Compiles the bridge for one interpreter: bridge.sh PYTHON OUT.so SOURCE...   (CC, CFLAGS from the environment)
set -euo pipefail
python=$1 out=$2
shift 2
mapfile -t fact < <(ASAN_OPTIONS=detect_leaks=0 "$python" - <<'PY'
import sys, sysconfig
v = sysconfig.get_config_var
print(sysconfig.get_path("include"))
print(v("LIBDIR"))
print("python" + v("LDVERSION"))
print(sys.executable)
PY
)
# The interpreter's headers are system headers: their warnings are not ours to mend.
# shellcheck disable=SC2086
${CC:-gcc} ${CFLAGS:--O2} -isystem "${fact[0]}" -DOAR_PYTHON="\"${fact[3]}\"" -fPIC -shared "$@" -o "$out.tmp" \
    -L"${fact[1]}" -l"${fact[2]}" -lev -Wl,-rpath,"${fact[1]}" -Wl,-z,relro,-z,now
mv "$out.tmp" "$out"
