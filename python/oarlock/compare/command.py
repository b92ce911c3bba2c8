"""The command line of ``oarlock compare``."""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from oarlock.compare import page, preflight, result, stats, terminal
from oarlock.compare import scenarios as s
from oarlock.compare.engine import Experiment, Plan
from oarlock.compare.interpreters import CompareError, Interpreter, differences
from oarlock.compare.metrics import HEADLINE, METRICS
from oarlock.compare.options import Pythons, common, interpreters, manifest, measuring, place
from oarlock.compare.scenarios import Scenario
from oarlock.compare.server import Deployment, shape


def choose_scenarios(args: argparse.Namespace, python: Interpreter, quick: bool, say: Any) -> list[Scenario]:
    """What is to be measured; it sends GET and HEAD alone, unless --unsafe-methods is given."""
    if args.scenarios:
        found = s.read(args.scenarios)[: 2 if quick else None]
        preflight.refuse_unsafe(found, args.unsafe_methods)
        return found
    if args.scenario:
        return s.named(args.scenario)
    if not args.app:
        return s.named(list(s.QUICK if quick else s.DEFAULT))
    found, left_out = s.from_manifest(manifest(args.app, args.app_dir, args.factory, python), args.unsafe_methods)
    if left_out:
        say(f"{len(left_out)} routes that answer neither GET nor HEAD are left out; --unsafe-methods measures them too")
    most = 2 if quick else 4
    if len(found) > most:
        say(f"the application has {len(found)} routes; the first {most} are measured. --write-scenarios FILE to choose")
    if not found:
        raise CompareError(
            f"{args.app} has no route for GET or HEAD; write a scenario file (docs/compare.md), or give --unsafe-methods"
        )
    return found[:most]


