"""The figures that get a verdict: what they are called, in which unit, and which way is better."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """Of a Sample's field."""

    words: str  # in a sentence
    title: str  # of a row or an axis
    unit: str  # over a column
    more_is_better: bool = False
    more: str = "more"
    less: str = "less"


METRICS = {
    "throughput": Metric("throughput", "throughput", "requests/s", True, "higher", "lower"),
    "cpu_us": Metric("CPU per request", "CPU per request", "CPU us/request"),
    "p50_us": Metric("median latency", "median latency", "p50 us", False, "higher", "lower"),
    "p99_us": Metric("99th percentile of latency", "99th percentile", "p99 us", False, "higher", "lower"),
    "pss_mib": Metric("memory", "memory (PSS)", "PSS MiB"),
}
HEADLINE = ("throughput", "cpu_us", "p99_us", "pss_mib")  # unless --decide says which
