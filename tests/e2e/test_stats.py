"""Verdicts from made-up rounds whose truth is known: how often do they err?"""

import math

import numpy as np
import pytest
from oarlock.compare import stats


def rounds(generator, n: int, ratio: float, deviation: float) -> tuple[list[float], list[float]]:
    machine = np.exp(generator.normal(0, 0.3, n))  # what the machine does to both
    a = machine * ratio * np.exp(generator.normal(0, deviation / math.sqrt(2), n))
    b = machine * np.exp(generator.normal(0, deviation / math.sqrt(2), n))
    return [float(x) for x in a], [float(x) for x in b]


def told(generator, ratio: float, deviation: float, metrics: int = 1) -> list[str]:
    """The verdicts of a run that is looked at as the tool looks: it ends when all is decided."""
    data = [rounds(generator, stats.LOOKS[-1], ratio, deviation) for _ in range(metrics)]
    found: list[str] = []
    for n in stats.LOOKS:
        found = stats.verdicts([stats.compare(a[:n], b[:n]) for a, b in data])
        if stats.UNDECIDED not in found:
            break
    return found


def share(seed: int, runs: int, wanted: str, ratio: float, deviation: float, metrics: int = 1) -> float:
    generator = np.random.default_rng(seed)
    return sum(wanted in told(generator, ratio, deviation, metrics) for _ in range(runs)) / runs


@pytest.mark.parametrize("deviation", [0.01, 0.03, 0.10])
@pytest.mark.parametrize("metrics", [1, 8])
def test_without_a_difference_it_rarely_says_different(deviation, metrics):
    """In all looks and for all metrics together: 5 %, and a little for 400 runs' own luck."""
    assert share(1, 400, stats.DIFFERENT, 1.0, deviation, metrics) <= 0.08


def test_without_a_difference_and_with_little_noise_it_says_equal():
    assert share(2, 100, stats.EQUAL, 1.0, 0.02) >= 0.95


@pytest.mark.parametrize("ratio", [1.05, 1 / 1.05])
def test_five_percent_is_seen(ratio):
    assert share(3, 100, stats.DIFFERENT, ratio, 0.02) >= 0.95


def test_a_difference_at_the_margin_is_rarely_called_equal():
    """The worst case for "equal within 3 %" is a truth of exactly 3 %."""
    assert share(4, 400, stats.EQUAL, 1.03, 0.02) <= 0.08


def test_much_noise_is_undecided_and_says_how_long():
    generator = np.random.default_rng(5)
    a, b = rounds(generator, 6, 1.02, 0.2)
    found = stats.compare(a, b)
    assert stats.verdicts([found]) == [stats.UNDECIDED]
    assert found.rounds_needed() > 36
    assert found.low < 1.02 < found.high


def test_missing_rounds_and_too_few():
    assert stats.compare([1.0, 2.0], [1.0, 2.0]) is None
    assert stats.compare([1.0, math.nan, 2.0, 0.0], [1.0, 1.0, 2.0, 1.0]) is None
    assert stats.verdicts([None]) == [stats.UNDECIDED]
    assert stats.compare([1.0, 2.0, math.nan, 3.0], [1.0, 2.0, 1.0, 3.0]).rounds == 3


def test_holm():
    assert stats.holm([0.01, 0.04, 0.03], 0.05) == [True, False, False]
    assert stats.holm([0.01, 0.02, 0.03], 0.05) == [True, True, True]
    assert stats.holm([0.2, 0.001], 0.05) == [False, True]


def test_a_burst_in_one_slice_does_not_reach_the_ratio():
    a, b = [100.0] * 8, [100.0] * 8
    a[3] = 20.0
    assert stats.middle_ratio(a, b) == pytest.approx(1.0)


def test_the_scaling_law_is_found_again():
    def law(n):
        return 1000 * n / (1 + 0.05 * (n - 1) + 0.002 * n * (n - 1))

    sizes = [1, 2, 4, 8, 16]
    fit = stats.scaling(sizes, [law(n) for n in sizes])
    assert fit.rate == pytest.approx(1000, rel=0.01)
    assert fit.contention == pytest.approx(0.05, abs=0.005)
    assert fit.coherence == pytest.approx(0.002, abs=0.0005)
    assert stats.scaling([1, 2, 4], [1.0, 2.0, 3.0]) is None
