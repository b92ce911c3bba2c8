"""What facing the internet costs: slow attackers, idle connections, big bodies, endless names, the gate's rules.

usage: internet.py {slow,idle,bodies,names,gate} [--python gil|ft] [--check]
Server on one core, load on another. Nothing but 127.0.0.1 is spoken to. With --check a missed bar is exit status 1.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from targets import ROOT, Running, Target, start

APPS = ROOT / "tests/e2e/apps"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SERVER_CORE, LOAD_CORE = sorted(os.sched_getaffinity(0))[:2] if len(os.sched_getaffinity(0)) > 1 else (0, 0)
# What one connection with a request in progress can hold before its body: the input block and the arena of conn.c.
BOUND = 2 * (16384 + 320) + 1024
failed: list[str] = []


def say(text: str) -> None:
    print(f"[internet] {text}", file=sys.stderr, flush=True)


def bar(text: str, value: float, most: float, unit: str = "") -> None:
    holds = value <= most
    print(f"  {text:<64} {value:,.2f} {unit} (at most {most:,.2f}): {'holds' if holds else 'MISSED'}")
    if not holds:
        failed.append(text)


@contextlib.contextmanager
def serving(python: str, app: str, *options: str, binary: Path = ROOT / "build/oarlock") -> Iterator[Running]:
    application = ["--stub"] if app == "stub" else [app, "--app-dir", str(APPS), "--python", python]

    def command(_: str, port: int) -> list[str]:
        base = [str(binary), "run", *application, "--workers", "1", "--threads", "1", "--bind", f"127.0.0.1:{port}"]
        return [*base, *options]

    with tempfile.TemporaryDirectory() as folder:
        server = start(Target("oarlock", python, command), "", SERVER_CORE, Path(folder) / "log")
        try:
            with socket.create_connection(("127.0.0.1", server.port)) as s:  # answered: the loader is gone
                s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                s.recv(4096)
            yield server
        finally:
            server.stop()


def worker(server: Running) -> int:
    pid = server.process.pid  # taskset has become the master
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def private(pid: int) -> int:
    """Bytes that only this process has."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) * KIB for n in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", text, re.M))


