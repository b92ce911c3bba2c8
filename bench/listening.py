"""How new connections fare: spread over threads, and while a worker is killed. The figures of docs/decisions/001.

usage: listening.py [--rounds N]
"""

import argparse
import collections
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from targets import ROOT, Running, Target, start

WORKERS = 4
THREADS_CONNECTIONS = 16
APPLICATION = """
import os
from oarlock import App
app = App()

@app.get("/pid", blocking=False)
def pid():
    return os.getpid()
"""


def target(folder: str) -> Target:
    return Target(
        "oarlock",
        "gil",
        lambda _, port: [
            *(str(ROOT / "build/oarlock"), "run", "pids:app", "--app-dir", folder, "--workers", str(WORKERS)),
            *("--threads", "1", "--bind", f"127.0.0.1:{port}"),
        ],
    )


def workers(server: Running) -> list[int]:
    """taskset has become the server, so its children are the workers."""
    pid = server.process.pid
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def spread(port: int) -> float:
    """Busiest worker / mean, of connections that are open together."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(WORKERS * THREADS_CONNECTIONS)
        ]
        count: collections.Counter[bytes] = collections.Counter()
        for s in sockets:
            s.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
        for s in sockets:
            count[s.recv(4096).rpartition(b"\r\n\r\n")[2]] += 1
        return max(count.values()) / THREADS_CONNECTIONS


def kill_under_load(server: Running) -> dict[str, float]:
    """Open load of new connections, 1,000 a second for two seconds; a worker is killed after one."""
    load = subprocess.Popen(
        [
            *(str(ROOT / "build/load"), "--port", str(server.port), "--path", "/pid", "--connections", "64"),
            *("--reconnect", "--rate", "1000", "--seconds", "2"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)  # the middle of the load; nothing waits on this
    os.kill(workers(server)[0], signal.SIGKILL)
    found: dict[str, float] = json.loads(load.communicate()[0])
    end = time.monotonic() + 20
    while len(workers(server)) < WORKERS and time.monotonic() < end:
        time.sleep(0.01)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pids.py").write_text(APPLICATION)
        log = ROOT / "build/bench/listening.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        server = start(target(folder), "", ",".join(map(str, os.sched_getaffinity(0))), log)
        try:
            while " serves " not in log.read_text():  # all workers are ready
                time.sleep(0.01)
            ratios = [spread(server.port) for _ in range(args.rounds)]
            kills = [kill_under_load(server) for _ in range(args.rounds)]
        finally:
            server.stop()
    print(
        f"spread of {WORKERS * THREADS_CONNECTIONS} connections over {WORKERS} workers, busiest / mean: "
        f"median {statistics.median(ratios):.2f}, worst of {args.rounds} {max(ratios):.2f}"
    )
    print(
        f"kill -9 of a worker under 1,000 new connections/s, {args.rounds} times: longest wait of a request "
        f"median {statistics.median(k['max_us'] for k in kills) / 1000:.1f} ms, "
        f"worst {max(k['max_us'] for k in kills) / 1000:.1f} ms; p99 {statistics.median(k['p99_us'] for k in kills) / 1000:.2f} ms; "
        f"of {sum(k['requests'] for k in kills):.0f} requests {sum(k['resets'] for k in kills):.0f} were cut "
        f"(those that the killed worker had), {sum(k['refused'] for k in kills):.0f} refused"
    )


if __name__ == "__main__":
    main()
