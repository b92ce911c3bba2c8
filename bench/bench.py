"""Requests/s, server CPU per request and user instructions per request: oarlock's stub, its `def` handler, and others.

usage: bench.py [--rounds N] [--seconds S] [--others PYTHON_GIL PYTHON_FT] [--check] [--json FILE]
All targets are started at once and measured in turn, round after round, so that a change of the machine meets all of
them; ratios are of pairs from one round. Server on one core, load on another. See bench/method.md.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from targets import DEF, OTHERS, ROOT, STUB, Running, Target, start

CONNECTIONS = 64
DEPTHS = (1, 16)
Key = tuple[str, str, int]  # name, python, pipeline depth


def say(text: str) -> None:
    print(f"[bench] {text}", file=sys.stderr, flush=True)


def measure(
    server: Running, depth: int, seconds: float, core: int, path: str = "/hello", connections: int = CONNECTIONS
) -> dict[str, float] | None:
    """One interval of load; None where the server did not answer every request rightly."""
    before, started = server.cpu(), time.perf_counter()
    load = subprocess.run(
        [
            *("taskset", "-c", str(core), str(ROOT / "build/load"), "--port", str(server.port), "--path", path),
            *("--connections", str(connections), "--pipeline", str(depth), "--seconds", str(seconds)),
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    wall, cpu = time.perf_counter() - started, server.cpu() - before
    if load.returncode != 0:
        return None
    found = json.loads(load.stdout)
    if found["errors"] or found["bad_status"] or found["resets"] or not found["requests"]:
        return None
    return {
        "rate": found["rate"],
        "cpu_us": cpu / found["requests"] * 1e6,
        "generator": found["generator_cpu"] / found["seconds"],
        "server": cpu / wall,
        "p99_us": found["p99_us"],
    }


def instructions(target: Target, depth: int) -> float | None:
    """User instructions of a worker for one request, by callgrind; only where this project chose the flags."""
    command = [sys.executable, str(ROOT / "bench/instructions.py"), "--pipeline", str(depth), "--requests", "8000"]
    if target.python != "-":
        command += ["--app", "hello:app", "--python", target.python]
    done = subprocess.run(command, capture_output=True, text=True)
    match = re.search(r"(\d+) user instructions", done.stdout)
    if not match:
        say(f"callgrind gave no figure for {target.name}: {done.stderr.strip()[-300:]}")
    return float(match[1]) if match else None


def middle(values: Iterable[float]) -> tuple[float, float, float]:
    """Median and an interval for it: the order statistics that hold it with at least 90 % (binomial, exact)."""
    v = sorted(values)
    n = len(v)
    skip, tail, term = 0, 0.0, 0.5**n
    while tail + term <= 0.05 and skip < n // 2:
        tail += term
        skip += 1
        term *= (n - skip + 1) / skip
    low = max(skip - 1, 0)
    return statistics.median(v), v[low], v[n - 1 - low]


def ratio(
    found: dict[Key, list[dict[str, float] | None]], a: Key, b: Key, what: str
) -> tuple[float, float, float] | None:
    pairs = [(x[what], y[what]) for x, y in zip(found[a], found[b], strict=True) if x and y]
    return middle(x / y for x, y in pairs) if pairs else None


def table(
    targets: list[Target], found: dict[Key, list[dict[str, float] | None]], count: dict[Key, float | None]
) -> None:
    for depth in DEPTHS:
        print(
            f"\n{CONNECTIONS} connections, {'no pipelining' if depth == 1 else f'pipelined {depth}'}; server on one core"
        )
        print(f"{'':<24}{'python':<8}{'requests/s':>11} {'CPU us/request':>22} {'instructions':>13}  p99 ms")
        for t in targets:
            key = (t.name, t.python, depth)
            rounds = [r for r in found[key] if r]
            if not rounds:
                print(f"{t.name:<24}{t.python:<8}{'no right answers to this load':>34}")
                continue
            rate = statistics.median(r["rate"] for r in rounds)
            cpu, low, high = middle(r["cpu_us"] for r in rounds)
            limited = statistics.median(r["generator"] for r in rounds) > 0.95
            limited = limited and statistics.median(r["server"] for r in rounds) < 0.95
            n = count.get(key)
            print(
                f"{t.name:<24}{t.python:<8}{rate:>11,.0f} {cpu:>8.2f} [{low:.2f}-{high:.2f}]".ljust(67)
                + f"{f'{n:,.0f}' if n else '':>13} {statistics.median(r['p99_us'] for r in rounds) / 1000:7.2f}"
                + ("  the generator was the limit: the rate is a lower bound" if limited else "")
            )


def bars(found: dict[Key, list[dict[str, float] | None]], count: dict[Key, float | None]) -> bool:
    """The promises that are bars, on this run; true when all hold."""
    stub1, stub16 = ((STUB.name, "-", d) for d in DEPTHS)
    gil1, gil16 = ((DEF["gil"].name, "gil", d) for d in DEPTHS)
    ft1, ft16 = ((DEF["ft"].name, "ft", d) for d in DEPTHS)
    rows = [
        ("GIL def / stub, CPU per request, no pipelining", ratio(found, gil1, stub1, "cpu_us"), "most", 1.12),
        ("GIL def / stub, CPU per request, pipelined 16", ratio(found, gil16, stub16, "cpu_us"), "most", 1 / 0.65),
        ("GIL def / stub, requests/s, pipelined 16", ratio(found, gil16, stub16, "rate"), "least", 0.65),
        ("GIL def, requests/s, pipelined 16 / not", ratio(found, gil16, gil1, "rate"), "least", 6.0),
        ("FT def / stub, CPU per request, no pipelining", ratio(found, ft1, stub1, "cpu_us"), "", 0.0),
        ("FT def / stub, requests/s, pipelined 16", ratio(found, ft16, stub16, "rate"), "", 0.0),
    ]
    fine = True
    print("\nratios (median of pairs, with its 90 % interval)")
    for text, r, kind, bar in rows:
        if r is None:
            print(f"  {text:<52} no pairs")
            continue
        holds = not kind or (r[0] <= bar if kind == "most" else r[0] >= bar)
        fine = fine and holds
        verdict = "" if not kind else f"  bar: at {kind} {bar:.2f}: {'holds' if holds else 'MISSED'}"
        print(f"  {text:<52} {r[0]:.3f} [{r[1]:.3f}-{r[2]:.3f}]{verdict}")
    n = count.get(stub1)
    if n:
        fine = fine and n <= 2840
        verdict = "holds" if n <= 2840 else "MISSED"
        print(f"  {'stub, user instructions per request':<52} {n:,.0f}  bar: at most 2,840 (1.3 x 2,185): {verdict}")
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load for a target and depth in each round")
    parser.add_argument(
        "--others", nargs=2, metavar=("GIL", "FT"), help="interpreters with the other servers installed"
    )
    parser.add_argument("--no-instructions", action="store_true", help="leave callgrind out")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a bar is missed")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/bench.json")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench: two cores are needed, one for the server and one for the load")
    exes = dict(zip(("gil", "ft"), args.others or ("", ""), strict=True)) | {"-": ""}
    targets = [STUB, *DEF.values(), *(OTHERS if args.others else [])]
    running: list[Running] = []
    found: dict[Key, list[dict[str, float] | None]] = {(t.name, t.python, d): [] for t in targets for d in DEPTHS}
    try:
        for i, t in enumerate(targets):
            running.append(start(t, exes[t.python], cores[0], ROOT / f"build/bench/{i}.log"))
        for server in running:
            measure(server, 1, 0.3, cores[1])  # warm: imports, specialisation, first allocations
        for n in range(args.rounds):
            began = time.monotonic()
            for server in random.sample(running, len(running)):  # no target has a place of its own in the round
                for depth in DEPTHS:
                    key = (server.target.name, server.target.python, depth)
                    if n and not any(found[key]):
                        found[key].append(None)  # it cannot answer this load: not asked again
                    else:
                        found[key].append(measure(server, depth, args.seconds, cores[1]))
            say(f"round {n + 1} of {args.rounds}: {time.monotonic() - began:.0f} s")
    finally:
        for server in running:
            server.stop()
    count: dict[Key, float | None] = {}
    if not args.no_instructions:
        for t in (STUB, *DEF.values()):
            for depth in DEPTHS:
                say(f"counting instructions: {t.name} {t.python}, depth {depth}")
                count[t.name, t.python, depth] = instructions(t, depth)
    table(targets, found, count)
    fine = bars(found, count)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"name": k[0], "python": k[1], "depth": k[2], "rounds": v, "instructions": count.get(k)}
        for k, v in found.items()
    ]
    args.json.write_text(json.dumps(rows, indent=1))
    sys.exit(1 if args.check and not fine else 0)


if __name__ == "__main__":
    main()
