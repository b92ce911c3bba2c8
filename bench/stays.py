"""Who waits for a `def` that stays on the thread that drives its event loop (docs/decisions/012).

usage: stays.py [--rounds N] [--python gil|ft|both]
A pinned handler sleeps (without the GIL) or computes (pure Python) for 50 ms, again and again, while a quick pinned
`def`, an answer from C (404) and an asyncio timer are asked for; server on one core, load on the other; and the same
with 64 calls at once of a silent `def` that was quick, and so runs on the driving thread, and now sleeps. Prints the longest wait of each kind of neighbour: the median of the rounds and their range.
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from targets import ROOT, Running, handlers, start

CORES = sorted(os.sched_getaffinity(0))
SERVER, LOAD = CORES[0], CORES[-1]
SECONDS = 2.0


def longest_wait(server: Running, path: str) -> float:
    """Milliseconds, of 300 requests a second, open loop: from when each was due."""
    command = [
        *("taskset", "-c", str(LOAD), str(ROOT / "build/load"), "--port", str(server.port), "--path", path),
        *("--rate", "300", "--seconds", str(SECONDS), "--connections", "4"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return float(json.loads(done.stdout)["max_us"]) / 1000


def get(server: Running, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=60) as answer:
        body: bytes = answer.read()
    return body


def latest_tick(server: Running, _: str) -> float:
    """Milliseconds that the latest of 500 timers of 2 ms was late."""
    return float(json.loads(get(server, "/ticks"))["longest_ms"])


NEIGHBOURS = {
    "a quick def": (longest_wait, "/hello"),
    "an answer from C": (longest_wait, "/nowhere"),
    "an asyncio timer": (latest_tick, ""),
}


def beside(server: Running, stays: str, at_once: int, neighbour: str) -> float:
    measure, path = NEIGHBOURS[neighbour]
    with concurrent.futures.ThreadPoolExecutor(at_once + 1) as pool:
        measured = pool.submit(measure, server, path)
        while not measured.done():
            for _ in range(64 if at_once > 1 else 0):  # quick calls promote the route, if it is not
                get(server, stays)
            list(pool.map(lambda _: get(server, f"{stays}?ms=50"), range(at_once)))
        return measured.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default="both", choices=("gil", "ft", "both"))
    args = parser.parse_args()
    cases = (("one that sleeps", "/stays", 1), ("one that computes", "/burns", 1), ("64 that turn slow", "/turns", 64))
    for python in ("gil", "ft") if args.python == "both" else (args.python,):
        server = start(handlers(python), "", SERVER, ROOT / "build/bench/stays.log")
        try:
            for what, path, at_once in cases:
                for neighbour in NEIGHBOURS:
                    found = sorted(beside(server, path, at_once, neighbour) for _ in range(args.rounds))
                    print(
                        f"{python:<4} {neighbour:<17} beside {what:<18} longest wait {statistics.median(found):7.2f} ms "
                        f"[{found[0]:.2f}-{found[-1]:.2f}]",
                        flush=True,
                    )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
