"""The load generator: what it counts, and what it does not let pass."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import LOAD
from oarlock.compare.load import Load
from oarlock.compare.scenarios import Request, Scenario

CORES = ",".join(map(str, sorted(os.sched_getaffinity(0))))
APP = """
import asyncio, itertools
from oarlock import App, HTTPException, Request, StreamingResponse

app = App()
numbers = itertools.count(100)


@app.get("/same", blocking=False)
def same():
    return {"n": 1}


@app.get("/other", blocking=False)
def other():
    return {"n": next(numbers) % 900}  # as long as before, but for the digits


@app.get("/fails")
async def fails():
    raise HTTPException(503)


@app.get("/chunks")
async def chunks():
    async def parts():
        yield b"a" * 70_000
        yield b"b" * 10
    return StreamingResponse(parts())


@app.get("/slow")
async def slow():
    await asyncio.sleep(0.2)
    return {}


@app.post("/echo")
async def echo(request: Request):
    return len(await request.body())
"""


@pytest.fixture
def server(serve, tmp_path):
    (tmp_path / "loaded.py").write_text(APP)
    return serve("loaded:app", "--app-dir", str(tmp_path), "--python", "gil", "--workers", "1", "--threads", "1")


def run(server, *requests: Request, connections: int = 4, seconds: float = 0.3, rate: float = 0.0) -> dict:
    with Load(Scenario("x", requests, connections), server.port, CORES) as load:
        return load.run(seconds, 0.0, rate)


def test_equal_bodies_are_fine(server):
    found = run(server, Request("/same"))
    assert found["requests"] > 100
    assert (found["errors"], found["bad_status"], found["mismatched"], found["resets"]) == (0, 0, 0, 0)
    assert found["kinds"][0]["status"] == 200
    assert found["kinds"][0]["bytes"] == len(b'{"n":1}')


def test_a_body_that_changes_is_counted_unless_it_may(server):
    found = run(server, Request("/other"))
    assert found["mismatched"] > 0.9 * found["completed"]
    assert run(server, Request("/other", volatile=True))["mismatched"] == 0


def test_a_status_that_was_not_expected_is_counted(server):
    assert run(server, Request("/fails"))["bad_status"] > 10
    assert run(server, Request("/fails", status=503))["bad_status"] == 0


def test_kinds_come_in_the_proportion_of_their_weights(server):
    found = run(server, Request("/same", weight=3), Request("/other", weight=1, volatile=True))
    first, second = (k["requests"] for k in found["kinds"])
    assert first / second == pytest.approx(3, rel=0.2)


def test_chunked_and_large_responses(server):
    found = run(server, Request("/chunks"))
    assert found["requests"] > 10
    assert (found["errors"], found["mismatched"], found["bad_status"]) == (0, 0, 0)
    assert found["kinds"][0]["bytes"] > 70_000


def test_a_request_larger_than_the_sockets_buffer(server):
    found = run(server, Request("/echo", method="POST", body="x" * 900_000), connections=2)
    assert found["requests"] > 0
    assert (found["errors"], found["bad_status"], found["mismatched"]) == (0, 0, 0)


def test_an_open_loop_counts_from_when_a_request_was_due(server):
    """One connection, 200 ms each, 20 due a second: they queue in the generator, and that is latency."""
    found = run(server, Request("/slow"), connections=1, seconds=0.5, rate=20)
    assert found["requests"] == 10
    assert found["max_us"] > 1_000_000
    assert found["late"] >= 8


def test_a_server_that_dies_is_counted(server):
    with Load(Scenario("x", (Request("/slow"),), 4), server.port, CORES) as load:
        process = subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -9 {' '.join(map(str, server.workers()))}"])
        found = load.run(0.4)
        process.wait()
    assert found["resets"] >= 4
    assert found["errors"] >= 4


def test_mistakes_are_told(tmp_path: Path):
    (tmp_path / "kinds").write_text("x 1 0 0 100\nGET /")
    done = subprocess.run([LOAD, "--port", "1", "--kinds", tmp_path / "kinds"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "kind 1 is not NAME WEIGHT" in done.stderr
    assert subprocess.run([LOAD], capture_output=True).returncode == 2


def test_by_hand_it_prints_one_line_of_json(server):
    command = [LOAD, "--port", str(server.port), "--path", "/same", "--requests", "500", "--pipeline", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["completed"] == 500
