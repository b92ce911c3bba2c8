"""User instructions per request, by callgrind: the difference of two runs, so that start-up does not count.

usage: instructions.py [--python gil|ft] [--pipeline N] [--app MODULE:APP --app-dir DIR --path PATH] [--most N]
With --most it is a gate: exit status 1 when a request costs more. Callgrind counts do not move with the
machine's noise.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 64


def total(folder: Path) -> int:
    """Instructions of the worker: the process that executed most."""
    counts = [0]
    for file in folder.glob("callgrind.*"):
        found = re.search(r"^(?:summary|totals): (\d+)", file.read_text(errors="replace"), re.M)
        if found:
            counts.append(int(found.group(1)))
    return max(counts)


def run(args: argparse.Namespace, requests: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ready_r, ready_w = os.pipe()
        server = [args.binary, "run"]
        server += ["--stub"] if not args.app else [args.app, "--app-dir", args.app_dir, "--python", args.python]
        server += ["--workers", "1", "--threads", "1", "--bind", "127.0.0.1:0", "--ready-fd", str(ready_w)]
        server += ["--blocking-threshold", "1s"]  # callgrind makes every handler slow
        command = [
            "valgrind",
            "--tool=callgrind",
            "--trace-children=no",
            "--dump-instr=no",
            f"--callgrind-out-file={folder}/callgrind.%p",
            *server,
            *args.server,
        ]
        process = subprocess.Popen(command, pass_fds=(ready_w,), stderr=subprocess.PIPE, text=True)
        os.close(ready_w)
        with os.fdopen(ready_r) as ready:
            line = ready.readline()
        if not line:
            sys.exit(f"the server did not start:\n{process.communicate()[1]}")
        address = re.search(r"127\.0\.0\.1:(\d+)", line)
        if address is None:
            sys.exit(f"the server named no port: {line}")
        port = address.group(1)
        try:
            load = subprocess.run(
                [
                    str(ROOT / "build/load"),
                    "--port",
                    port,
                    "--path",
                    args.path,
                    "--connections",
                    str(CONNECTIONS),
                    "--pipeline",
                    str(args.pipeline),
                    "--requests",
                    str(requests),
                ],
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
        if '"errors": 0, "bad_status": 0' not in load.stdout:
            sys.exit(f"the load had errors: {load.stdout}")
        return total(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="gil")
    parser.add_argument("--binary", default=str(ROOT / "build/oarlock"))
    parser.add_argument("--app", default="")
    parser.add_argument("--app-dir", default=str(ROOT / "bench/apps"))
    parser.add_argument("--path", default="/hello")
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--most", type=float, default=0)
    parser.add_argument("server", nargs="*", help="further options of the server, after --")
    args = parser.parse_args()
    few, many = args.requests // 4, args.requests
    each = (run(args, many) - run(args, few)) / (many - few)
    print(
        f"{args.app or 'stub':<12} {args.python if args.app else '-':<4} pipeline {args.pipeline:<3} "
        f"{each:8.0f} user instructions per request"
    )
    if args.most and each > args.most:
        sys.exit(f"more than the bar of {args.most:.0f}")


if __name__ == "__main__":
    main()
