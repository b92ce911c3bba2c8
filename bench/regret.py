"""What `oarlock tune` gives away: its choice against the best of an exhaustive grid, on six shapes of application.

usage: regret.py [--shapes NAME ...] [--rounds N] [--grid JSON] [--json FILE]
For each shape: every configuration measured for twelve rounds (the truth, as far as they know it), then a `tune` from
fresh. Regret: how much less throughput than the best its choice has, by the grid's figures. The best of many noisy figures
is partly luck, so the two are also set side by side in rounds of their own. docs/tune.md has a run.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

from oarlock.compare import cli, tune  # noqa: E402
from oarlock.compare.command import plan_of  # noqa: E402
from oarlock.compare.options import interpreters  # noqa: E402
from oarlock.compare.scenarios import BUILTIN  # noqa: E402
from oarlock.compare.server import Deployment  # noqa: E402

SHAPES = ("quick-json", "cpu-1ms", "async-10ms", "blocking-10ms", "mixed", "state-100m")


def say(text: str) -> None:
    print(f"[regret] {text}", file=sys.stderr, flush=True)


def head_to_head(search: tune.Search, best: Deployment, chosen: Deployment, rounds: int) -> dict[str, float]:
    """The chosen one's throughput / the best's, in rounds of their own: neither grid nor tune has picked these."""
    e = search.run([best, chosen], replace(search.plan, looks=(rounds,), decide=("throughput",), time=math.inf))
    c, _ = e.comparisons()[search.scenario.name, chosen.name, "throughput"]
    assert c is not None
    return {"ratio": round(c.ratio, 4), "low": round(c.low, 4), "high": round(c.high, 4)}


def one(shape: str, earlier: dict[str, float], rounds: int) -> dict[str, Any]:
    args = tune.parser().parse_args(["--scenario", shape])
    pythons = interpreters(args, say)
    plan = plan_of(args, 2, quick=False)
    scenario, target = BUILTIN[shape], tune.Target("throughput")
    with tempfile.TemporaryDirectory(prefix="oarlock-regret-") as folder:
        search = tune.Search(args, scenario, target, plan, Path(folder), lambda _: None)
        candidates = tune.grid(pythons, plan.n_server_cores, search.pools(pythons), ())
        began = time.monotonic()
        known = earlier or {d.name: -s for d, s in search.exhaust(candidates, rounds) if math.isfinite(s)}
        middle = time.monotonic()
        ranking, _ = search.race(candidates)
        ended = time.monotonic()
        best, chosen = max(known, key=lambda name: known[name]), ranking[0][0].name
        named = {d.name: d for d in candidates}
        same = {"ratio": 1.0, "low": 1.0, "high": 1.0}
        again = same if best == chosen else head_to_head(search, named[best], named[chosen], rounds)
    return {
        "shape": shape,
        "configurations": len(candidates),
        "rounds": rounds,
        "best": best,
        "best_rate": round(known[best], 1),
        "chosen": chosen,
        "chosen_rate": round(known[chosen], 1),
        "regret": round(1 - known[chosen] / known[best], 4),
        "head_to_head": again,
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
    parser.add_argument("--rounds", type=int, default=12, help="of the grid, and of the best beside the chosen one")
    args = parser.parse_args()
    earlier = {r["shape"]: r for r in json.loads(args.grid.read_text())} if args.grid else {}
    rows = []
    print(
        "| shape | configurations | best of the grid | chosen by tune | regret | beside the best | worst | grid s | tune s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for shape in args.shapes:
        before = earlier.get(shape, {})
        r = one(shape, before.get("all", {}), args.rounds)
        if before:
            r["exhaustive_s"] = before["exhaustive_s"]
        rows.append(r)
        again = r["head_to_head"]
        beside = (
            "the same"
            if r["best"] == r["chosen"]
            else f"{again['ratio']:.3f} [{again['low']:.3f}, {again['high']:.3f}]"
        )
        print(
            f"| {shape} | {r['configurations']} | {r['best']}: {r['best_rate']:,.0f}/s | {r['chosen']}: {r['chosen_rate']:,.0f}/s | "
            f"{r['regret']:.1%} | {beside} | {r['worst_rate']:,.0f}/s | {r['exhaustive_s']} | {r['tune_s']} |",
            flush=True,
        )
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    sys.exit(cli.guard("regret", main))
