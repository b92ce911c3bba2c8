"""Rounds of measurement: fresh servers, random order, interleaved intervals, checked responses.

In a round every deployment is started anew (so that address-space and hash-seed luck belong inside the interval), all of
them are warmed up, and then measured in turn, several short intervals each, in an order that is drawn anew; idle ones
cost nothing. What the machine does to one it does to all, and the log-ratio within a round forgets it.
"""

import math
import random
import re
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oarlock.compare import stats
from oarlock.compare.interpreters import CompareError
from oarlock.compare.load import Load, ceiling
from oarlock.compare.metrics import HEADLINE
from oarlock.compare.scenarios import Scenario
from oarlock.compare.server import Deployment, Server, start, steal_seconds, throttled

BUSY = 0.95  # of its cores: a generator, or a server, that can do no more
IMBALANCE = 1.25  # busiest thread's connections / the mean, beyond which all connect anew


@dataclass(frozen=True)
class Plan:
    """How long and where to measure."""

    server_cores: str
    load_cores: str
    n_server_cores: int
    shared_cores: bool  # the generator runs on a core of the server's
    capacity_seconds: float = 0.85  # for each deployment in a round, in slices
    slice_seconds: float = 0.06  # at least: a noisy neighbour comes and goes faster than this
    ramp: float = 0.01
    latency_slices: int = 2
    latency_seconds: float = 0.4
    warm_slices: int = 12  # at most
    time: float = 600.0  # seconds for everything
    looks: tuple[int, ...] = stats.LOOKS
    decide: tuple[str, ...] = HEADLINE
    ceiling: bool = True  # measure what the load generator can do

    @property
    def latency(self) -> bool:
        return any(m in self.decide for m in ("p50_us", "p99_us"))


@dataclass
class Sample:
    """One deployment, one scenario, one round. NaN where there is no figure."""

    throughput: float = math.nan
    cpu_us: float = math.nan
    p50_us: float = math.nan
    p90_us: float = math.nan
    p99_us: float = math.nan
    p999_us: float = math.nan
    max_us: float = math.nan
    rate: float = math.nan  # at which latency was measured
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    slices: dict[str, list[float]] = field(default_factory=dict)  # metric -> a figure for each slice of the round
    pss_mib: float = math.nan
    private_mib: float = math.nan
    pss_idle_mib: float = math.nan
    pss_per_worker_mib: float = math.nan
    pss_per_thread_mib: float = math.nan
    pss_per_krps_mib: float = math.nan  # per 1,000 requests/s of throughput
    growth_kib: float = math.nan  # of PSS, per 1,000 requests, under load after the warm-up
    startup_s: float = math.nan
    requests: int = 0
    errors: int = 0
    acquisitions: float = math.nan  # of the interpreter, per request
    acquisition_us: float = math.nan
    gc_ms_per_s: float = math.nan
    pool_share: float = math.nan  # of the requests, whose handler ran in the pool
    switches: float = math.nan  # context switches per request, voluntary and not
    generator: float = math.nan  # of its core
    server: float = math.nan  # of its cores
    throttled_s: float = 0.0
    steal: float = 0.0  # seconds of steal per second, all cores
    imbalance: float = math.nan
    late: float = 0.0  # share of requests sent more than 1 ms after they were due


@dataclass
class Cell:
    """A scenario on a deployment: a sample for each round, or why there is none."""

    samples: list[Sample] = field(default_factory=list)
    failed: str = ""
    gil_message: str = ""
    bodies: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # kind -> status, bytes, hash

    def values(self, metric: str) -> list[float]:
        return [float(getattr(s, metric)) for s in self.samples]

    def limited(self) -> bool:
        """The generator was the limit: the throughput is a lower bound."""
        busy = [s.generator for s in self.samples if math.isfinite(s.generator)]
        servers = [s.server for s in self.samples if math.isfinite(s.server)]
        return bool(busy) and statistics.median(busy) > BUSY and statistics.median(servers) < BUSY


@dataclass
class Running:
    """A deployment in a round."""

    at: int
    server: Server
    load: Load
    sample: Sample


