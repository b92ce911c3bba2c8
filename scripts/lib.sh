# Shared by the scripts in this folder (sourced, not run): messages, cache location, progress of long commands.
# shellcheck shell=bash

CACHE="${OARLOCK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/oarlock}"

say() { printf '\033[1m[oarlock]\033[0m %s\n' "$*" >&2; }
die() {
    printf '\033[1m[oarlock]\033[0m error: %s\n' "$*" >&2
    exit 1
}

# with_progress TITLE LOGFILE COMMAND... : runs COMMAND with its output in LOGFILE; shows that it is
# alive (a line that moves on a terminal, one line each 20 s elsewhere); on failure shows the end of the log.
with_progress() {
    local title=$1 log=$2 started=$SECONDS shown=0 status=0 pid
    shift 2
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [ -t 2 ]; then
            printf '\r[oarlock] %s ... %d s, %d lines of log' "$title" $((SECONDS - started)) "$(wc -l <"$log")" >&2
        elif [ $((SECONDS - started)) -ge $((shown + 20)) ]; then
            shown=$((SECONDS - started))
            printf '[oarlock] %s ... %d s\n' "$title" "$shown" >&2
        fi
        sleep 0.5
    done
    wait "$pid" || status=$?
    [ -t 2 ] && printf '\r\033[K' >&2
    if [ "$status" -ne 0 ]; then
        tail -n 25 "$log" >&2
        die "$title failed with status $status; the whole log is $log"
    fi
    say "$title: done in $((SECONDS - started)) s"
}
