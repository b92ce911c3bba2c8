"""10,000 routes: served, and one copy of the table for all workers."""

import random
import re
from pathlib import Path

from conftest import APPS


def route_table(pid: int) -> tuple[int, int]:
    """(bytes of the mapping, PSS bytes) of the route table in a process, from smaps."""
    size = pss = 0
    here = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            here = "memfd:oarlock-routes" in line
        elif here and line.startswith("Size:"):
            size += int(line.split()[1]) * 1024
        elif here and line.startswith("Pss:"):
            pss += int(line.split()[1]) * 1024
    return size, pss


def test_ten_thousand_routes_are_one_copy(python, serve):
    server = serve("many:app", "--app-dir", str(APPS), "--python", python, "--workers", "4", "--threads", "1")
    chosen = random.Random(1).sample(range(10_000), 200)
    for i in chosen:
        assert server.get(f"/api/v{i % 3}/area-{i % 40}/resource{i}/{i}").json() == {"id": i}
    assert server.get("/api/v0/area-1/resource0/1").status_code == 404
    workers = server.workers()
    assert len(workers) == 4
    tables = [route_table(pid) for pid in [server.pid, *workers]]
    size = max(size for size, _ in tables)
    assert size > 1_000_000
    assert sum(pss for _, pss in tables) < 1.2 * size
