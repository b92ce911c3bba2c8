"""What handlers cost: `def` and `async def`, waiting, threads, blocking neighbours, CPU-bound work.

usage: handlers.py {wire,wait,inprocess,cpu,mixed,beside,five,collect} [...] [--rounds N] [--seconds S] [--others PYTHON]
Without a name: all of them. Server on one core, load on another, unless both cores are the point. Nothing but 127.0.0.1
is spoken to. With --check a missed bar is exit status 1. See bench/method.md.
"""

import argparse
import concurrent.futures
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from targets import AIOHTTP, AXUM, OTHERS, ROOT, STUB, Running, Target, handlers, start

from bench import measure, middle

CORES = sorted(os.sched_getaffinity(0))
SERVER, LOAD = (CORES[0], CORES[1]) if len(CORES) > 1 else (0, 0)
INPROCESS = ROOT / "build/inprocess"
missed: list[str] = []
Rounds = list[dict[str, float]]


def say(text: str) -> None:
    print(f"[handlers] {text}", file=sys.stderr, flush=True)


def bar(text: str, values: Iterable[float], most: float | None = None, least: float | None = None) -> None:
    """One line: the median of pairs with its interval, and the bar that it must keep."""
    found = list(values)
    if not found:
        print(f"  {text:<72} no figure")
        missed.append(text)
        return
    mid, low, high = middle(found)
    holds = (most is None or mid <= most) and (least is None or mid >= least)
    verdict = f"at most {most}" if most is not None else f"at least {least}" if least is not None else ""
    print(
        f"  {text:<72} {mid:9.3f} [{low:.3f}-{high:.3f}]"
        + (f"  {verdict}: {'holds' if holds else 'MISSED'}" if verdict else "")
    )
    if not holds:
        missed.append(text)


def log(name: str) -> Path:
    return ROOT / f"build/bench/handlers-{name}.log"


# ---- wire: rate and CPU per request, one interleaved run ------------------------------------------

PATHS = ["/hello", "/async", "/current", "/timeout", "/group", "/sleep0", "/items/5?q=x", "/method"]


def wire(args: argparse.Namespace) -> None:
    """`def`, `async def`, the stub and other servers: requests/s and CPU per request."""
    servers: dict[str, Running] = {}
    plan: list[tuple[str, str]] = [("stub", "/hello")]
    found: dict[tuple[str, str, int], Rounds] = {}
    try:
        servers["stub"] = start(STUB, "", SERVER, log("stub"))
        for python in ("gil", "ft"):
            servers[python] = start(handlers(python), "", SERVER, log(python))
            plan += [(python, path) for path in PATHS]
        if Path(AXUM.command("", 1)[0]).exists():
            servers["axum"] = start(AXUM, "", SERVER, log("axum"))
            plan.append(("axum", "/hello"))
        if args.others:
            for target in [AIOHTTP, *(t for t in OTHERS if t.python == "gil" and "granian" not in t.name)]:
                servers[target.name] = start(target, args.others, SERVER, log("other"))
                plan.append((target.name, "/hello"))
        for name, path in plan:
            measure(servers[name], 1, 0.5, LOAD, path)
        for n in range(args.rounds):
            began = time.monotonic()
            for name, path in random.sample(plan, len(plan)):
                for depth in (1, 16):
                    result = measure(servers[name], depth, args.seconds, LOAD, path)
                    found.setdefault((name, path, depth), []).append(result or {})
            say(f"wire: round {n + 1} of {args.rounds}: {time.monotonic() - began:.0f} s")
    finally:
        for server in servers.values():
            server.stop()
    for depth in (1, 16):
        print(f"\n64 connections, {'no pipelining' if depth == 1 else 'pipelined 16'}, server on one core")
        print(f"  {'':<34}{'requests/s':>12} {'CPU us/request':>16}  {'generator, % of its core':>24}")
        for name, path in plan:
            rounds = [r for r in found[name, path, depth] if r]
            if not rounds:
                print(f"  {name + ' ' + path:<34} no right answers to this load")
                continue
            rate = statistics.median(r["rate"] for r in rounds)
            cpu = statistics.median(r["cpu_us"] for r in rounds)
            load = statistics.median(r["generator"] for r in rounds) * 100
            print(f"  {name + ' ' + path:<34}{rate:>12,.0f} {cpu:>16.2f}  {load:>23.0f}%")

    def pairs(a: tuple[str, str], b: tuple[str, str], depth: int, what: str) -> list[float]:
        both = zip(found.get((*a, depth), []), found.get((*b, depth), []), strict=False)
        return [x[what] / y[what] for x, y in both if x and y]

    gil, stub, asynchronous = ("gil", "/hello"), ("stub", "/hello"), ("gil", "/async")
    print("\nratios, median of pairs with its 90 % interval")
    bar("GIL async / def, CPU per request", pairs(asynchronous, gil, 1, "cpu_us"), most=1.10)
    bar("GIL async / def, requests/s, pipelined 16", pairs(asynchronous, gil, 16, "rate"), least=0.85)
    for path in ("/current", "/timeout", "/group"):
        bar(f"GIL async that asks for its task ({path}) / def, CPU", pairs(("gil", path), gil, 1, "cpu_us"), most=1.6)
    bar("GIL await sleep(0) / def, CPU per request", pairs(("gil", "/sleep0"), gil, 1, "cpu_us"), most=1.8)
    bar("GIL def / stub, CPU per request", pairs(gil, stub, 1, "cpu_us"), most=1.12)
    bar("one FT thread / GIL, def, CPU per request", pairs(("ft", "/hello"), gil, 1, "cpu_us"), most=1.10)
    bar("FT async / def, CPU per request", pairs(("ft", "/async"), ("ft", "/hello"), 1, "cpu_us"))
    if "axum" in servers:
        bar("axum / GIL def, CPU per request", pairs(("axum", "/hello"), gil, 1, "cpu_us"), least=1.1)
        bar("GIL def / axum, requests/s, pipelined 16", pairs(gil, ("axum", "/hello"), 16, "rate"), least=1.1)
        bar("GIL def / axum, requests/s", pairs(gil, ("axum", "/hello"), 1, "rate"), least=1.1)
    for name in servers:
        if name.startswith(("bjoern", "fastpysgi")):
            bar(f"{name} / GIL def, CPU per request", pairs((name, "/hello"), gil, 1, "cpu_us"), least=1.8)
            bar(f"GIL def / {name}, requests/s", pairs(gil, (name, "/hello"), 1, "rate"), least=1.8)
        if name == "aiohttp":
            bar("GIL async / aiohttp, requests/s", pairs(asynchronous, (name, "/hello"), 1, "rate"), least=4.0)
        if name == "FastAPI, uvicorn":
            bar(
                "GIL async / FastAPI on uvicorn, requests/s",
                pairs(asynchronous, (name, "/hello"), 1, "rate"),
                least=10.0,
            )


