"""Does the comparison's own generator say what wrk says, and its CPU account what /proc says?

usage: crosscheck.py [--rounds 10] [--scenario quick-json] [--kind gil|ft]
One server; in each round, in random order, as many connections of wrk and of the project's generator for the same time. The
server's CPU by its processes' clocks is set beside utime + stime of /proc/PID/stat over the whole run.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

from oarlock.compare import cli, stats  # noqa: E402
from oarlock.compare.interpreters import find  # noqa: E402
from oarlock.compare.load import Load  # noqa: E402
from oarlock.compare.options import cores  # noqa: E402
from oarlock.compare.scenarios import BUILTIN, BUILTIN_APP  # noqa: E402
from oarlock.compare.server import Deployment, Server, start, tree  # noqa: E402


def proc_cpu(server: Server) -> float:
    total = 0
    for pid in tree(server.process.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def wrk(port: int, path: str, connections: int, seconds: float, core: int) -> float:
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:.0f}s",
        f"http://127.0.0.1:{port}{path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"crosscheck: wrk had errors:\n{done.stdout}")
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--scenario", default="quick-json")
    parser.add_argument("--kind", choices=("gil", "ft"), default="gil")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("crosscheck: wrk is needed (Debian: apt-get install wrk)")
    scenario, have = BUILTIN[args.scenario], cores()
    seconds = 2.0
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="oarlock-crosscheck-") as folder:
        deployment = Deployment("server", args.kind, 1, 1, find(args.kind, None, None))
        server = start(deployment, BUILTIN_APP, folder, str(have[0]), Path(folder, "log"))
        try:
            with Load(scenario, server.port, str(have[-1])) as load:
                load.run(1.0)
                clock, account = server.cpu(), proc_cpu(server)
                for _ in range(args.rounds):
                    for which in random.sample(("ours", "wrk"), 2):
                        if which == "ours":
                            ours.append(load.run(seconds, 0.05)["rate"])
                        else:
                            theirs.append(
                                wrk(server.port, scenario.requests[0].path, scenario.connections, seconds, have[-1])
                            )
                clock, account = server.cpu() - clock, proc_cpu(server) - account
        finally:
            server.stop()
    for name, values in (("oarlock's generator", ours), ("wrk", theirs)):
        mean, low, high = stats.interval(values)
        print(f"{name:<20} {mean:>10,.0f} requests/s [{low:,.0f}, {high:,.0f}]")
    c = stats.compare(ours, theirs, 1)
    assert c is not None
    print(f"ratio {c.ratio:.3f} [{c.low:.3f}, {c.high:.3f}]: 1 is {'inside' if c.low <= 1 <= c.high else 'OUTSIDE'}")
    print(f"server CPU: {clock:.2f} s by its clocks, {account:.2f} s by /proc: {clock / account - 1:+.2%}")


if __name__ == "__main__":
    sys.exit(cli.guard("crosscheck", main))
