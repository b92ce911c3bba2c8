"""Is the comparison to be trusted? A deployment against itself, and against itself with 5 % more work per request.

usage: validate.py [--runs 20] [--extra 0.05] [--time S] [--what aa ab] [--scenario quick-json]
A/A: of 20 runs at most one may say "different", and at least 16 should say "equal". A/B: at least 18 should say
"different". One worker and one thread, on one core; the load on another. The added work is a loop of Python whose length
is calibrated, on the server's core, to 5 % of the CPU time that a request takes without it. Each run is a whole
`oarlock compare`, its looks and its stopping rule included. See docs/compare.md.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

from oarlock.compare import cli, stats  # noqa: E402
from oarlock.compare.engine import Experiment, Plan  # noqa: E402
from oarlock.compare.interpreters import find  # noqa: E402
from oarlock.compare.options import cores  # noqa: E402
from oarlock.compare.scenarios import BUILTIN  # noqa: E402
from oarlock.compare.server import Deployment  # noqa: E402


def steps(python: str, core: int, microseconds: float) -> int:
    """How many steps of builtin.work() take so long: the least of many timings, so that noise does not shorten them."""
    code = (
        "import timeit\n"
        "def work(n):\n"
        "    total = 0\n"
        "    for i in range(n):\n"
        "        total += i * i\n"
        "    return total\n"
        "def least(n): return min(timeit.repeat(lambda: work(n), number=2000, repeat=60)) / 2000 * 1e6\n"
        "a, b = least(10), least(210)\n"
        "print(a, (b - a) / 200)"
    )
    done = subprocess.run(["taskset", "-c", str(core), python, "-c", code], capture_output=True, text=True, check=True)
    ten, each = (float(x) for x in done.stdout.split())
    return max(1, round((microseconds - ten) / each) + 10)


def one(extra: int, seconds: float, scenario: str, seed: int, kind: str) -> dict[str, object]:
    python = find(kind, None, None)
    more = (("OARLOCK_COMPARE_EXTRA", str(extra)),) if extra else ()
    pair = [
        Deployment("A", kind, 1, 1, python),
        Deployment("B" if extra else "A again", kind, 1, 1, python, environment=more),
    ]
    have = cores()
    plan = Plan(
        server_cores=str(have[0]),
        load_cores=str(have[-1]),
        n_server_cores=1,
        shared_cores=False,
        time=seconds,
        decide=("throughput", "cpu_us"),
        ceiling=False,
    )
    with tempfile.TemporaryDirectory(prefix="oarlock-validate-") as folder:
        e = Experiment("", ".", pair, [BUILTIN[scenario]], plan, Path(folder), lambda _: None, seed)
        e.run_whole()
    found: dict[str, object] = {"rounds": e.rounds, "seconds": round(e.seconds, 1)}
    for (_, _, metric), (c, verdict) in e.comparisons().items():
        assert c is not None
        found[metric] = verdict
        found[f"{metric}_ratio"] = [round(x, 4) for x in (c.ratio, c.low, c.high)]
        found[f"{metric}_deviation"] = round(c.deviation, 4)
    found["cpu_us_value"] = round(stats.interval(e.cells[scenario, "A"].values("cpu_us"))[0], 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--extra", type=float, default=0.05, help="more work per request in A/B")
    parser.add_argument("--time", type=float, default=150, help="seconds at most for a run")
    parser.add_argument("--scenario", default="quick-json")
    parser.add_argument("--kind", choices=("gil", "ft"), default="gil")
    parser.add_argument("--what", nargs="*", choices=("aa", "ab"), default=["aa", "ab"])
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/validate.json")
    args = parser.parse_args()
    if len(cores()) < 2:
        sys.exit("validate: two cores are needed, one for the server and one for the load")
    python = find(args.kind, None, None)
    base = one(0, 20, args.scenario, 0, args.kind)
    cpu_us = float(str(base["cpu_us_value"]))
    extra = steps(python.executable, cores()[0], args.extra * cpu_us)
    print(f"a request of {args.scenario} takes {cpu_us:.2f} us of CPU; {extra} steps more are {args.extra:.0%} of that")
    everything: dict[str, list[dict[str, object]]] = {what: [] for what in args.what}
    for n in range(args.runs):  # in turn, so that a bad quarter of an hour meets both
        for what in args.what:
            began = time.monotonic()
            found = one(extra if what == "ab" else 0, args.time, args.scenario, n, args.kind)
            everything[what].append(found)
            print(f"{what} {n + 1:>2}: {json.dumps(found)} ({time.monotonic() - began:.0f} s)", flush=True)
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(everything, indent=1))
    for what, runs in everything.items():
        for metric in ("throughput", "cpu_us"):
            count = collections.Counter(str(r[metric]) for r in runs)
            told = ", ".join(f"{count[v]} {v}" for v in (stats.DIFFERENT, stats.EQUAL, stats.UNDECIDED))
            print(f"{'A/A' if what == 'aa' else 'A/B'} {metric}: of {len(runs)} runs {told}")


if __name__ == "__main__":
    sys.exit(cli.guard("validate", main))
