"""What `oarlock tune` gives away: its choice against the best of an exhaustive grid, on six shapes of application.

usage: regret.py [--shapes NAME ...] [--grid JSON] [--json FILE]
For each shape: every configuration measured for six rounds (the truth, as far as six rounds know it), then a `tune` from
fresh. Regret: how much less throughput than the best its choice has, by the exhaustive figures. docs/tune.md has a run.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

from oarlock.compare import cli, tune  # noqa: E402
from oarlock.compare.command import plan_of  # noqa: E402
from oarlock.compare.options import interpreters  # noqa: E402
from oarlock.compare.scenarios import BUILTIN  # noqa: E402

SHAPES = ("quick-json", "cpu-1ms", "async-10ms", "blocking-10ms", "mixed", "state-100m")


def say(text: str) -> None:
    print(f"[regret] {text}", file=sys.stderr, flush=True)


def one(shape: str, earlier: dict[str, float]) -> dict[str, object]:
    args = tune.parser().parse_args(["--scenario", shape])
    pythons = interpreters(args, say)
    plan = plan_of(args, 2, quick=False)
    scenario, target = BUILTIN[shape], tune.Target("throughput")
    with tempfile.TemporaryDirectory(prefix="oarlock-regret-") as folder:
        search = tune.Search(args, scenario, target, plan, Path(folder), lambda _: None)
        candidates = tune.grid(pythons, plan.n_server_cores, search.pools(pythons), ())
        began = time.monotonic()
        known = dict(earlier)
        if not known:
            truth = replace(search, plan=replace(plan, capacity_seconds=0.6)).exhaust(candidates)
            known = {d.name: -score for d, score in truth if math.isfinite(score)}
        middle = time.monotonic()
        ranking, _ = search.race(candidates)
        ended = time.monotonic()
    best, chosen = max(known, key=lambda name: known[name]), ranking[0][0].name
    return {
        "shape": shape,
        "configurations": len(candidates),
        "best": best,
        "best_rate": round(known[best], 1),
        "chosen": chosen,
        "chosen_rate": round(known[chosen], 1),
        "regret": round(1 - known[chosen] / known[best], 4),
        "worst_rate": round(min(known.values()), 1),
        "exhaustive_s": round(middle - began),
        "tune_s": round(ended - middle),
        "all": {k: round(v, 1) for k, v in known.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/regret.json")
    parser.add_argument(
        "--grid", type=Path, metavar="JSON", help="an earlier --json: its grids are taken, only tune is run"
    )
    args = parser.parse_args()
    earlier = {r["shape"]: r for r in json.loads(args.grid.read_text())} if args.grid else {}
    rows = []
    print(
        "| shape | configurations | best of the grid | chosen by tune | regret | worst of the grid | grid s | tune s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for shape in args.shapes:
        before = earlier.get(shape, {})
        r = one(shape, before.get("all", {}))
        if before:
            r["exhaustive_s"] = before["exhaustive_s"]
        rows.append(r)
        print(
            f"| {shape} | {r['configurations']} | {r['best']}: {r['best_rate']:,}/s | {r['chosen']}: {r['chosen_rate']:,}/s | "
            f"{float(str(r['regret'])):.1%} | {r['worst_rate']:,}/s | {r['exhaustive_s']} | {r['tune_s']} |",
            flush=True,
        )
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    sys.exit(cli.guard("regret", main))
