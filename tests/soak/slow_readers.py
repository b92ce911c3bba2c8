"""Slow readers of streamed responses beside an honest client of a `def` (issue: 500 readers used to stop every handler).

usage: slow_readers.py [--bar] [--time SECONDS] [--python gil|ft] [--readers N]
One worker on one core. Readers ask for a response that a plain generator makes without end and take 4 KiB a second each;
one in fifty leaves and comes back each second. An honest client calls a `def` of the pool, open loop, alone and beside
them. Exit status 1 if one of its requests fails or if the worker was replaced; with --bar also if its p99 beside them
(median of its slices) is over 3 x its p99 alone. Nothing but 127.0.0.1 is spoken to.
"""

import argparse
import contextlib
import json
import os
import random
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import load, serve, worker

APPS = Path(__file__).resolve().parents[1] / "e2e/apps"
PATH = "/quick"


class Readers:
    """Connections that take a few bytes a second each."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.selector = selectors.DefaultSelector()
        self.open: list[socket.socket] = []
        self.cut = 0
        for i in range(count):
            self.connect(i)

    def connect(self, number: int) -> None:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        s.connect(("127.0.0.1", self.port))
        s.sendall(f"GET /pieces/r{number}?n=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        s.setblocking(False)
        self.open.append(s)

    def read(self) -> None:
        """A second's worth, spread over the second."""
        members = list(self.open)
        began = time.monotonic()
        for part in range(50):
            for s in members[part::50]:
                with contextlib.suppress(BlockingIOError):
                    try:
                        gone = not s.recv(4096)
                    except ConnectionResetError:
                        gone = True
                    if gone:
                        self.cut += 1
                        self.open.remove(s)
                        s.close()
            time.sleep(max(0.0, began + (part + 1) / 50 - time.monotonic()))
        for s in random.sample(self.open, len(self.open) // 50):
            self.open.remove(s)
            s.close()
            self.connect(0)


def read_slowly(port: int, count: int) -> None:
    readers = Readers(port, count)
    print("begun", flush=True)
    running = True

    def stop(*_: object) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    while running:
        readers.read()
    print(json.dumps({"open": len(readers.open), "cut": readers.cut}))


def soak(args: argparse.Namespace, server: subprocess.Popen[bytes], port: int, core: int) -> int:
    first = worker(server)
    load(port, core, 1, PATH)
    rate = load(port, core, 2, PATH)["rate"] * 0.1
    alone = [load(port, core, 3, PATH, rate)["p99_us"] for _ in range(5)]
    readers = subprocess.Popen(
        [sys.executable, __file__, "--read-slowly", str(port), "--readers", str(args.readers)],
        stdout=subprocess.PIPE,
        text=True,
    )
    beside: list[float] = []
    try:
        assert readers.stdout is not None
        readers.stdout.readline()
        end = time.monotonic() + args.time
        while time.monotonic() < end:
            beside.append(load(port, core, 3, PATH, rate)["p99_us"])
    finally:
        readers.terminate()
        seen = json.loads(readers.communicate(timeout=60)[0] or "{}")
    ratio = statistics.median(beside) / statistics.median(alone)
    same = worker(server) == first
    print(f"{args.readers} slow readers ({args.python}), {args.time:.0f} s; honest client at {rate:,.0f} requests/s")
    print(f"  p99 alone   {sorted(round(v) for v in alone)} us")
    print(f"  p99 beside  {sorted(round(v) for v in beside)} us; ratio of the medians {ratio:.2f} (at most 3)")
    print(f"  readers at the end: {seen}; the worker {'is the same' if same else 'was replaced'}")
    return 0 if (ratio <= 3 or not args.bar) and same and seen.get("cut") == 0 else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bar", action="store_true", help="the p99 counts, not only answers")
    parser.add_argument("--time", type=float, default=60, help="seconds with the readers")
    parser.add_argument("--python", default="gil", choices=("gil", "ft"))
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--read-slowly", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read_slowly:
        read_slowly(args.read_slowly, args.readers)
        return
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        server, port = serve("pool_jobs:app", APPS, args.python, cores[0], Path(folder) / "log", "--threads", "1")
        try:
            status = soak(args, server, port, cores[-1])
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
    sys.exit(status)


if __name__ == "__main__":
    main()