# ---- wait: many handlers that wait ----------------------------------------------------------------


def wait(args: argparse.Namespace) -> None:
    """`await asyncio.sleep(0.01)` at 512 connections on one worker, our loop and asyncio's."""
    targets = {
        f"{p} --loop {kind}": handlers(p, "--loop", kind) for p in ("gil", "ft") for kind in ("oarlock", "stock")
    }
    servers = {name: start(t, "", SERVER, log("wait")) for name, t in targets.items()}
    found: dict[str, Rounds] = {name: [] for name in servers}
    try:
        for _ in range(args.rounds):
            for name in random.sample(list(servers), len(servers)):
                found[name].append(measure(servers[name], 1, max(args.seconds, 2), LOAD, "/sleep10", 512) or {})
    finally:
        for server in servers.values():
            server.stop()
    print("\nawait asyncio.sleep(0.01), 512 connections, one worker on one core (ceiling 51,200/s)")
    for name, rounds in found.items():
        if not (good := [r for r in rounds if r]):
            print(f"  {name:<24} no right answers")
            continue
        rate, p99, core = (statistics.median(r[k] for r in good) for k in ("rate", "p99_us", "server"))
        print(f"  {name:<24} {rate:>9,.0f}/s  p99 {p99 / 1000:6.2f} ms  {core * 100:4.0f} % of the core")
    gil = [r for r in found["gil --loop oarlock"] if r]
    bar("requests/s, thousands", [r["rate"] / 1000 for r in gil], least=40)
    bar("p99, ms", [r["p99_us"] / 1000 for r in gil], most=15)
    bar("share of the core", [r["server"] for r in gil], most=0.45)


# ---- in process: what threads share ---------------------------------------------------------------