def load(server: Running, *options: str, seconds: float = 5) -> dict[str, float]:
    done = subprocess.run(
        [
            *("taskset", "-c", str(LOAD_CORE), str(ROOT / "build/load"), "--port", str(server.port)),
            *("--seconds", str(seconds), *options),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    if found["errors"] or found["bad_status"]:
        raise RuntimeError(f"the load had errors: {done.stdout}")
    return found


# ---- slow attackers -----------------------------------------------------------------------------


class Tricklers:
    """Connections that send one byte a second, of a head or of a body, and come back when they are closed."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.count = count
        self.selector = selectors.DefaultSelector()
        self.open: dict[socket.socket, tuple[str, float]] = {}
        self.lived: dict[str, list[float]] = {"head": [], "body": []}
        self.statuses: dict[str, int] = {}

    def connect(self, kind: str) -> None:
        s = socket.create_connection(("127.0.0.1", self.port))
        s.setblocking(False)
        if kind == "head":
            s.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        else:
            s.send(b"POST /buffered HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        self.open[s] = (kind, time.monotonic())
        self.selector.register(s, selectors.EVENT_READ)

    def closed(self, s: socket.socket) -> None:
        kind, since = self.open.pop(s)
        self.lived[kind].append(time.monotonic() - since)
        self.selector.unregister(s)
        s.close()
        self.connect(kind)

    def readable(self, timeout: float) -> None:
        for key, _ in self.selector.select(timeout):
            s = key.fileobj
            assert isinstance(s, socket.socket)
            try:
                got = s.recv(4096)
            except OSError:
                got = b""
            if got.startswith(b"HTTP/1.1 "):
                self.statuses[got[9:12].decode()] = self.statuses.get(got[9:12].decode(), 0) + 1
            if not got:
                self.closed(s)

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        for i in range(self.count):
            self.connect("head" if i % 2 else "body")
        print("begun", flush=True)
        while (now := time.monotonic()) < end:
            # a slice of the connections at a time, so that the bytes are spread over the second
            members = list(self.open)
            for part in range(200):
                for s in members[part::200]:
                    with contextlib.suppress(OSError):
                        s.send(b"x")
                self.readable(0)
                time.sleep(max(0.0, now + (part + 1) / 200 - time.monotonic()))
        self.readable(0)
        oldest = dict.fromkeys(self.lived, 0.0)
        for kind, since in self.open.values():
            oldest[kind] = max(oldest[kind], time.monotonic() - since)
        print(json.dumps({"lived": self.lived, "statuses": self.statuses, "oldest": oldest}))


def trickle(args: argparse.Namespace) -> None:
    # On the server's core, so that the honest client's own delays are not taken for the server's; the server comes first.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    Tricklers(args.port, args.count).run(args.seconds)


def slow(args: argparse.Namespace) -> None:
    """2,000 tricklers for two minutes; the honest client's p99 at 30 % of capacity, with and without them.

    A twin of the server on the same core that nobody attacks is measured in turn with it: what the machine does
    meanwhile (the tricklers' own work among it) meets both, and what is left is the attack.
    """
    with serving(args.python, "streams:app") as server, serving(args.python, "streams:app") as twin:
        path = ["--path", "/events", "--connections", "32"]
        load(server, *path, seconds=2)
        rate = load(server, *path, seconds=3)["rate"] * 0.3
        honest = [*path, "--rate", f"{rate:.0f}"]
        alone = [load(server, *honest, seconds=10)["p99_us"] for _ in range(7)]
        before = private(worker(server))
        say(f"alone, open loop at {rate:,.0f}/s: p99 {statistics.median(alone):,.0f} us; now {args.count} tricklers")
        attack = subprocess.Popen(
            [
                *("taskset", "-c", str(SERVER_CORE), sys.executable, __file__, "trickle"),
                *("--port", str(server.port), "--count", str(args.count), "--seconds", "125"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert attack.stdout is not None
        assert attack.stdout.readline() == "begun\n"
        among: list[float] = []
        beside: list[float] = []
        most = 0
        load(twin, *path, seconds=1)
        while attack.poll() is None and len(among) < 14:
            among.append(load(server, *honest, seconds=4)["p99_us"])
            beside.append(load(twin, *honest, seconds=4)["p99_us"])
            most = max(most, private(worker(server)))
        seen = json.loads(attack.communicate()[0])
        print(f"slow attackers ({args.python}): {args.count} connections, a byte a second each, 125 s")
        print(f"  p99 at {rate:,.0f} requests/s alone      {sorted(round(v) for v in alone)} us")
        print(f"  p99 at {rate:,.0f} requests/s, twin       {sorted(round(v) for v in beside)} us")
        print(f"  p99 at {rate:,.0f} requests/s among them  {sorted(round(v) for v in among)} us")
        print(f"  among them / alone before, medians: {statistics.median(among) / statistics.median(alone):.2f}")
        print(f"  answers to tricklers: {seen['statuses']}")
        bar("p99 among them / the twin's meanwhile, medians", statistics.median(among) / statistics.median(beside), 2.0)
        bar("worker memory for each, KiB", (most - before) / args.count / KIB, BOUND / KIB, "KiB")
        for kind, deadline in (("head", 20.0), ("body", 60.0)):
            lived = seen["lived"][kind]
            print(f"  {kind}: {len(lived)} closed, after {min(lived):.2f} to {max(lived):.2f} s")
            # the trickling process runs only when nobody else wants its core, so it may see a close late
            longest = max(*lived, seen["oldest"][kind])
            bar(f"longest life of a trickled {kind}, those still open included", longest, deadline + 3.5, "s")


# ---- idle connections ---------------------------------------------------------------------------


def idle(args: argparse.Namespace) -> None:
    """Connections that have had one request and stay: what each costs, and what they cost the others."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(args.count if args.count != 2000 else 10000, limit - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with serving(args.python, "stub" if args.python == "-" else "streams:app") as server:
        path = ["--path", "/hello" if args.python == "-" else "/events", "--connections", "64"]
        load(server, *path, seconds=2)
        request = f"GET {path[1]} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        pairs = []
        for _ in range(5):
            before = private(worker(server))
            without = load(server, *path, seconds=2)["rate"]
            sockets = []
            for _ in range(count):
                s = socket.create_connection(("127.0.0.1", server.port))
                s.sendall(request)
                sockets.append(s)
            for s in sockets:
                assert s.recv(4096).startswith(b"HTTP/1.1 200")
            each = (private(worker(server)) - before) / count
            pairs.append((without, load(server, *path, seconds=2)["rate"], each))
            for s in sockets:
                s.close()
            time.sleep(0.5)
        print(f"idle connections ({args.python}): {count}, each after one request")
        print(f"  requests/s without and with: {[(round(a), round(b)) for a, b, _ in pairs]}")
        bar("worker memory for each, bytes (first time; later they are reused)", pairs[0][2], 2048, "B")
        bar("rate without / with, median", statistics.median(a / b for a, b, _ in pairs), 1 / 0.9)


# ---- big bodies ---------------------------------------------------------------------------------


def growth(pid: int, before: int, most: list[int]) -> None:
    most[0] = max(most[0], private(pid) - before)


def upload(port: int, path: str, size: int, pid: int) -> tuple[float, int, bytes]:
    before, most, started = private(pid), [0], time.perf_counter()
    block = bytes(MIB)
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
        for i in range(size // MIB):
            s.sendall(block)
            if i % 64 == 0:
                growth(pid, before, most)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    return time.perf_counter() - started, most[0], answer


def download(port: int, path: str, pid: int, rate: float) -> tuple[float, int, int]:
    """A reader that takes `rate` bytes a second and no more."""
    before, most, started, got, i = private(pid), [0], time.perf_counter(), 0, 0
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * KIB)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        while piece := s.recv(MIB):
            got += len(piece)
            i += 1
            if i % 256 == 0:
                growth(pid, before, most)
            time.sleep(max(0.0, started + got / rate - time.perf_counter()))
    return time.perf_counter() - started, most[0], got


def bodies(args: argparse.Namespace) -> None:
    """2 GiB up to a streaming handler, 2 GiB down to a slow reader: the worker's memory meanwhile."""
    size = 2 * GIB
    with serving(args.python, "streams:app") as server:
        pid = worker(server)
        print(f"big bodies ({args.python})")
        for path in ("/count", "/count-def"):
            seconds, most, answer = upload(server.port, path, size, pid)
            assert f'"bytes":{size}'.encode() in answer, answer
            print(f"  2 GiB up to {path}: {seconds:.1f} s, {size / seconds / MIB:,.0f} MiB/s")
            bar(f"growth of the worker during {path}, MiB", most / MIB, 8, "MiB")
        for path in ("/big/2048", "/big-def/2048"):
            seconds, most, got = download(server.port, path, pid, 100 * MIB)
            assert got > size
            print(f"  2 GiB down from {path} to a reader of 100 MiB/s: {seconds:.1f} s")
            bar(f"growth of the worker during {path}, MiB", most / MIB, 8, "MiB")


# ---- names --------------------------------------------------------------------------------------


async def names_from(port: int, first: int, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for start_ in range(first, first + count, 50):
        batch = []
        for i in range(start_, min(start_ + 50, first + count)):
            body = f'{{"json_{i}":{{"inner_{i}":{i}}}}}'
            batch.append(
                f"POST /names?query_{i}=a HTTP/1.1\r\nHost: a\r\nX-Header-{i}: b\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
        writer.write("".join(batch).encode())
        for _ in batch:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            found = re.search(rb"content-length: (\d+)", head)
            assert found
            await reader.readexactly(int(found[1]))
    writer.close()


def names(args: argparse.Namespace) -> None:
    """A million requests whose header, query and JSON names are all different: memory must stay flat."""
    with serving(args.python, "names:app") as server:
        pid = worker(server)
        os.sched_setaffinity(0, {LOAD_CORE})
        points = []
        step = 100_000
        for done in range(0, 1_000_000, step):
            asyncio.run(names_from(server.port, done, step))
            points.append((done + step, private(pid)))
            say(f"{done + step:,} requests: {points[-1][1] / MIB:.2f} MiB private")
        # allocators give pages back in steps of some MiB, either way: the most of each half is compared
        half = len(points) // 2
        first, last = (max(p for _, p in part) for part in (points[:half], points[half:]))
        print(
            f"distinct names ({args.python}): MiB private after each 100,000 {[round(p / MIB, 2) for _, p in points]}"
        )
        bar("growth from the first half to the second, bytes a request", (last - first) / 500_000, 1.0, "B")


# ---- the gate -----------------------------------------------------------------------------------


def gate(args: argparse.Namespace) -> None:
    """The server with all rules compiled out beside the real one: instructions, and CPU in one interleaved run."""
    flags = "-O2 -g -flto=auto -fno-semantic-interposition -DOAR_GATE_NONE"
    subprocess.run(
        ["make", "-s", "-C", str(ROOT), "server", "BUILD=build/nogate", f"CFLAGS={flags}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    binaries = {"with": ROOT / "build/oarlock", "without": ROOT / "build/nogate/oarlock"}
    count = {}
    for name, binary in binaries.items():
        out = subprocess.run(
            [sys.executable, str(ROOT / "bench/instructions.py"), "--binary", str(binary)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(r"(\d+) user instructions", out)
        assert found
        count[name] = int(found[1])
    ratios = []
    with contextlib.ExitStack() as stack:
        servers = {n: stack.enter_context(serving("-", "stub", binary=b)) for n, b in binaries.items()}
        for _ in range(args.rounds):
            cpu = {}
            for name in random.sample(sorted(servers), 2):
                before = servers[name].cpu()
                requests = load(servers[name], "--path", "/hello", "--connections", "64", seconds=1)["requests"]
                cpu[name] = (servers[name].cpu() - before) / requests
            ratios.append(cpu["with"] / cpu["without"])
    print(f"the gate: {count['with']} user instructions a request with its rules, {count['without']} without")
    print(f"  CPU with / without in {args.rounds} rounds: {[round(r, 3) for r in sorted(ratios)]}")
    bar("instructions that the rules cost", count["with"] - count["without"], 400)
    bar("CPU per request that they cost, %, median", (statistics.median(ratios) - 1) * 100, 5, "%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"slow": slow, "idle": idle, "bodies": bodies, "names": names, "gate": gate, "trickle": trickle}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--python", default="gil", choices=("gil", "ft", "-"), help="-: the stub, for idle")
    parser.add_argument("--count", type=int, default=2000, help="tricklers, or idle connections (10,000)")
    parser.add_argument("--seconds", type=float, default=125, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=15, help="of gate")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        say("this machine gives one core: the load takes from the server")
    parts[args.part](args)
    if failed and args.check:
        sys.exit("missed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