def default_deployments(pythons: Pythons, n: int, options: tuple[str, ...]) -> list[Deployment]:
    g, gv = pythons["gil"]
    f, fv = pythons["ft"]
    found = [
        shape("gil", n, 1, g, venv=gv, options=options),
        shape("ft", 1, n, f, venv=fv, options=options),
    ]
    if n > 2:
        found.append(shape("ft", 2, n // 2, f, venv=fv, options=options))
    if n > 1:
        found.append(shape("gil", 1, 1, g, venv=gv, options=options))
    return found


def chosen_deployments(args: argparse.Namespace, pythons: Pythons, options: tuple[str, ...]) -> list[Deployment]:
    """Like "gil:4x1" or "ft:2x4"."""
    found: list[Deployment] = []
    for text in args.deploy:
        kind, _, size = text.partition(":")
        workers, _, threads = size.partition("x")
        if (
            kind not in pythons
            or not workers.isdigit()
            or not threads.isdigit()
            or not int(workers)
            or not int(threads)
        ):
            raise CompareError(f"--deploy {text}: say it like gil:4x1 or ft:1x4 (kind:WORKERSxTHREADS)")
        python, venv = pythons[kind]
        d = shape(kind, int(workers), int(threads), python, venv=venv, options=options)
        same = sum(x.name.partition(" #")[0] == d.name for x in found)
        found.append(replace(d, name=f"{d.name} #{same + 1}") if same else d)
    return found


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oarlock compare",
        description="Runs the application on the GIL and on the free-threaded interpreter under the same load, and says which to deploy.",
    )
    common(parser, app_needed=False)
    measuring(parser, 400)
    parser.add_argument("--quick", action="store_true", help="two scenarios, three minutes at most")
    parser.add_argument(
        "--deploy",
        action="append",
        default=[],
        metavar="KIND:WxT",
        help="a deployment, like gil:4x1 or ft:2x2; several times; the first is what others are compared with",
    )
    parser.add_argument(
        "-n", type=int, metavar="N", help="cores to use for the default deployments (default: the server's)"
    )
    parser.add_argument(
        "--decide",
        default=",".join(HEADLINE),
        metavar="LIST",
        help=f"metrics that get a verdict, and end the run when all are decided (default: {','.join(HEADLINE)})",
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="this many rounds, looked at once (default: until decided)"
    )
    parser.add_argument(
        "--server-option",
        action="append",
        default=[],
        metavar="OPT",
        help="one more option of `oarlock run`, for all, like --server-option=--loop=stock",
    )
    parser.add_argument(
        "--write-scenarios",
        type=Path,
        metavar="FILE",
        help="write a scenario file from the application's routes, and stop",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("oarlock-compare"),
        help="folder for report.html and result.json",
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="JSON", help="an earlier result.json: exit status 3 when something got worse"
    )
    return parser


def plan_of(args: argparse.Namespace, size: int, quick: bool) -> Plan:
    server, load, shared = place(args, size)
    decide = tuple(args.decide.split(",")) if getattr(args, "decide", None) else HEADLINE
    unknown = [m for m in decide if m not in METRICS]
    if unknown:
        raise CompareError(f"--decide: unknown metric {unknown[0]!r}; known: {', '.join(METRICS)}")
    looks: tuple[int, ...] = stats.LOOKS
    if quick:
        looks = looks[:3]
    if getattr(args, "rounds", None):
        if args.rounds < 6:
            raise CompareError("--rounds: verdicts need at least 6")
        looks = (args.rounds,)
    return Plan(
        server_cores=",".join(map(str, server)),
        load_cores=",".join(map(str, load)),
        n_server_cores=len(server),
        shared_cores=shared,
        time=min(args.time, 140) if quick else args.time,
        looks=looks,
        decide=decide,
    )  # fmt: skip


def _header(e: Experiment, pythons: Pythons) -> None:
    for kind, (python, venv) in pythons.items():
        print(f"{kind.upper():<4} {python.words()}{f', {venv}' if venv else ''}", file=sys.stderr)
    unlike = differences(pythons["gil"][0], pythons["ft"][0])
    if unlike:
        print(f"!! the interpreters differ in more than the GIL: {'; '.join(unlike)}", file=sys.stderr)
    p = e.plan
    print(f"server on cores {p.server_cores}, load generator on {p.load_cores}", file=sys.stderr)
    if p.shared_cores:
        print(
            "!! too few cores to keep server and load generator apart: they share; see docs/compare.md", file=sys.stderr
        )
    print(f"{', '.join(d.name for d in e.deployments)}; {', '.join(x.name for x in e.scenarios)}; "
          f"at most {p.time:.0f} s; Ctrl-C reports what there is", file=sys.stderr)  # fmt: skip


def run(args: argparse.Namespace) -> int:
    progress = terminal.Progress("compare")
    old = result.load(args.baseline) if args.baseline else None
    pythons = interpreters(args, progress)
    if args.write_scenarios:
        if not args.app:
            raise CompareError("--write-scenarios: name the application whose routes it is written from")
        routes = manifest(args.app, args.app_dir, args.factory, pythons["gil"][0])
        found, left_out = s.from_manifest(routes, args.unsafe_methods)
        args.write_scenarios.write_text(s.write(found, left_out))
        print(
            f"{args.write_scenarios}: {len(found)} scenarios; edit it, then: oarlock compare {args.app} --scenarios {args.write_scenarios}"
        )
        return 0
    options = (*args.server_option, *(("--factory",) if args.factory else ()))
    server, _, _ = place(args, 2)
    n = args.n or len(server)
    deployments = (
        chosen_deployments(args, pythons, options) if args.deploy else default_deployments(pythons, n, options)
    )
    if len(deployments) < 2:
        raise CompareError("--deploy: two deployments are needed for a comparison")
    chosen = choose_scenarios(args, pythons["gil"][0], args.quick, progress)
    plan = plan_of(args, max(d.size for d in deployments), args.quick)
    folder = args.keep or Path(os.environ.get("TMPDIR", "/tmp"), f"oarlock-compare-{os.getpid()}")
    e = Experiment(args.app, os.path.abspath(args.app_dir), deployments, chosen, plan, folder, progress, args.seed)
    _header(e, pythons)
    preflight.probe(deployments, chosen, e.app, e.app_dir, plan.server_cores, folder, progress)
    began = time.monotonic()
    e.run()
    progress.done()
    data = result.build(e, result.command_line())
    result.save(data, args.output / "result.json")
    (args.output / "report.html").write_text(page.render(data))
    print(terminal.table(data))
    print(
        f"\n{args.output}/report.html and result.json written; {time.monotonic() - began:.0f} s; the servers' logs are in {folder}"
    )
    if old:
        worse = result.regressions(data, old)
        print("\n".join(["", f"{len(worse)} regressions against {args.baseline}", *(f"  {w}" for w in worse)]))
        return 3 if worse else 0
    return 0
