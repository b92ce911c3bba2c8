"""oarlock beside other servers, on `oarlock compare`'s engine: the same requests, cores, rounds and checks for all.

usage: peers.py --gil PYTHON --ft PYTHON --gil-peers PYTHON --ft-peers PYTHON [--all PYTHON] [--go BINARY] [--axum BINARY]
                [--time S] [--results FILE] [--docs FILE]
Part 1, quick JSON at 10, 50 and 200 connections: every server with one worker on one core, the load on another.
Part 2, the CPU-bound five: oarlock's deployments and FastAPI on uvicorn with two workers, on all cores.
Every peer must answer with oarlock's own bytes. docs/benchmarks.md is written from the results (records.py).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

import records  # noqa: E402
from oarlock.compare import cli, result, scenarios, terminal  # noqa: E402
from oarlock.compare.engine import Experiment, Plan  # noqa: E402
from oarlock.compare.interpreters import Interpreter, find  # noqa: E402
from oarlock.compare.options import cores  # noqa: E402
from oarlock.compare.server import Deployment, shape  # noqa: E402

APPS = ROOT / "bench" / "apps"
Command = Callable[[int], list[str]]


def uvicorn(python: str, workers: int = 1, app: str = "fastapi") -> Command:
    return lambda port: [
        *(python, "-m", "uvicorn", f"peers:{app}", "--app-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers), "--no-access-log", "--log-level", "warning"),
    ]


def granian(python: str, interface: str, app: str, workers: int = 1) -> Command:
    return lambda port: [
        *(str(Path(python).with_name("granian")), "--interface", interface, f"peers:{app}", "--working-dir", str(APPS)),
        *(
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            str(workers),
            "--no-access-log",
            "--log-level",
            "warning",
        ),
    ]


def script(python: str, name: str) -> Command:
    return lambda port: [python, str(APPS / "peers.py"), name, str(port)]


def binary(path: str) -> Command:
    return lambda port: [path, str(port)]


def peer(name: str, command: Command, workers: int = 1) -> Deployment:
    return Deployment(name, "", workers, 1, peer=command)


def part_one(args: argparse.Namespace, g: Interpreter, f: Interpreter) -> list[Deployment]:
    found = [shape("gil", 1, 1, g), shape("ft", 1, 1, f)]
    if args.gil_peers:
        p = args.gil_peers
        found += [
            peer("FastAPI on uvicorn", uvicorn(p)),
            peer("FastAPI on granian", granian(p, "asgi", "fastapi")),
            peer("granian WSGI", granian(p, "wsgi", "wsgi")),
            peer("fastpysgi WSGI", script(p, "fastpysgi")),
            peer("bjoern WSGI", script(p, "bjoern")),
            peer("aiohttp", script(p, "aiohttp")),
        ]
    if args.ft_peers:
        found += [
            peer("FT: FastAPI on uvicorn", uvicorn(args.ft_peers)),
            peer("FT: FastAPI on granian", granian(args.ft_peers, "asgi", "fastapi")),
        ]
    if args.axum and Path(args.axum).exists():
        found.append(peer("axum (Rust)", binary(args.axum)))
    if args.go and Path(args.go).exists():
        found.append(peer("net/http (Go)", binary(args.go)))
    if args.all:
        found.append(peer("Starlette on uvicorn", uvicorn(args.all, app="starlette")))
        found += [peer(name, script(args.all, name)) for name in ("robyn", "socketify", "turboapi")]
    return found


def part_two(args: argparse.Namespace, g: Interpreter, f: Interpreter, n: int) -> list[Deployment]:
    found = [shape("gil", n, 1, g), shape("ft", 1, n, f), shape("gil", 1, 1, g)]
    if args.gil_peers:
        found.append(peer(f"FastAPI on uvicorn, {n} workers", uvicorn(args.gil_peers, n), n))
    return found


def run(deployments: list[Deployment], chosen: list[str], plan: Plan, seed: int, folder: str) -> dict[str, Any]:
    e = Experiment("", ".", deployments, scenarios.named(chosen), plan, Path(folder), terminal.Progress("peers"), seed)
    e.run_whole()
    return result.build(e, ["make", "bench-peers"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--gil", "--ft", "--gil-peers", "--ft-peers", "--all", "--go", "--axum"):
        parser.add_argument(name)
    parser.add_argument("--time", type=float, default=900, help="seconds at most for each of the two parts")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results/peers.jsonl")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/benchmarks.md")
    parser.add_argument("--only-docs", action="store_true", help="write --docs from earlier --results")
    args = parser.parse_args()
    if not args.only_docs:
        have = cores()
        if len(have) < 2:
            sys.exit("peers: two cores are needed, one for the servers and one for the load")
        g, f = find("gil", args.gil, None), find("ft", args.ft, None)
        short = {"time": args.time, "looks": (args.rounds,), "capacity_seconds": 0.6, "latency_slices": 1}
        apart = Plan(str(have[0]), str(have[-1]), 1, False, **short)
        n = max(2, len(have) - 1)
        together = Plan(",".join(map(str, have[:n])), str(have[-1]), n, n == len(have), **short)
        with tempfile.TemporaryDirectory(prefix="oarlock-peers-") as folder:
            parts = [
                run(part_one(args, g, f), ["load"], apart, 1, folder),
                run(part_two(args, g, f, n), ["five"], together, 2, folder),
            ]
        records.write(args.results, [_lean(p) for p in parts])
    args.docs.write_text(document(args.results))
    print(f"{args.docs} written from {args.results}")


def _lean(data: dict[str, Any]) -> dict[str, Any]:
    """Without what names this machine's folders."""
    home = os.path.expanduser("~")
    for d in data["deployments"]:
        d["flags"] = d["flags"].partition(" --workers")[2] and "--workers" + d["flags"].partition(" --workers")[2]
        if d["interpreter"]:
            d["interpreter"]["executable"] = Path(d["interpreter"]["executable"]).name
            d["interpreter"]["server"] = ""
    text = json.dumps(data).replace(home, "~").replace(str(ROOT), ".")
    return json.loads(text)  # type: ignore[no-any-return]


