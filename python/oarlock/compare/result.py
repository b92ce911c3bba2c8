"""The outcome as JSON (format: docs/compare.md, "The JSON"), and its comparison with an earlier one."""

import datetime
import json
import math
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from oarlock.compare import stats
from oarlock.compare.engine import Experiment, Sample
from oarlock.compare.interpreters import CompareError, differences
from oarlock.compare.metrics import METRICS
from oarlock.compare.recommend import recommend

FORMAT = 1
FIGURES = tuple(
    name for name in Sample.__dataclass_fields__ if name not in ("parts", "slices", "errors", "requests", "imbalance")
)


def _clean(value: float) -> float | None:
    return None if not math.isfinite(value) else float(f"{value:.6g}")


def _figure(values: list[float]) -> dict[str, Any] | None:
    good = [v for v in values if math.isfinite(v)]
    if not good:
        return None
    if min(good) > 0:
        mean, low, high = stats.interval(good)
    else:
        mean, low, high = statistics.fmean(good), min(good), max(good)
    return {"value": _clean(mean), "low": _clean(low), "high": _clean(high), "rounds": [_clean(v) for v in values]}


def _parts(samples: list[Sample]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for p in ("p50", "p90", "p99", "p999"):
        rows = [s.parts[p] for s in samples if p in s.parts]
        if rows and any(sum(r.values()) > 0 for r in rows):
            found[p] = {k: round(statistics.fmean(r[k] for r in rows), 2) for k in rows[0]}
    return found


def machine() -> dict[str, Any]:
    """What it was measured on."""
    cpu = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal")).split()[1]
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory) // 1024,
        "kernel": platform.release(),
        "system": platform.machine(),
        "cgroup": Path("/proc/self/cgroup").read_text().strip().splitlines()[-1],
    }


def scaling_of(e: Experiment) -> list[dict[str, Any]]:
    """A contention fit for each kind of deployment that ran at five or more sizes."""
    found = []
    for s in e.scenarios:
        for kind in ("gil", "ft"):
            points = [
                (d.size, statistics.median(v))
                for d in e.deployments
                if d.kind == kind and (v := [x for x in e.cells[s.name, d.name].values("throughput") if x > 0])
            ]
            fit = stats.scaling([n for n, _ in points], [x for _, x in points])
            if fit:
                found.append(
                    {
                        "scenario": s.name,
                        "kind": kind,
                        "points": points,
                        "rate": _clean(fit.rate),
                        "contention": _clean(fit.contention),
                        "coherence": _clean(fit.coherence),
                        "standard_errors": [_clean(x) for x in fit.errors],
                    }
                )
    return found


def warnings_of(e: Experiment) -> list[str]:
    """What a reader must know before any figure."""
    found = []
    interpreters = {d.kind: d.interpreter for d in e.deployments if d.interpreter}
    if "gil" in interpreters and "ft" in interpreters:
        unlike = differences(interpreters["gil"], interpreters["ft"])
        if unlike:
            found.append(f"UNLIKE BUILDS: the interpreters differ in more than the GIL: {'; '.join(unlike)}")
    if e.plan.shared_cores:
        found.append(
            f"TOO FEW CORES: the load generator runs on a core of the server's ({e.plan.server_cores}); throughput is that of "
            "both together, latency includes the generator's; CPU per request and memory are not affected"
        )
    for (scenario, name), cell in e.cells.items():
        if cell.gil_message:
            line = f"GIL ON: {name}: {cell.gil_message.partition('] ')[2] or cell.gil_message}"
            if line not in found:
                found.append(line)
        if cell.failed:
            found.append(f"FAILED: {scenario} on {cell.failed.splitlines()[0]} {' '.join(cell.failed.split()[-40:])}")
        errors = sum(s.errors for s in cell.samples)
        if errors:
            done = sum(s.requests for s in cell.samples)
            found.append(f"ERRORS: {scenario} on {name}: {errors} of {done} responses were not what was expected")
    found += [f"DIFFERENT BODIES: {line}" for line in e.different_bodies]
    steal = [s.steal for c in e.cells.values() for s in c.samples]
    if steal and statistics.fmean(steal) > 0.02:
        found.append(f"NOISY MACHINE: the hypervisor took {statistics.fmean(steal):.2f} cores away, on average")
    if any(s.throttled_s > 0 for c in e.cells.values() for s in c.samples):
        total = sum(s.throttled_s for c in e.cells.values() for s in c.samples)
        found.append(f"THROTTLED: the cgroup's CPU quota stopped this comparison for {total:.1f} s in all")
    if e.interrupted:
        found.append(f"INTERRUPTED after {e.rounds} whole rounds")
    if e.rounds < e.plan.looks[0]:
        found.append(
            f"TOO FEW ROUNDS: {e.rounds}; verdicts need {e.plan.looks[0]}, so give more --time or fewer scenarios"
        )
    return found


