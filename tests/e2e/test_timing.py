"""--server-timing: where a request's time went, as the comparison reads it."""

import re
import time

import pytest

FIELD = re.compile(
    r"queue;dur=(\d+\.\d{3}), gil;dur=(\d+\.\d{3}), gc;dur=(\d+\.\d{3}), handler;dur=(\d+\.\d{3}), read;desc=(\d+)"
)
APP = """
import asyncio, gc, time
from oarlock import App

app = App()


@app.get("/inline", blocking=False)
def inline():
    return {}


@app.get("/waits")
async def waits():
    await asyncio.sleep(0.05)
    return {}


@app.get("/pool", blocking=True)
def pool():
    time.sleep(0.05)
    return {}


@app.get("/collects", blocking=False)
def collects():
    data = [[i] for i in range(300_000)]
    before = time.perf_counter()
    gc.collect()
    return {"ms": (time.perf_counter() - before) * 1000, "n": len(data)}
"""


@pytest.fixture
def start(serve, python, tmp_path):
    def run(*options: str):
        (tmp_path / "timed.py").write_text(APP)
        return serve(
            *("timed:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1", "--threads", "1"), *options
        )

    return run


@pytest.fixture
def timed(start):
    return start("--server-timing", "all")


def parts(response) -> tuple[float, float, float, float, int]:
    found = FIELD.fullmatch(response.headers["server-timing"])
    assert found, response.headers["server-timing"]
    return (*(float(x) for x in found.groups()[:4]), int(found[5]))  # type: ignore[return-value]


def test_without_the_option_there_is_no_field(start):
    server = start()
    assert "server-timing" not in server.get("/inline", headers={"Oarlock-Timing": "1"}).headers


def test_asked_answers_who_asks(start):
    server = start("--server-timing", "asked")
    assert "server-timing" not in server.get("/inline").headers
    assert parts(server.get("/inline", headers={"Oarlock-Timing": "1"}))


@pytest.mark.parametrize("path", ["/waits", "/pool"])
def test_a_handler_that_takes_50_ms(timed, path):
    before = time.monotonic_ns()
    queue, gil, gc, handler, read = parts(timed.get(path))
    whole = (time.monotonic_ns() - before) / 1e6
    assert handler >= 49
    assert queue + gil + gc + handler <= whole
    assert before < read < time.monotonic_ns()


def test_a_quick_one_and_one_that_no_handler_sees(timed):
    assert sum(parts(timed.get("/inline"))[:4]) < 1000
    assert parts(timed.get("/nothing-here"))[3] == 0


def test_a_collection_is_told_apart_from_the_handler(timed):
    response = timed.get("/collects")
    _, _, gc, _, _ = parts(response)
    assert gc >= 0.8 * response.json()["ms"]


def test_a_pipelined_request_waits_for_its_turn(timed):
    """The second is read with the first, and its turn comes when the first is answered."""
    got = timed.raw(
        b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\nGET /inline HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ).decode()
    first, second = FIELD.findall(got)
    assert float(second[0]) >= 0.9 * float(first[3])
