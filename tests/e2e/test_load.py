"""The load generator: what it counts, and what it does not let pass."""

import contextlib
import json
import os
import socket
import subprocess
import threading
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


flaky_calls = itertools.count(1)


@app.get("/flaky", blocking=False)
def flaky():
    if next(flaky_calls) == 3:
        raise HTTPException(503)
    return {"n": 1}


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


def test_one_wrong_status_does_not_count_for_those_that_follow(server):
    found = run(server, Request("/flaky"), connections=1)
    assert found["completed"] > 100
    assert (found["bad_status"], found["mismatched"]) == (1, 0)


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


# ---- responses, byte by byte ------------------------------------------------------------------------


@pytest.fixture
def scripted():
    """A server that answers each request with the same bytes, cut at an offset that moves on, and maybe closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def serve_one(connection: socket.socket, response: bytes, closes: bool, cut: list[int]) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(OSError):
            got = b""
            while data := connection.recv(65536):
                got += data
                while b"\r\n\r\n" in got:
                    got = got.partition(b"\r\n\r\n")[2]
                    cut[0] = (cut[0] + 1) % len(response)
                    connection.sendall(response[: cut[0]])
                    connection.sendall(response[cut[0] :])
                    if closes:
                        return

    def accept(response: bytes, closes: bool) -> None:
        cut = [0]
        with contextlib.suppress(OSError):
            while True:
                serve_one(listener.accept()[0], response, closes, cut)

    def start(response: bytes, closes: bool = False) -> int:
        threads.append(threading.Thread(target=accept, args=(response, closes)))
        threads[0].start()
        return listener.getsockname()[1]

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


OK = b"HTTP/1.1 200 OK\r\n"
TIMING = b"server-timing: queue;dur=0.012, gil;dur=0.5, gc;dur=0, handler;dur=1.25, read;desc=1\r\n"


@pytest.mark.parametrize(
    ("response", "method", "size"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", "GET", 5),
        (OK + b"content-length:  0 \r\n\r\n", "GET", 0),
        (OK + TIMING + b"Content-Length: 5\r\n\r\nhello", "GET", 5),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n", "GET", 17),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA-Trailer: x\r\nB: y\r\n\r\n", "GET", 33),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", 0),
        (OK + b"Content-Length: 5\r\n\r\n", "HEAD", 0),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", "HEAD", 0),
    ],
)
def test_a_response_that_comes_in_two_pieces(scripted, response, method, size):
    with Load(Scenario("x", (Request("/", method),), 1), scripted(response), CORES) as load:
        found = load.run(0.1)
    assert found["requests"] > 20
    assert (found["errors"], found["bad_status"], found["mismatched"], found["resets"]) == (0, 0, 0, 0)
    assert found["kinds"][0]["bytes"] == size
    if TIMING in response:
        assert found["parts"]["p50"]["handler"] == pytest.approx(1250)
        assert found["parts"]["p50"]["gil"] == pytest.approx(500)


@pytest.mark.parametrize("head", [OK + b"\r\n", b"HTTP/1.0 200 OK\r\n\r\n", OK + b"Connection: close\r\n\r\n"])
def test_a_body_that_ends_with_the_connection(scripted, head):
    with Load(Scenario("x", (Request("/"),), 1), scripted(head + b"to the end", closes=True), CORES) as load:
        found = load.run(0.1)
    assert found["requests"] > 5
    assert (found["errors"], found["bad_status"], found["mismatched"], found["resets"]) == (0, 0, 0, 0)
    assert found["kinds"][0]["bytes"] == len(b"to the end")


@pytest.mark.parametrize(
    "response",
    [
        b"HELLO\r\n\r\n",
        OK + b"Content-Length: x\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        OK + b"Content-Length: 99999999999\r\n\r\n",
    ],
)
def test_what_is_no_response_is_an_error(scripted, response):
    with Load(Scenario("x", (Request("/"),), 1), scripted(response), CORES) as load:
        found = load.run(0.05)
    assert found["requests"] == 0
    assert found["resets"] > 0
