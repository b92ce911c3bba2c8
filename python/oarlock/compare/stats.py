"""From rounds to verdicts. The only door to scipy.

A metric is compared as the logarithm of its ratio between two deployments in the same round: what the machine did to
both of them cancels out. The rounds are looked at several times (``LOOKS``), so each look spends a part of the error
that is allowed in all (Pocock 1977); the metrics of one report share it by Holm's method (1979). *Equal* is two
one-sided tests (Schuirmann 1987) against a margin.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

MARGIN = math.log(1.03)  # what "equal within 3 %" means
LOOKS = (6, 8, 11, 15, 20, 27, 36)
# Nominal level of each of up to seven looks so that all of them together keep 5 % (Pocock's constants for two-sided
# tests at 5 %, and for one-sided tests, which are two-sided ones at 10 %).
TWO_SIDED = {1: 0.05, 2: 0.0294, 3: 0.0221, 4: 0.0182, 5: 0.0158, 6: 0.0142, 7: 0.0130}
ONE_SIDED = {1: 0.05, 2: 0.0304, 3: 0.0232, 4: 0.0193, 5: 0.0169, 6: 0.0152, 7: 0.0140}
DIFFERENT, EQUAL, UNDECIDED = "different", "equal", "undecided"


@dataclass(frozen=True)
class Comparison:
    """One metric of two deployments over the rounds. Ratios are plain, not logarithms."""

    ratio: float
    low: float  # interval at the level of this look
    high: float
    p_different: float
    p_equal: float
    rounds: int
    deviation: float  # of the log-ratio between rounds

    def rounds_needed(self) -> int | None:
        """Rounds until a verdict is likely, as the data are now; None: not foreseeable."""
        if self.rounds < 2 or not math.isfinite(self.deviation):
            return None
        away = abs(math.log(self.ratio)) if self.ratio > 0 else 0.0
        gap = max(away, MARGIN - away)  # far from 1: the nearer verdict is "different"
        need = (3.2 * self.deviation / gap) ** 2 if gap > 0 else math.inf
        return max(self.rounds + 1, math.ceil(need)) if need < 10_000 else None


def middle_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """a / b over neighbouring slices of one round: the mean of the middle half of their log-ratios (interquartile mean)."""
    logs = [math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0 and y > 0]
    return math.exp(float(stats.trim_mean(logs, 0.25))) if logs else math.nan


def compare(a: Sequence[float], b: Sequence[float], looks: int = len(LOOKS)) -> Comparison | None:
    """a / b, paired by round. Rounds in which either has no positive figure are left out; None: fewer than three left.

    Args:
        a, b: one figure for each round, in the same order.
        looks: how many times the data will be looked at in all, for the interval's level.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x > 0 and y > 0 and math.isfinite(x) and math.isfinite(y)]
    if len(pairs) < 3:
        return None
    logs = np.log([x / y for x, y in pairs])
    n = len(logs)
    mean, deviation = float(logs.mean()), float(logs.std(ddof=1))
    error = max(deviation / math.sqrt(n), 1e-9)
    t = stats.t(n - 1)
    half = float(t.ppf(1 - TWO_SIDED[looks] / 2)) * error
    p_equal = max(float(t.sf((mean + MARGIN) / error)), float(t.cdf((mean - MARGIN) / error)))
    return Comparison(
        ratio=math.exp(mean),
        low=math.exp(mean - half),
        high=math.exp(mean + half),
        p_different=2 * float(t.sf(abs(mean) / error)),
        p_equal=p_equal,
        rounds=n,
        deviation=deviation,
    )


def holm(p: Sequence[float], level: float) -> list[bool]:
    """Which of the hypotheses are rejected when all of them together may err with ``level``."""
    rejected = [False] * len(p)
    for i, at in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        if p[at] > level / (len(p) - i):
            break
        rejected[at] = True
    return rejected


def verdicts(family: Sequence[Comparison | None], looks: int = len(LOOKS)) -> list[str]:
    """One of ``DIFFERENT``, ``EQUAL``, ``UNDECIDED`` for each comparison of a report."""
    known = [c for c in family if c is not None]
    different = iter(holm([c.p_different for c in known], TWO_SIDED[looks]))
    equal = iter(holm([c.p_equal for c in known], ONE_SIDED[looks]))
    found = []
    for c in family:
        if c is None:
            found.append(UNDECIDED)
            continue
        is_equal, is_different = next(equal), next(different)
        # Both may hold: a difference that is there and is smaller than anybody cares for. That is "equal within 3 %".
        found.append(EQUAL if is_equal else DIFFERENT if is_different else UNDECIDED)
    return found


def levels(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """One figure for each of several that were measured in the same rounds, on a common footing; NaN: it has none.

    The mean of its log-ratios to the mean of all that took part in every round, so that a bad round of the machine's counts
    against nobody, times that mean's own level.
    """
    logs = {
        name: np.array([math.log(v) if v > 0 and math.isfinite(v) else math.nan for v in values])
        for name, values in figures.items()
    }
    whole = [x for x in logs.values() if len(x) and np.isfinite(x).all()]
    if not whole:
        return {name: interval(values)[0] for name, values in figures.items()}
    common = np.mean(whole, axis=0)
    level = float(common.mean())
    return {
        name: math.exp(level + float(np.nanmean(x - common))) if np.isfinite(x).any() else math.nan
        for name, x in logs.items()
    }


def interval(values: Sequence[float], level: float = 0.05) -> tuple[float, float, float]:
    """Mean of a positive figure over the rounds with its interval, on the logarithmic scale."""
    good = [v for v in values if v > 0 and math.isfinite(v)]
    if not good:
        return math.nan, math.nan, math.nan
    logs = np.log(good)
    mean = float(logs.mean())
    if len(good) < 3:
        return math.exp(mean), min(good), max(good)
    half = float(stats.t(len(good) - 1).ppf(1 - level / 2) * logs.std(ddof=1) / math.sqrt(len(good)))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


@dataclass(frozen=True)
class Scaling:
    """Gunther's universal scalability law, X(N) = l N / (1 + s (N - 1) + k N (N - 1)), fitted; each with its standard error."""

    rate: float  # l: of one
    contention: float  # s
    coherence: float  # k
    errors: tuple[float, float, float]


def scaling(n: Sequence[float], rate: Sequence[float]) -> Scaling | None:
    """A fit for rates at five or more different N; None: too few, or it does not converge."""
    if len(set(n)) < 5:
        return None

    def law(x: Any, one: float, contention: float, coherence: float) -> Any:
        return one * x / (1 + contention * (x - 1) + coherence * x * (x - 1))

    try:
        found, covariance = optimize.curve_fit(
            law,
            np.asarray(n, float),
            np.asarray(rate, float),
            p0=(rate[0] / n[0], 0.05, 0.001),
            bounds=([0, 0, 0], [np.inf, 1, 1]),
        )
    except (RuntimeError, ValueError):
        return None
    errors = np.sqrt(np.diag(covariance))
    one, contention, coherence = (float(x) for x in found)
    return Scaling(one, contention, coherence, (float(errors[0]), float(errors[1]), float(errors[2])))
