"""In `make asan` and `make tsan` alone: a seeded fault in a worker is seen, so a run without reports means something."""

import contextlib
import os

import httpx
from conftest import APPS, BUILD, start, wait_until

FAULT = os.environ["OARLOCK_TEST_FAULT"]  # "overflow" or "race"
SAYS = {"overflow": "heap-buffer-overflow", "race": "data race"}[FAULT]


def test_the_sanitizer_sees_the_seeded_fault(python, tmp_path):
    report = tmp_path / "report"
    options = ":".join(
        part
        for part in os.environ["ASAN_OPTIONS" if FAULT == "overflow" else "TSAN_OPTIONS"].split(":")
        if not part.startswith("log_path=")
    )
    server = start(
        tmp_path / "log", "seeded_app:app", "--app-dir", str(APPS), "--python", python, "--workers", "1",
        env={
            "SEEDED": str(BUILD / "seeded" / python),
            "ASAN_OPTIONS": f"{options}:log_path={report}",
            "TSAN_OPTIONS": f"{options}:log_path={report}",
        },
    )  # fmt: skip
    with contextlib.suppress(httpx.HTTPError):  # AddressSanitizer ends the worker
        httpx.get(f"{server.url}/{FAULT}", timeout=60)
    found = wait_until(lambda: [p for p in tmp_path.glob("report.*") if SAYS in p.read_text()], 60)
    assert "seeded.c" in found[0].read_text()
    server.stop()