def call(path: str, python: str, threads: int, seconds: float) -> dict[str, float]:
    """One run of build/inprocess."""
    done = subprocess.run(
        [
            *(str(INPROCESS), path, str(seconds), "64", "run", "handlers:app", "--app-dir", str(ROOT / "bench/apps")),
            *("--python", python, "--threads", str(threads)),
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    return json.loads(done.stdout) if done.returncode == 0 else {}


def apart(path: str, seconds: float, processes: int) -> dict[str, float]:
    """The same work by processes that share nothing, at once: what the machine itself allows threads to reach."""
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        runs = list(pool.map(lambda _: call(path, "ft", 1, seconds), range(processes)))
    return {"per_second": sum(r["per_second"] for r in runs)} if all(runs) else {}


def inprocess(args: argparse.Namespace) -> None:
    """Without sockets: FT with one thread and with several, the GIL build, and as a control FT processes side by side."""
    bars = {"/hello": 1.9, "/items/5?q=x": 1.9, "/method": 1.9, "/async": 1.9, "/sleep0": 1.5, "/closure": None}
    bars |= {"/current": None, "/timeout": None}
    counts = [1, 2] if len(CORES) < 8 else [1, 2, 4, 8, 14]
    found: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for n in range(args.rounds):
        runs = [(path, "ft", t) for path in bars for t in counts] + [(path, "gil", 1) for path in bars]
        for path, python, threads in random.sample(runs, len(runs)):
            found.setdefault((path, python, threads), []).append(call(path, python, threads, args.seconds))
            if threads == 2:
                found.setdefault((path, "processes", 2), []).append(apart(path, args.seconds, 2))
        say(f"inprocess: round {n + 1} of {args.rounds}")
    print("\nin process, no sockets: CPU ns per call")
    print(f"  {'':<16}{'GIL':>8}" + "".join(f"{f'FT x {t}':>10}" for t in counts))
    for path in bars:
        cells = [found[path, "gil", 1]] + [found[path, "ft", t] for t in counts]
        print(f"  {path:<16}" + "".join(f"{statistics.median(r['cpu_ns'] for r in c if r):>9.0f} " for c in cells))
    for path, least in bars.items():
        for t in counts[1:]:
            pairs = zip(found[path, "ft", t], found[path, "ft", 1], strict=True)
            text = f"FT {path}: work done by {t} threads / by one"
            bar(text, [a["per_second"] / b["per_second"] for a, b in pairs if a and b], least=least if t == 2 else None)
    print(
        "\nthe control: two processes of one thread each share nothing; what they do is what two cores give at this moment"
    )
    for path, least in bars.items():
        pairs = zip(found[path, "processes", 2], found[path, "ft", 1], strict=True)
        bar(f"{path}: two processes / one", [a["per_second"] / b["per_second"] for a, b in pairs if a and b])
        pairs = zip(found[path, "ft", 2], found[path, "processes", 2], strict=True)
        bar(
            f"{path}: two threads / two processes",
            [a["per_second"] / b["per_second"] for a, b in pairs if a and b],
            least=least and least / 2,
        )
    pairs = zip(found["/hello", "ft", 1], found["/hello", "gil", 1], strict=True)
    bar("one FT thread / GIL, quick def, CPU", [a["cpu_ns"] / b["cpu_ns"] for a, b in pairs if a and b], most=1.35)


# ---- CPU-bound over HTTP --------------------------------------------------------------------------


def cpu(args: argparse.Namespace) -> None:
    """A millisecond of Python: FT with one thread and with two, GIL with one process and with two."""
    kinds = {
        "GIL 1 x 1": ("gil", "1", "1"),
        "GIL 2 x 1": ("gil", "2", "1"),
        "FT 1 x 1": ("ft", "1", "1"),
        "FT 1 x 2": ("ft", "1", "2"),
        "FT 2 x 1": ("ft", "2", "1"),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for n in range(args.rounds):  # fresh servers: which connections meet which thread is luck
        for name, (python, workers, threads) in random.sample(list(kinds.items()), len(kinds)):
            target = handlers(python, "--workers", workers, "--threads", threads)
            server = start(target, "", ",".join(map(str, CORES)), log("cpu"))
            try:
                result = measure(server, 1, max(args.seconds, 2), LOAD, "/cpu-inline", 32) or {"rate": float("nan")}
                found[name].append(result["rate"])
            finally:
                server.stop()
        say(f"cpu: round {n + 1} of {args.rounds}")
    print("\n1 ms of Python a request, 32 connections, both cores (the generator needs little of one)")
    for name, rates in found.items():
        print(f"  {name:<12} {statistics.median(rates):>8,.0f}/s")
    bar("FT 1 x 2 / FT 1 x 1", [a / b for a, b in zip(found["FT 1 x 2"], found["FT 1 x 1"], strict=True)], least=1.75)
    bar("GIL 2 x 1 / GIL 1 x 1", [a / b for a, b in zip(found["GIL 2 x 1"], found["GIL 1 x 1"], strict=True)])


# ---- neighbours ------------------------------------------------------------------------------------


def open_loop(server: Running, path: str, rate: float, seconds: float, connections: int) -> dict[str, float]:
    done = subprocess.run(
        [
            *("taskset", "-c", str(LOAD), str(ROOT / "build/load"), "--port", str(server.port), "--path", path),
            *("--rate", f"{rate:.0f}", "--seconds", str(seconds), "--connections", str(connections)),
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def mixed(args: argparse.Namespace) -> None:
    """95 % quick `def`, 5 % time.sleep(0.1), nothing configured, open loop at 70 % of what the worker can do."""
    seconds = max(args.seconds, 4)
    for python in ("gil", "ft"):
        alone: list[float] = []
        among: list[float] = []
        # the pool's 32 threads at most (4 x cores here) take so many sleeps a second; 70 % of that is the mix's rate
        threads = min(32, 4 * len(CORES))
        slow_rate = 0.7 * threads / 0.1
        quick_rate = slow_rate * 19
        server = start(handlers(python), "", SERVER, log("mixed"))
        try:
            open_loop(server, "/auto", quick_rate, 1, 64)  # promotion
            for _ in range(args.rounds):
                alone.append(open_loop(server, "/auto", quick_rate, seconds, 64)["p99_us"])
                with concurrent.futures.ThreadPoolExecutor(1) as beside:
                    slow = beside.submit(open_loop, server, "/blocks", slow_rate, seconds, 64)
                    among.append(open_loop(server, "/auto", quick_rate, seconds, 64)["p99_us"])
                    done = slow.result()
                if done["errors"] or done["bad_status"]:
                    say(f"the sleepers were not all served: {done}")
        finally:
            server.stop()
        print(
            f"\n{python}: {quick_rate:.0f} quick and {slow_rate:.0f} sleeping requests a second, one worker: p99 of the "
            f"quick ones {statistics.median(alone):.0f} us alone, {statistics.median(among):.0f} us among them"
        )
        bar(f"{python}: quick p99 among / alone", [a / b for a, b in zip(among, alone, strict=True)], most=3)


def beside(args: argparse.Namespace) -> None:
    """The longest a quick request waits while one other handler waits, releases the GIL, or burns, for a second."""
    print("\nlongest wait of a quick request beside one handler of a second (500 quick requests a second)")
    for python in ("gil", "ft"):
        server = start(handlers(python), "", ",".join(map(str, CORES)), log("beside"))
        try:
            open_loop(server, "/auto", 500, 1, 4)
            for path, most in (("/second", 3.0), ("/burn", 3.0)):
                longest, p99 = [], []
                for _ in range(args.rounds):
                    other = threading.Thread(
                        target=urllib.request.urlopen, args=(f"http://127.0.0.1:{server.port}{path}",)
                    )
                    other.start()
                    time.sleep(0.1)
                    result = open_loop(server, "/auto", 500, 0.8, 4)
                    longest.append(result["max_us"] / 1000)
                    p99.append(result["p99_us"] / 1000)
                    other.join()
                bar(f"{python}: beside {path}, longest, ms", longest, most=most)
                bar(f"{python}: beside {path}, p99, ms", p99)
        finally:
            server.stop()


# ---- the five, and the three queries ---------------------------------------------------------------


def get(port: int, path: str) -> tuple[float, dict[str, object]]:
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=300) as response:
        body = json.load(response)
    return time.perf_counter() - began, body


class Prober:
    """Asks /health twenty times a second while something else goes on."""

    def __init__(self, port: int) -> None:
        self.port, self._stop = port, threading.Event()
        self.took: list[float] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.took.append(get(self.port, "/health")[0])

    def __enter__(self) -> "Prober":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def example(name: str, python: str, workers: int, threads: int) -> Target:
    return Target(
        name,
        python,
        lambda _, port: [
            *(str(ROOT / "build/oarlock"), "run", f"{name}:app", "--app-dir", str(ROOT / "examples")),
            *("--python", python, "--workers", str(workers), "--threads", str(threads), "--bind", f"127.0.0.1:{port}"),
        ],
    )


def four_at_once(server: Running, path: str) -> tuple[float, list[float]]:
    """Seconds until the work of four requests is done, and what /health took meanwhile."""
    with Prober(server.port) as probe, concurrent.futures.ThreadPoolExecutor(4) as pool:
        began = time.perf_counter()
        list(pool.map(lambda _: get(server.port, path), range(4)))
        batch = time.perf_counter() - began
        used = server.cpu()
        while path == "/background":  # answered at once: the work is done when the server's CPU time stands still
            time.sleep(0.3)
            now = server.cpu()
            if now - used < 0.05:
                break
            used, batch = now, time.perf_counter() - began
    return batch, probe.took or [float("nan")]


def five(args: argparse.Namespace) -> None:
    """The CPU-bound five: a batch of four at once, and /health meanwhile; then the three queries."""
    kinds = {"GIL 1 x 1": ("gil", 1, 1), "GIL 2 x 1": ("gil", 2, 1), "FT 1 x 2": ("ft", 1, 2)}
    cores = ",".join(map(str, CORES))
    print(
        f"\nfour requests at once, {len(CORES)} cores: seconds for the batch; /health meanwhile, median and worst, ms"
    )
    print(f"  {'':<14}" + "".join(f"{name:>30}" for name in kinds))
    rows: dict[str, list[str]] = {}
    thread_batch: dict[str, float] = {}
    for name, (python, workers, threads) in kinds.items():
        server = start(example("cpu", python, workers, threads), "", cores, log("five"))
        try:
            for path in ("/generator", "/cycle", "/cycle_sleep", "/thread", "/background"):
                batch, took = four_at_once(server, path)
                text = f"{batch:7.2f}  {statistics.median(took) * 1e3:7.1f} {max(took) * 1e3:8.1f}"
                rows.setdefault(path, []).append(text)
                if path == "/thread":
                    thread_batch[name] = batch
        finally:
            server.stop()
        say(f"five: {name}")
    for path, cells in rows.items():
        print(f"  {path:<14}" + "".join(f"{cell:>30}" for cell in cells))
    alone = thread_batch["GIL 1 x 1"]
    bar("FT 1 x 2 /thread / GIL 1 x 1 /thread, batch time", [thread_batch["FT 1 x 2"] / alone])
    print("\nthree queries of 10 ms each, ms (median of 50)")
    for name, (python, workers, threads) in kinds.items():
        server = start(example("queries", python, workers, threads), "", cores, log("queries"))
        try:
            slow, fast = (
                statistics.median(get(server.port, path)[0] for _ in range(50)) * 1e3
                for path in ("/sequential", "/together")
            )
        finally:
            server.stop()
        print(f"  {name:<14} sequential {slow:6.1f}   together {fast:6.1f}")
        bar(f"{name}: together / sequential", [fast / slow], most=0.45)


# ---- collections -----------------------------------------------------------------------------------


def collect(args: argparse.Namespace) -> None:
    """What the interpreter's collections cost with much live data: frozen after import, as oarlock does, and not."""
    code = (
        "import gc, sys, time\n"
        "data = [{'a': [i], 'b': (i,)} for i in range(400_000)]\n"
        "gc.collect()\n"
        "if sys.argv[1] == 'freeze': gc.freeze(); gc.collect()\n"
        "pauses, t = [], 0.0\n"
        "def watch(phase, info):\n"
        "    global t\n"
        "    if phase == 'start': t = time.perf_counter()\n"
        "    else: pauses.append(time.perf_counter() - t)\n"
        "gc.callbacks.append(watch)\n"
        "began = time.perf_counter()\n"
        "keep = []\n"
        "for i in range(400_000):\n"
        "    keep.append([{}, []])\n"
        "    if len(keep) > 50000: keep = []\n"
        "print(time.perf_counter() - began, len(pauses), sum(pauses), max(pauses or [0]))\n"
    )
    print("\n400,000 dicts live, 400,000 requests' worth of containers made and dropped")
    for python in ("gil", "ft"):
        exe = (ROOT / f"build/python-{python}").read_text().strip()
        for how in ("freeze", "plain"):
            runs = []
            for _ in range(min(args.rounds, 5)):
                done = subprocess.run([exe, "-c", code, how], capture_output=True, text=True, check=True)
                runs.append([float(x) for x in done.stdout.split()])
            wall, n, total, longest = (statistics.median(r[i] for r in runs) for i in range(4))
            print(
                f"  {python:<4}{how:<8} {wall:6.2f} s, {n:5.0f} collections, {total * 1e3:7.1f} ms, longest {longest * 1e3:6.2f} ms"
            )


PARTS = {f.__name__: f for f in (wire, wait, inprocess, cpu, mixed, beside, five, collect)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load for each measurement in a round")
    parser.add_argument("--others", help="an interpreter with bench/requirements-gil.txt installed")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a bar is missed")
    args = parser.parse_args()
    if len(CORES) < 2:
        sys.exit("handlers: two cores are needed, one for the server and one for the load")
    for name in args.parts or PARTS:
        PARTS[name](args)
    print(f"\n{len(missed)} bars missed" + "".join(f"\n  {text}" for text in missed))
    sys.exit(1 if args.check and missed else 0)


if __name__ == "__main__":
    main()
