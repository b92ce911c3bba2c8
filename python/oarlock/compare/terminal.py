"""The result as text, and a line that shows that the tool is alive."""

import shutil
import sys
import time
from typing import Any

from oarlock.compare.metrics import HEADLINE, METRICS

SIGNS = {"different": {True: "better", False: "worse"}, "equal": "equal", "undecided": "undecided"}


def run_command(data: dict[str, Any], flags: str) -> str:
    """What a person types to run a deployment."""
    app = data["application"] if data["app_dir"] else "YOUR:APP"
    folder = f" --app-dir {data['app_dir']}" if data["app_dir"] not in ("", ".") else ""
    return f"oarlock run {app}{folder} {flags}"


class Progress:
    """One line that is written over on a terminal; lines, not more than one in ten seconds, elsewhere."""

    def __init__(self, tool: str) -> None:
        self._tool, self._last = tool, -60.0

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K[{self._tool}] {text}"[: width + 4], end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._last >= 10:
            self._last = time.monotonic()
            print(f"[{self._tool}] {text}", file=sys.stderr, flush=True)

    def done(self) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def number(value: float) -> str:
    """Three to four digits, with thousands separated."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def cell(row: dict[str, Any], metric: str) -> str:
    """A figure with its interval; ">=": the load generator was the limit."""
    f = row["figures"].get(metric)
    if not f:
        return "-"
    least = ">=" if metric == "throughput" and row["at_least"] else ""
    return f"{least}{number(f['value'])} [{number(f['low'])}-{number(f['high'])}]"


def _verdict(data: dict[str, Any], scenario: str, deployment: str, metric: str) -> str:
    for v in data["verdicts"]:
        if (v["scenario"], v["deployment"], v["metric"]) == (scenario, deployment, metric):
            if v["verdict"] == "different":
                return f"{(v['ratio'] - 1) * 100:+.0f}% {'better' if v['better'] else 'worse'}"
            if v["verdict"] == "equal":
                return "equal"
            return "undecided" + (f" ({v['rounds_needed']} rounds?)" if v["rounds_needed"] else "")
    return ""


def table(data: dict[str, Any]) -> str:
    """The report for a terminal."""
    lines = []
    for w in data["warnings"]:
        lines.append(f"!! {w}")
    for s in data["scenarios"]:
        rate = f", latency at {number(s['rate'])}/s" if s["rate"] else ""
        lines += ["", f"{s['name']}: {s['about'] or s['requests'][0]['path']} ({s['connections']} connections{rate})"]
        head = f"  {'':<14}" + "".join(f"{METRICS[m].unit:>30}" for m in HEADLINE)
        lines.append(head)
        for row in (r for r in data["results"] if r["scenario"] == s["name"]):
            if row["failed"]:
                lines.append(f"  {row['deployment']:<14}  failed: {row['failed'].splitlines()[0]}")
                continue
            cells = "".join(f"{cell(row, m):>30}" for m in HEADLINE)
            lines.append(f"  {row['deployment']:<14}{cells}")
            verdicts = [_verdict(data, s["name"], row["deployment"], m) for m in HEADLINE]
            if any(verdicts):
                lines.append(f"  {'':<14}" + "".join(f"{v:>30}" for v in verdicts))
    r = data["recommendation"]
    p = data["plan"]
    lines += [
        "",
        f"{p['rounds']} rounds in {p['seconds']:.0f} s; intervals are 95 %, verdicts hold for the report as a whole",
    ]
    if r["choice"]:
        lines.append(f"Recommendation: {r['choice']} (confidence: {r['confidence']})")
        flags = next(d["flags"] for d in data["deployments"] if d["name"] == r["choice"])
        lines.append(f"  {run_command(data, flags)}")
    else:
        lines.append("Recommendation: none")
    lines += [f"  - {reason}" for reason in r["reasons"]]
    return "\n".join(lines)
