"""``oarlock tune``: the best workers x threads x pool threads for an application, a load and a target, here.

A grid of configurations on the engine of ``compare``, with successive elimination (as successive halving, Jamieson &
Talwalkar 2016, with fewer and longer rungs): all get a short look of two rounds, the best third a longer one, and the last
three a final of six rounds or more, with verdicts. One round for a first look, and halving from there, lost the best of a
grid to noise (docs/tune.md); what is left is ranked by all of its rounds, each against the mean of those beside it.
"""

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from oarlock.compare import preflight, stats
from oarlock.compare.command import choose_scenarios, plan_of
from oarlock.compare.engine import Cell, Experiment, Plan
from oarlock.compare.interpreters import CompareError
from oarlock.compare.options import Pythons, common, interpreters, measuring
from oarlock.compare.scenarios import Scenario
from oarlock.compare.server import Deployment, shape
from oarlock.compare.terminal import Progress, number

TARGETS = ("throughput", "p99", "memory")
LARGE_POOL = 128  # threads; the default grows to 40


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="oarlock tune",
        description="Finds the workers, threads and pool threads that serve a target best within this container.",
    )
    common(p, app_needed=False)
    measuring(p, 240)
    p.add_argument(
        "--target",
        choices=TARGETS,
        default="throughput",
        help="throughput: the most requests/s; p99: the least 99th percentile at --rate; memory: the least PSS at --rate; for both, --p99-ms is a limit",
    )
    p.add_argument("--rate", type=float, default=0, metavar="R", help="requests/s for the targets p99 and memory")
    p.add_argument(
        "--p99-ms",
        type=float,
        default=0,
        metavar="MS",
        help="99th percentile that must be kept (targets p99 and memory)",
    )
    p.add_argument("--kinds", default="gil,ft", metavar="LIST", help="interpreters to try (default: gil,ft)")
    p.add_argument(
        "--exhaustive",
        action="store_true",
        help="measure every configuration at length: what bench/regret.py compares with",
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    return p


@dataclass(frozen=True)
class Target:
    """What is to be best. Lower scores are better; infinite: the limit is not kept."""

    kind: str
    rate: float = 0.0
    p99_ms: float = 0.0

    def metric(self) -> str:
        return {"throughput": "throughput", "p99": "p99_us", "memory": "pss_mib"}[self.kind]

    def scores(self, cells: dict[str, Cell]) -> dict[str, float]:
        """Of those that were measured in the same rounds."""
        found = stats.levels({name: cell.values(self.metric()) for name, cell in cells.items()})
        sign = -1 if self.kind == "throughput" else 1
        return {name: sign * found[name] if self._kept(cell, found[name]) else math.inf for name, cell in cells.items()}

    def _kept(self, cell: Cell, figure: float) -> bool:
        if cell.failed or not math.isfinite(figure):
            return False
        if sum(s.errors for s in cell.samples) > 0.001 * sum(s.requests for s in cell.samples):
            return False
        if self.kind == "throughput" or not self.p99_ms:
            return True
        p99 = [v for v in cell.values("p99_us") if math.isfinite(v)]
        return bool(p99) and statistics.median(p99) <= self.p99_ms * 1000


def grid(pythons: Pythons, n: int, pools: tuple[int, ...], options: tuple[str, ...]) -> list[Deployment]:
    """All sensible shapes for ``n`` cores: powers of two and ``n``, up to twice the cores for handlers that wait."""
    sizes = sorted({1, n, *(2**i for i in range(1, 8) if 2**i <= 2 * n)})
    found = []
    for kind, (python, venv) in pythons.items():
        for workers in sizes:
            for threads in sizes if kind == "ft" else (1,):
                if workers * threads > 2 * n:
                    continue
                for pool in pools:
                    d = shape(kind, workers, threads, python, venv=venv, pool_threads=pool, options=options)
                    found.append(replace(d, name=f"{d.name} pool {pool}") if pool else d)
    return found


@dataclass
class Search:
    """One tuning: what is searched, for what, and where its servers' logs go."""

    args: argparse.Namespace
    scenario: Scenario
    target: Target
    plan: Plan
    folder: Path
    say: Callable[[str], None]

    def run(self, candidates: list[Deployment], plan: Plan, say: Callable[[str], None] | None = None) -> Experiment:
        e = Experiment(
            self.args.app,
            os.path.abspath(self.args.app_dir),
            candidates,
            [self.scenario],
            replace(plan, ceiling=False),
            self.folder,
            say or (lambda _: None),
            self.args.seed,
        )
        e.run_whole()
        return e

    def _decide(self) -> tuple[str, ...]:
        return ("throughput",) if self.target.kind == "throughput" else ("throughput", "p99_us")

    def pools(self, pythons: Pythons) -> tuple[int, ...]:
        """Sizes of the pool worth trying: the default, and more where handlers of this scenario do run in it."""
        first = grid(pythons, 1, (0,), ("--factory",) if self.args.factory else ())[:1]
        e = self.run(first, replace(self.plan, looks=(1,), decide=("throughput",), capacity_seconds=0.3, time=math.inf))
        used = e.cells[self.scenario.name, first[0].name].values("pool_share")
        return (0, LARGE_POOL) if any(x > 0.01 for x in used) else (0,)

    def race(self, candidates: list[Deployment]) -> tuple[list[tuple[Deployment, float]], Experiment | None]:
        """Rungs until three at most are left, and a final. All that were tried, best first, and the final (with verdicts).

        Every round that those who are left were in counts, those of earlier rungs too.
        """
        left = list(candidates)
        seen = {d.name: Cell() for d in candidates}
        scores: dict[str, float] = {}
        out: list[Deployment] = []  # best first
        e = None
        for rung, (rounds, most) in enumerate(((2, max(4, math.ceil(len(left) / 3))), (4, 3))):
            if len(left) <= most:
                continue
            self.say(f"rung {rung + 1}: {len(left)} configurations, {rounds} rounds each")
            short = replace(
                self.plan,
                capacity_seconds=0.3 + 0.3 * rung,
                latency_slices=1 + rung,
                looks=(rounds,),
                decide=self._decide(),
                time=math.inf,
            )
            left = self._ranked(self.run(left, short), seen, scores)
            left, out = left[:most], left[most:] + out
            self.say(f"rung {rung + 1}: best so far {left[0].name}")
        if len(left) > 1:
            self.say(f"the last: {', '.join(d.name for d in left)}")
            e = self.run(left, replace(self.plan, looks=(6, 8, 11), decide=self._last_decide()), self.say)
            left = self._ranked(e, seen, scores)
        return [(d, scores.get(d.name, math.inf)) for d in (*left, *out)], e

    def _ranked(self, e: Experiment, seen: dict[str, Cell], scores: dict[str, float]) -> list[Deployment]:
        """Adds an experiment's rounds to those seen, scores all who were in it, and ranks them."""
        for d in e.deployments:
            cell = e.cells[self.scenario.name, d.name]
            seen[d.name].samples += cell.samples
            seen[d.name].failed = seen[d.name].failed or cell.failed
        scores |= self.target.scores({d.name: seen[d.name] for d in e.deployments})
        return sorted(e.deployments, key=lambda d: scores[d.name])

    def _last_decide(self) -> tuple[str, ...]:
        return self._decide() if self.target.kind != "memory" else ("throughput", "p99_us", "pss_mib")

    def exhaust(self, candidates: list[Deployment], rounds: int = 6) -> list[tuple[Deployment, float]]:
        """Every configuration, all rounds."""
        plan = replace(self.plan, capacity_seconds=0.6, looks=(rounds,), decide=self._decide(), time=math.inf)
        e = self.run(candidates, plan, self.say)
        scores: dict[str, float] = {}
        ranked = self._ranked(e, {d.name: Cell() for d in candidates}, scores)
        return [(d, scores[d.name]) for d in ranked]


def _words(target: Target, score: float) -> str:
    if not math.isfinite(score):
        return "does not keep the limit, or fails"
    value = abs(score)
    return {
        "throughput": f"{number(value)} requests/s",
        "p99": f"p99 {value / 1000:.2f} ms",
        "memory": f"{number(value)} MiB",
    }[target.kind]


def _verdict(e: Experiment, scenario: str, first: Deployment, second: Deployment, metric: str) -> str:
    a, b = e.cells[scenario, first.name].values(metric), e.cells[scenario, second.name].values(metric)
    c = stats.compare(a, b, len(e.plan.looks))
    if c is None:
        return stats.UNDECIDED
    verdict = stats.verdicts([c], len(e.plan.looks))[0]
    return f"{verdict} (ratio {c.ratio:.3f} [{c.low:.3f}, {c.high:.3f}] over {c.rounds} rounds)"


def target_of(args: argparse.Namespace) -> Target:
    if args.target != "throughput" and args.rate <= 0:
        raise CompareError(f"--target {args.target} needs --rate R: the requests/s at which it is to hold")
    return Target(args.target, args.rate, args.p99_ms)


def run(args: argparse.Namespace) -> int:
    progress = Progress("tune")
    target = target_of(args)
    pythons = {k: v for k, v in interpreters(args, progress).items() if k in args.kinds.split(",")}
    if not pythons:
        raise CompareError(f"--kinds {args.kinds}: gil, ft, or both")
    chosen = choose_scenarios(args, next(iter(pythons.values()))[0], quick=False, say=progress)
    if len(chosen) > 1 and not args.scenario:
        progress(f"tuning for the first scenario, {chosen[0].name}; --scenario or --scenarios to choose")
    scenario = replace(chosen[0], rate=target.rate or chosen[0].rate)
    plan = plan_of(args, 2, quick=False)
    n = plan.n_server_cores
    options = ("--factory",) if args.factory else ()
    folder = args.keep or Path(os.environ.get("TMPDIR", "/tmp"), f"oarlock-tune-{os.getpid()}")
    search = Search(args, scenario, target, plan, folder, progress)
    shapes = grid(pythons, n, (0,), options)
    preflight.probe(shapes, [scenario], args.app, os.path.abspath(args.app_dir), plan.server_cores, folder, progress)
    candidates = grid(pythons, n, search.pools(pythons), options)
    print(
        f"{len(candidates)} configurations for {scenario.name}, server on cores {plan.server_cores}, target: {target.kind}",
        file=sys.stderr,
    )
    if plan.shared_cores:
        print(
            "!! too few cores to keep server and load generator apart: they share; see docs/compare.md", file=sys.stderr
        )
    if args.exhaustive:
        ranking, e = search.exhaust(candidates), None
    else:
        ranking, e = search.race(candidates)
    progress.done()
    best, score = ranking[0]
    if not math.isfinite(score):
        print(
            f"no configuration keeps the target ({target.kind}"
            + (f", p99 under {target.p99_ms:g} ms" if target.p99_ms else "")
            + f" at {target.rate:g}/s)"
        )
        return 3
    print(
        f"best for {scenario.name}: {best.name}, {_words(target, score)}\n  oarlock run {args.app or 'YOUR:APP'} {best.flags()}"
    )
    verdict = ""
    if e is not None and len(ranking) > 1 and {best.name, ranking[1][0].name} <= {d.name for d in e.deployments}:
        verdict = _verdict(e, scenario.name, best, ranking[1][0], target.metric())
        print(f"against the runner-up {ranking[1][0].name} ({_words(target, ranking[1][1])}): {verdict}")
    for d, s in ranking[2:7]:
        print(f"  also tried: {d.name}, {_words(target, s)}")
    if args.json:
        data = {"format": 1, "scenario": scenario.name, "target": target.kind, "verdict": verdict,
                "ranking": [{"name": d.name, "flags": d.flags(), "score": None if math.isinf(s) else s} for d, s in ranking]}  # fmt: skip
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0