def _results(e: Experiment) -> list[dict[str, Any]]:
    """A row for each scenario and deployment."""
    rows = []
    for s in e.scenarios:
        for d in e.deployments:
            cell = e.cells[s.name, d.name]
            rows.append(
                {
                    "scenario": s.name,
                    "deployment": d.name,
                    "failed": cell.failed,
                    "gil_on": cell.gil_message,
                    "at_least": cell.limited(),
                    "errors": sum(x.errors for x in cell.samples),
                    "requests": sum(x.requests for x in cell.samples),
                    "imbalance": _clean(
                        max((x.imbalance for x in cell.samples if math.isfinite(x.imbalance)), default=math.nan)
                    ),
                    "figures": {name: f for name in FIGURES if (f := _figure(cell.values(name)))},
                    "parts": _parts(cell.samples),
                }
            )
    return rows


def _verdicts(e: Experiment) -> list[dict[str, Any]]:
    """A row for each scenario, deployment (but the first) and headline metric."""
    enough = e.rounds >= e.plan.looks[0]
    verdicts = []
    for (scenario, name, metric), (c, verdict) in e.comparisons().items():
        verdicts.append(
            {
                "scenario": scenario,
                "deployment": name,
                "against": e.deployments[0].name,
                "metric": metric,
                "verdict": verdict if enough else stats.UNDECIDED,
                "better": None if c is None else (c.ratio > 1) == METRICS[metric].more_is_better,
                "ratio": c and _clean(c.ratio),
                "low": c and _clean(c.low),
                "high": c and _clean(c.high),
                "rounds": c.rounds if c else 0,
                "rounds_needed": c.rounds_needed() if c and (verdict == stats.UNDECIDED or not enough) else None,
            }
        )
    return verdicts


def _plan(e: Experiment) -> dict[str, Any]:
    return {
        "server_cores": e.plan.server_cores,
        "load_cores": e.plan.load_cores,
        "shared_cores": e.plan.shared_cores,
        "rounds": e.rounds,
        "seconds": round(e.seconds, 1),
        "seconds_per_round": round(e.seconds / max(1, e.rounds), 1),
        "looks": list(e.plan.looks),
        "metrics": list(e.plan.decide),
        "margin": 0.03,
        "generator": e.ceiling,
    }


def build(e: Experiment, command: list[str]) -> dict[str, Any]:
    """Everything that was found, as plain data."""
    data: dict[str, Any] = {
        "format": FORMAT,
        "tool": "oarlock compare",
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "application": e.app or "built-in scenarios",
        "app_dir": os.path.relpath(e.app_dir) if e.app else "",
        "machine": machine(),
        "plan": _plan(e),
        "deployments": [
            {
                "name": d.name,
                "kind": d.kind or "peer",
                "workers": d.workers,
                "threads": d.threads,
                "flags": d.flags() if d.peer is None else "",
                "interpreter": d.interpreter.as_dict() if d.interpreter else None,
                "words": d.interpreter.words() if d.interpreter else d.name,
            }
            for d in e.deployments
        ],
        "scenarios": [
            {
                "name": s.name,
                "about": s.about,
                "connections": s.connections,
                "rate": e.rates.get(s.name),
                "requests": [{"method": r.method, "path": r.path, "weight": r.weight} for r in s.requests],
            }
            for s in e.scenarios
        ],
        "results": _results(e),
        "verdicts": _verdicts(e),
        "scaling": scaling_of(e),
        "warnings": warnings_of(e),
    }
    data["recommendation"] = recommend(data)
    return data


def load(path: Path) -> dict[str, Any]:
    """An earlier result.

    Raises:
        CompareError: it is none, or of another format.
    """
    try:
        data = json.loads(path.read_text())
    except OSError as exc:
        raise CompareError(f"--baseline {path}: {exc.strerror}") from None
    except ValueError as exc:
        raise CompareError(f"--baseline {path}: is not JSON: {exc}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CompareError(f"--baseline {path}: is not a result of `oarlock compare` of format {FORMAT}")
    return data


def regressions(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """What got worse beyond both runs' intervals and by more than 3 %. Runs on different machines are refused."""
    for key in ("cpu", "cores"):
        if new["machine"][key] != old["machine"][key]:
            raise CompareError(
                f"--baseline: it was measured on another machine ({key}: {old['machine'][key]}, here {new['machine'][key]})"
            )
    before = {(r["scenario"], r["deployment"]): r["figures"] for r in old["results"]}
    found = []
    for row in new["results"]:
        earlier = before.get((row["scenario"], row["deployment"]), {})
        for metric in new["plan"]["metrics"]:
            a, b = row["figures"].get(metric), earlier.get(metric)
            if not a or not b:
                continue
            ratio = a["value"] / b["value"]
            worse = 1 / ratio if METRICS[metric].more_is_better else ratio
            apart = a["high"] < b["low"] if METRICS[metric].more_is_better else a["low"] > b["high"]
            if apart and worse > 1.03:
                found.append(
                    f"{row['scenario']} on {row['deployment']}: {metric} {b['value']:,.4g} -> {a['value']:,.4g} "
                    f"({(ratio - 1) * 100:+.1f} %)"
                )
    return found


def save(data: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")


def command_line() -> list[str]:
    return ["oarlock", *sys.argv[1:]]
