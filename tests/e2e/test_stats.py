"""Verdicts and rankings from made-up rounds whose truth is known."""

import math
import sys

import numpy as np
import pytest
from conftest import ROOT
from oarlock.compare import stats, tune
from oarlock.compare.engine import Cell, Sample
from oarlock.compare.scenarios import Request, Scenario
from oarlock.compare.server import shape


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


# ---- tune's ranking -------------------------------------------------------------------------------------


def cells(**rounds: list[float]) -> dict[str, Cell]:
    return {name: Cell([Sample(throughput=v, requests=1000) for v in values]) for name, values in rounds.items()}


def test_a_bad_round_of_the_machines_counts_against_nobody():
    """The better one had no round that a median of its own would take: only beside the other does it show."""
    found = stats.levels({"better": [105, 53, 21, 105], "worse": [100, 50, 20, 100]})
    assert found["better"] / found["worse"] == pytest.approx(1.051, abs=0.005)
    assert found["worse"] == pytest.approx((100 * 50 * 20 * 100) ** 0.25, rel=0.03)


def test_one_that_missed_a_slow_round_is_not_better_for_it():
    found = stats.levels({"whole": [100, 50, 100], "other": [110, 55, 110], "missed": [100, math.nan, 100]})
    assert found["missed"] == pytest.approx(found["whole"])
    assert found["missed"] < found["other"]


def test_none_was_in_every_round():
    found = stats.levels({"a": [100, math.nan], "b": [math.nan, 50], "none": [math.nan, math.nan]})
    assert found["a"] == pytest.approx(100)
    assert found["b"] == pytest.approx(50)
    assert math.isnan(found["none"])


def test_the_most_throughput_comes_first_and_errors_last():
    given = cells(slow=[90, 91], fast=[100, 101], wrong=[200, 202])
    given["wrong"].samples[0].errors = 50
    scores = tune.Target("throughput").scores(given)
    assert sorted(scores, key=lambda n: scores[n]) == ["fast", "slow", "wrong"]
    assert scores["wrong"] == math.inf


def test_what_breaks_the_limit_is_out_whatever_its_memory():
    given = {
        "small": Cell([Sample(pss_mib=10, p99_us=30_000, requests=100)] * 3),
        "large": Cell([Sample(pss_mib=40, p99_us=10_000, requests=100)] * 3),
        "unmeasured": Cell([Sample(pss_mib=5, requests=100)] * 3),
    }
    scores = tune.Target("memory", rate=100, p99_ms=20).scores(given)
    assert scores["large"] == pytest.approx(40)
    assert scores["small"] == scores["unmeasured"] == math.inf


def test_the_rounds_of_earlier_rungs_count(monkeypatch):
    """The best of three lost the final's rounds by a little, and won the ones before by more."""

    class Played:
        def __init__(self, deployments, figures):
            self.deployments = deployments
            self.cells = {("s", d.name): c for d, c in zip(deployments, cells(**figures).values(), strict=True)}

    a, b = shape("gil", 1, 1, None), shape("gil", 2, 1, None)
    search = tune.Search(None, Scenario("s", (Request("/"),), 1), tune.Target("throughput"), None, None, None)
    seen, scores = {d.name: Cell() for d in (a, b)}, {}
    assert search._ranked(Played([a, b], {"a": [120, 120], "b": [100, 100]}), seen, scores)[0] is a
    assert search._ranked(Played([a, b], {"a": [98, 98], "b": [100, 100]}), seen, scores)[0] is a
    assert len(seen[a.name].samples) == 4


# ---- kept results ------------------------------------------------------------------------------------


@pytest.fixture
def bench(monkeypatch):
    """The modules of bench/ can be imported."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])


@pytest.mark.usefixtures("bench")
def test_the_page_of_benchmarks_is_that_of_the_kept_results():
    import peers

    assert peers.document(ROOT / "bench/results/peers.jsonl") == (ROOT / "docs/benchmarks.md").read_text()


@pytest.mark.usefixtures("bench")
def test_results_are_read_as_they_were_written(tmp_path):
    import records

    part = {"when": "now", "results": [{"a": 1}, {"a": 2}], "verdicts": [{"b": 3}]}
    records.write(tmp_path / "x.jsonl", [part, {"results": [], "verdicts": []}])
    assert records.read(tmp_path / "x.jsonl") == [part, {"results": [], "verdicts": []}]
    (tmp_path / "x.jsonl").write_text('{"results": {}}\n')
    with pytest.raises(ValueError, match=r"x\.jsonl:1: a line of the kind 'results'"):
        records.read(tmp_path / "x.jsonl")