# ---- docs/benchmarks.md ------------------------------------------------------------------------------


def _verdict(data: dict[str, Any], scenario: str, name: str, metric: str) -> str:
    for v in data["verdicts"]:
        if (v["scenario"], v["deployment"], v["metric"]) == (scenario, name, metric):
            if v["verdict"] == "different":
                return f"x {v['ratio']:.2f} [{v['low']:.2f}, {v['high']:.2f}]"
            return str(v["verdict"])
    return "the reference"


def _tables(data: dict[str, Any]) -> list[str]:
    lines = []
    for s in data["scenarios"]:
        rate = f"; latency at {terminal.number(s['rate'])} requests/s" if s["rate"] else ""
        lines += [
            f"### {s['name']}: {s['about']}",
            "",
            f'{s["connections"]} connections{rate}. Value [95 % interval]; "against": throughput beside {data["deployments"][0]["name"]}, '
            "by the verdict.",
            "",
            "| server | requests/s | against | CPU us/request | p50 us | p99 us | PSS MiB | start s |",
            "|---|---|---|---|---|---|---|---|",
        ]
        rows = [r for r in data["results"] if r["scenario"] == s["name"]]
        metric = "throughput" if any("throughput" in r["figures"] for r in rows) else "cpu_us"
        for r in sorted(rows, key=lambda r: -(r["figures"].get("throughput") or {"value": 0})["value"]):
            if r["failed"]:
                lines.append(f"| {r['deployment']} | failed: {r['failed'].splitlines()[0]} | | | | | | |")
                continue
            cells = " | ".join(terminal.cell(r, m) for m in ("cpu_us", "p50_us", "p99_us", "pss_mib", "startup_s"))
            lines.append(
                f"| {r['deployment']} | {terminal.cell(r, 'throughput')} | {_verdict(data, s['name'], r['deployment'], metric)} | {cells} |"
            )
        lines.append("")
    return lines


def document(results: Path) -> str:
    """The page of a file of results."""
    first, second = records.read(results)
    m = first["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench-peers` from [bench/results/{results.name}](../bench/results/{results.name}) (SHA-256 begins with {records.checksum(results)}), "
        "not by hand. Absolute figures belong to one machine and one hour:",
        "compare within a table, and run it on yours. How it measures: [compare.md](compare.md).",
        "",
        f"{first['when'][:10]}; {m['cpu']}, {m['cores']} cores, {m['memory_mib']:,} MiB, Linux {m['kernel'].partition('-')[0]}.",
        "",
        *(f"- {d['name']}: {d['words']}" for d in first["deployments"] if d["interpreter"]),
        "",
        f"## Quick JSON, one worker on one core ({first['plan']['rounds']} rounds, {first['plan']['seconds']:.0f} s)",
        "",
        "Every server answers with the same bytes, which is checked. The load generator has the other core.",
        "",
        *(f"> {w}\n" for w in first["warnings"]),
        *_tables(first),
        f"## The CPU-bound five, {second['plan']['server_cores'].count(',') + 1} cores ({second['plan']['rounds']} rounds, {second['plan']['seconds']:.0f} s)",
        "",
        "20 ms of pure Python a request, in five ways (examples/cpu.py shows them). In `background` the work follows the response.",
        "",
        *(f"> {w}\n" for w in second["warnings"]),
        *_tables(second),
        "## What these figures say, and what not",
        "",
        *_sayings(first, second),
        "",
    ]
    return "\n".join(lines)


def _sayings(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Sentences that verdicts carry; nothing else."""
    base = first["deployments"][0]["name"]
    lines = []
    for s in first["scenarios"]:
        slower = [
            v
            for v in first["verdicts"]
            if v["scenario"] == s["name"]
            and v["metric"] == "throughput"
            and v["verdict"] == "different"
            and not v["better"]
        ]
        others = [
            v
            for v in first["verdicts"]
            if v["scenario"] == s["name"] and v["metric"] == "throughput" and v not in slower
        ]
        if slower:
            lines.append(
                f"- {s['name']}: {base} answered more requests a second than "
                + ", ".join(f"{v['deployment']} (x {1 / v['ratio']:.1f})" for v in sorted(slower, key=lambda v: -v["ratio"])) + "."
            )  # fmt: skip
        for v in others:
            word = "less than" if v["verdict"] == "different" else f"{v['verdict']} against"
            lines.append(
                f"- {s['name']}: {base} answered {word} {v['deployment']}."
                if v["verdict"] == "different"
                else f"- {s['name']}: {word} {v['deployment']}."
            )
    base = second["deployments"][0]["name"]
    for d in second["deployments"][1:]:
        words = []
        for v in second["verdicts"]:
            if v["deployment"] == d["name"] and v["metric"] == "throughput":
                words.append(
                    f"{v['scenario']} "
                    + (
                        f"x {v['ratio']:.2f} [{v['low']:.2f}, {v['high']:.2f}]"
                        if v["verdict"] == "different"
                        else v["verdict"]
                    )
                )
        lines.append(f"- The five, {d['name']} / {base}, throughput: {'; '.join(words)}.")
    lines.append(
        "- They say nothing about applications that wait for databases, about TLS, or about machines with more cores."
    )
    return lines


if __name__ == "__main__":
    if shutil.which("taskset") is None:
        sys.exit("peers: taskset is needed (Debian: util-linux)")
    sys.exit(cli.guard("peers", main))