class Experiment:
    """All rounds of all scenarios. ``run`` may be interrupted: what there is stays."""

    def __init__(
        self,
        app: str,
        app_dir: str,
        deployments: list[Deployment],
        scenarios: list[Scenario],
        plan: Plan,
        folder: Path,
        say: Callable[[str], None],
        seed: int | None = None,
    ) -> None:
        self.app, self.app_dir = app, app_dir
        self.deployments, self.scenarios, self.plan = deployments, scenarios, plan
        self.folder, self.say = folder, say
        self.random = random.Random(seed)
        self.cells = {(s.name, d.name): Cell() for s in scenarios for d in deployments}
        self.rates: dict[str, float] = {}
        self.different_bodies: list[str] = []
        self.rounds = 0
        self.interrupted = False
        self.ceiling: dict[str, float] = {}  # of the load generator, see load.ceiling()
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    # ---- one round ----

    def _start(self, stack: ExitStack, scenario: Scenario, at: int) -> Running | None:
        d = self.deployments[at]
        cell = self.cells[scenario.name, d.name]
        app, app_dir = (scenario.app, str(self.folder)) if scenario.app else (self.app, self.app_dir)
        log = self.folder / (re.sub(r"[^\w.#-]+", "-", f"{scenario.name}-{d.name}") + ".log")
        extra = (*scenario.options, "--server-timing", "asked") if d.peer is None else ()
        try:
            server = start(d, app, app_dir, self.plan.server_cores, log, extra)
        except CompareError as exc:
            cell.failed = str(exc)
            return None
        stack.callback(server.stop)
        sample = Sample(startup_s=server.startup)
        sample.pss_idle_mib = server.memory()[0]
        load = stack.enter_context(Load(scenario, server.port, self.plan.load_cores))
        return Running(at, server, load, sample)

    def _balance(self, scenario: Scenario, r: Running) -> None:
        """Which thread has how many connections is luck and looks like bad scaling: draws again, a few times."""
        for attempt in range(4):
            counts = [s.connections for s in r.server.slots()]
            if len(counts) < 2 or sum(counts) == 0:
                return
            r.sample.imbalance = max(counts) / (sum(counts) / len(counts))
            if r.sample.imbalance <= IMBALANCE or attempt == 3:
                return
            r.load.reconnect()

    def _warm(self, scenario: Scenario, r: Running) -> float:
        """Load until the rate settles: two neighbours within 5 %. The last rate."""
        rate = 0.0
        for n in range(self.plan.warm_slices):
            found = r.load.run(0.15) if scenario.closed else r.load.run(0.3, rate=scenario.rate)
            before, rate = rate, found["rate"]
            self._check(scenario, r, found)
            if n >= 1 and rate > 0 and abs(rate / before - 1 if before else 1) < 0.05:
                break
        return rate

    def _check(self, scenario: Scenario, r: Running, found: dict[str, Any]) -> None:
        cell = self.cells[scenario.name, self.deployments[r.at].name]
        wrong = found["errors"] + found["bad_status"] + found["mismatched"] + found["resets"]
        r.sample.errors += wrong
        for kind, request in zip(found["kinds"], scenario.requests, strict=True):
            if kind["status"] and not request.volatile:
                cell.bodies.setdefault(kind["name"], (kind["status"], kind["bytes"], kind["body"]))

    def _capacity(self, scenario: Scenario, running: list[Running], slowest: float) -> None:
        # A slice is long enough for every connection to be answered a few times, and as short as that allows: the
        # deployments alternate, so what comes and goes more slowly than a slice meets all of them.
        p = self.plan
        turn = scenario.connections / slowest if slowest > 0 else 0.0
        seconds, ramp = max(p.slice_seconds, min(4 * turn, 2.0)), max(p.ramp, min(turn, 0.5))
        slices = max(3, round(p.capacity_seconds / seconds))
        counted = {r.at: [0, 0.0, 0, 0.0, 0.0, 0.0] for r in running}  # requests, s, completed, cpu, generator, busy
        for _ in range(slices):
            for r in self.random.sample(running, len(running)):
                cpu = r.server.cpu()
                found = r.load.run(seconds, ramp)
                used = r.server.cpu() - cpu
                self._check(scenario, r, found)
                if found["requests"] and found["completed"]:
                    each = r.sample.slices
                    each.setdefault("throughput", []).append(found["requests"] / found["seconds"])
                    each.setdefault("cpu_us", []).append(used / found["completed"] * 1e6)
                c = counted[r.at]
                c[0] += found["requests"]
                c[1] += found["seconds"]
                c[2] += found["completed"]
                c[3] += used
                c[4] += found["generator_cpu"]
                c[5] += found["busy_seconds"]
        for r in running:
            requests, seconds, completed, cpu, generator, busy = counted[r.at]
            r.sample.requests += int(completed)
            if requests and completed:
                r.sample.throughput = requests / seconds
                r.sample.cpu_us = cpu / completed * 1e6
                r.sample.generator = generator / busy
                r.sample.server = cpu / busy / max(1, min(self.deployments[r.at].size, self.plan.n_server_cores))

    def _latency(self, scenario: Scenario, running: list[Running]) -> None:
        p = self.plan
        rate = self.rates.get(scenario.name) or scenario.rate
        if not rate:
            slowest = min((r.sample.throughput for r in running if r.sample.throughput > 0), default=0)
            rate = float(f"{slowest / 2:.2g}")
        if not rate:
            return
        self.rates[scenario.name] = rate
        seconds = max(p.latency_seconds, min(4.0, 40 / rate))  # a few dozen requests even where they are slow
        found: dict[int, list[dict[str, Any]]] = {r.at: [] for r in running}
        used = dict.fromkeys(found, 0.0)
        for _ in range(p.latency_slices):
            for r in self.random.sample(running, len(running)):
                cpu = r.server.cpu()
                result = r.load.run(seconds, p.ramp, rate)
                used[r.at] += r.server.cpu() - cpu
                self._check(scenario, r, result)
                found[r.at].append(result)
        for r in running:
            results, s = found[r.at], r.sample
            for name in ("p50_us", "p90_us", "p99_us", "p999_us"):
                setattr(s, name, statistics.fmean(x[name] for x in results))
            s.max_us = max(x["max_us"] for x in results)
            s.rate = rate
            s.late = sum(x["late"] for x in results) / max(1, sum(x["completed"] for x in results))
            for p_name in ("p50", "p90", "p99", "p999"):
                parts = [x["parts"][p_name] for x in results]
                s.parts[p_name] = {k: statistics.fmean(x[k] for x in parts) for k in parts[0]}
            s.requests += sum(x["completed"] for x in results)
            if not scenario.closed:
                s.cpu_us = used[r.at] / max(1, sum(x["completed"] for x in results)) * 1e6

    def _account(self, r: Running, before: tuple[Any, ...]) -> None:
        slots, switches, pss, steal, throttle, began = before
        s = r.sample
        now = r.server.slots()
        done = max(1, s.requests)
        s.pss_mib, s.private_mib = r.server.memory()
        s.pss_per_worker_mib = s.pss_mib / self.deployments[r.at].workers
        s.pss_per_thread_mib = s.pss_mib / self.deployments[r.at].size
        s.pss_per_krps_mib = s.pss_mib / s.throughput * 1000
        s.growth_kib = (s.pss_mib - pss) * 1024 / done * 1000
        s.switches = (sum(r.server.switches()) - sum(switches)) / done
        s.throttled_s = throttled()[1] - throttle[1]
        s.steal = (steal_seconds() - steal) / max(1e-9, time.monotonic() - began)
        if now and len(now) == len(slots):
            taken = sum(x.acquisitions for x in now) - sum(x.acquisitions for x in slots)
            waited = sum(x.acquisition_ns for x in now) - sum(x.acquisition_ns for x in slots)
            collected = sum(x.collection_ns for x in now) - sum(x.collection_ns for x in slots)
            s.acquisitions = taken / done
            s.acquisition_us = waited / done / 1000
            s.pool_share = (sum(x.pool_calls for x in now) - sum(x.pool_calls for x in slots)) / done
            s.gc_ms_per_s = collected / 1e6 / max(1e-9, time.monotonic() - began)

    def _round(self, scenario: Scenario) -> None:
        with ExitStack() as stack:
            order = self.random.sample(range(len(self.deployments)), len(self.deployments))
            running = []
            for at in order:
                if not self.cells[scenario.name, self.deployments[at].name].failed:
                    r = self._start(stack, scenario, at)
                    running += [r] if r else []
            slowest = math.inf
            for r in running:
                self._balance(scenario, r)
                slowest = min(slowest, self._warm(scenario, r))
            before = {
                r.at: (
                    r.server.slots(),
                    r.server.switches(),
                    r.server.memory()[0],
                    steal_seconds(),
                    throttled(),
                    time.monotonic(),
                )
                for r in running
            }
            if scenario.closed:
                self._capacity(scenario, running, slowest)
            if self.plan.latency or not scenario.closed:
                self._latency(scenario, running)
            for r in running:
                self._account(r, before[r.at])
                cell = self.cells[scenario.name, self.deployments[r.at].name]
                cell.gil_message = cell.gil_message or r.server.gil_message()
                if not r.server.alive():
                    cell.failed = f"{self.deployments[r.at].name} died under load; its log is {r.server.log}"
                cell.samples.append(r.sample)
            for cell in (self.cells[scenario.name, d.name] for d in self.deployments):
                if len(cell.samples) < self.rounds + 1:  # it did not take part: its place in the pairs stays empty
                    cell.samples.append(Sample())
        self._compare_bodies(scenario)

    def _compare_bodies(self, scenario: Scenario) -> None:
        first: dict[str, tuple[str, tuple[int, int, str]]] = {}
        for d in self.deployments:
            for kind, body in self.cells[scenario.name, d.name].bodies.items():
                name, expected = first.setdefault(kind, (d.name, body))
                if body != expected:
                    line = (
                        f"{scenario.name}, {kind.partition(':')[2]}: {d.name} answered status {body[0]} with {body[1]} bytes, "
                        f"{name} {expected[0]} with {expected[1]}; the bodies differ (volatile = true allows it)"
                    )
                    if line not in self.different_bodies:
                        self.different_bodies.append(line)

    # ---- all rounds ----

    def comparisons(self) -> dict[tuple[str, str, str], tuple[stats.Comparison | None, str]]:
        """(scenario, deployment, metric) -> against the first deployment: the comparison, and its verdict."""
        base = self.deployments[0].name
        keys = [(s.name, d.name, m) for s in self.scenarios for d in self.deployments[1:] for m in self.plan.decide]
        looks = max(1, len(self.plan.looks))
        family = [self._compared(self.cells[s, d], self.cells[s, base], m, looks) for s, d, m in keys]
        return dict(zip(keys, zip(family, stats.verdicts(family, looks), strict=True), strict=True))

    @staticmethod
    def _compared(a: Cell, b: Cell, metric: str, looks: int) -> stats.Comparison | None:
        """Paired by round; where a round has slices, by those, whose middle half no burst of the machine's reaches."""
        x, y = a.values(metric), b.values(metric)
        for i, (one, other) in enumerate(zip(a.samples, b.samples, strict=True)):
            mine, its = one.slices.get(metric, []), other.slices.get(metric, [])
            if mine and len(mine) == len(its):
                x[i], y[i] = stats.middle_ratio(mine, its), 1.0
        return stats.compare(x, y, looks)

    def decided(self) -> tuple[int, int]:
        found = [v for _, v in self.comparisons().values()]
        return sum(v != stats.UNDECIDED for v in found), len(found)

    def run_whole(self) -> None:
        """As ``run``, for those who have no use for a part: KeyboardInterrupt goes on to the caller."""
        self.run()
        if self.interrupted:
            raise KeyboardInterrupt

    def run(self) -> None:
        """Rounds until every headline metric is decided or the time is spent. KeyboardInterrupt ends it early."""
        began = time.monotonic()
        longest = 0.0
        try:
            if self.plan.ceiling:
                self.say("measuring what the load generator can do")
                self.ceiling = ceiling(self.plan.server_cores, self.plan.load_cores)
            while True:
                started = time.monotonic()
                for i, scenario in enumerate(self.scenarios):
                    self.say(self._progress(began, longest, scenario, i))
                    self._round(scenario)
                    self.seconds = time.monotonic() - began
                    if self.rounds == 0 and all(self.cells[scenario.name, d.name].failed for d in self.deployments):
                        raise CompareError(self.cells[scenario.name, self.deployments[0].name].failed)
                self.rounds += 1
                longest = max(longest, time.monotonic() - started)
                if self.rounds in self.plan.looks:
                    done, all_of_them = self.decided()
                    if done == all_of_them:
                        break
                if self.rounds >= self.plan.looks[-1] or self.seconds + longest > self.plan.time:
                    break
        except KeyboardInterrupt:
            self.interrupted = True
            for cell in self.cells.values():
                del cell.samples[self.rounds :]
        self.seconds = time.monotonic() - began

    def _progress(self, began: float, longest: float, scenario: Scenario, i: int) -> str:
        elapsed = time.monotonic() - began
        left = max(0.0, self.plan.time - elapsed)
        decided = ""
        if self.rounds >= 3 and i == 0:
            done, of = self.decided()
            decided = f", {done} of {of} decided"
        most = f", at most {left / 60:.0f} min left" if left > 90 else f", at most {left:.0f} s left"
        return f"round {self.rounds + 1}, {scenario.name} ({i + 1} of {len(self.scenarios)}){decided}{most}"
