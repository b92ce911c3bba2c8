"""What the size of the pool does: handlers that wait, that wait a little beside quick ones, and that compute beside quick ones.

usage: pool.py [--sizes auto 4 40] [--rounds 8] [--kind gil|ft]
One worker on one core, the load on another; sizes are --pool-threads, in one interleaved run on the comparison's engine.
docs/decisions/011-pool-size.md has a run.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

from oarlock.compare import cli, stats  # noqa: E402
from oarlock.compare.engine import Experiment, Plan  # noqa: E402
from oarlock.compare.interpreters import find  # noqa: E402
from oarlock.compare.options import cores  # noqa: E402
from oarlock.compare.scenarios import Request, Scenario  # noqa: E402
from oarlock.compare.server import shape  # noqa: E402
from oarlock.compare.terminal import Progress  # noqa: E402

SCENARIOS = (
    Scenario("100 ms of waiting", (Request("/blocks"),), 64),
    Scenario("5 % of that beside quick ones", (Request("/async", weight=95), Request("/blocks", weight=5)), 64),
    Scenario("1 ms of Python", (Request("/cpu"),), 64),
    Scenario("20 % of that beside quick ones", (Request("/async", weight=80), Request("/cpu", weight=20)), 64),
)
METRICS = ("throughput", "p50_us", "p99_us", "pss_mib")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["auto", "4", "40"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--kind", choices=("gil", "ft"), default="gil")
    args = parser.parse_args()
    have = cores()
    if len(have) < 2:
        sys.exit("pool: two cores are needed, one for the server and one for the load")
    python = find(args.kind, None, None)
    one = shape(args.kind, 1, 1, python)
    deployments = [
        replace(one, name=f"pool of {size}", pool_threads=0 if size == "auto" else int(size)) for size in args.sizes
    ]
    plan = Plan(str(have[0]), str(have[-1]), 1, False, looks=(args.rounds,), time=float("inf"), decide=METRICS)
    with tempfile.TemporaryDirectory(prefix="oarlock-pool-") as folder:
        e = Experiment("handlers:app", str(ROOT / "bench/apps"), deployments, list(SCENARIOS), plan, Path(folder), Progress("pool"))  # fmt: skip
        e.run_whole()
    print(f"{python.version}, {os.uname().machine}; mean of {args.rounds} rounds [95 %]\n")
    print("| | pool | requests/s | median ms | p99 ms | PSS MiB |\n|---|---|---|---|---|---|")
    for s in SCENARIOS:
        for d in deployments:
            figures = {m: stats.interval(e.cells[s.name, d.name].values(m)) for m in METRICS}
            shown = [
                f"{figures['throughput'][0]:,.0f} [{figures['throughput'][1]:,.0f}, {figures['throughput'][2]:,.0f}]",
                *("{:.1f} [{:.1f}, {:.1f}]".format(*(x / 1000 for x in figures[m])) for m in ("p50_us", "p99_us")),
                f"{figures['pss_mib'][0]:.1f}",
            ]
            print(f"| {s.name} | {d.name.removeprefix('pool of ')} | {' | '.join(shown)} |")
        print(f"| | at | {e.rates.get(s.name, 0):g}/s | | | |")


if __name__ == "__main__":
    sys.exit(cli.guard("pool", main))
