"""What waits for a thread of the pool: none is held by a slow client, none runs what nobody waits for; on both interpreters."""

import concurrent.futures
import contextlib
import socket
import time

import pytest
from conftest import APPS, wait_until
from test_streams import answer, events, happens, head, read_all, read_until, reset


@pytest.fixture
def jobs(serve, python):
    def run(*more: str):
        return serve(
            "pool_jobs:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1", *more
        )

    return run


def send(server, path: str) -> socket.socket:
    s = server.connect()
    s.sendall(head("GET", path))
    return s


# ---- streamed responses -------------------------------------------------------------------------


def test_slow_readers_hold_no_thread(jobs):
    server = jobs("--pool-threads", "2")
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(send(server, f"/pieces/r{i}")) for i in range(30)]
        for s in readers:
            read_until(s, b"\r\n\r\n")
        started = time.monotonic()
        for _ in range(20):
            assert server.get("/quick").json() == "quick"
        assert time.monotonic() - started < 10
        for s in readers:
            reset(s)
    for i in range(30):
        happens(server, f"r{i} closed in r{i}")
    assert "broke off" not in server.log


def test_the_head_does_not_wait_for_the_first_item(jobs):
    server = jobs()
    with send(server, "/shut-stream/first") as s:
        got = read_until(s, b"\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 ")
        assert "first goes on" not in server.get("/events").json()
        server.get("/open")
        read_until(s, b"0\r\n\r\n")
    happens(server, "first goes on")


def test_a_parked_iterator_goes_on_where_it_was(jobs):
    server = jobs("--pool-threads", "2")
    n = 100
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(send(server, f"/pieces/p{i}?n={n}")) for i in range(4)]
        bodies = [b""] * len(readers)
        while not all(b.endswith(b"\r\n0\r\n\r\n") for b in bodies):
            for i, s in enumerate(readers):
                if not bodies[i].endswith(b"\r\n0\r\n\r\n"):
                    bodies[i] += s.recv(1 << 20)
    for raw in bodies:
        body, at = b"", raw.index(b"\r\n\r\n") + 4
        while (size := int(raw[at : raw.index(b"\r\n", at)], 16)) > 0:
            at = raw.index(b"\r\n", at) + 2
            body += raw[at : at + size]
            at += size + 2
        assert body == b"".join(i.to_bytes(4) * 16384 for i in range(n))
    assert events(server).count("p0 closed in p0") == 1


def test_an_iterator_that_raises_after_it_was_parked(jobs):
    server = jobs("--pool-threads", "1")
    with send(server, "/raises/late") as s:
        read_until(s, b"\r\n\r\n")
        assert server.get("/quick").json() == "quick"
        got = read_all(s)
    assert not got.endswith(b"0\r\n\r\n")
    wait_until(lambda: "/raises/{name}: a streamed response broke off" in server.log)
    assert "late broke" in server.log


def test_streams_that_are_parked_when_the_server_stops(jobs):
    server = jobs("--pool-threads", "1", "--graceful-timeout", "1")
    with send(server, "/pieces/stopped") as s:
        read_until(s, b"\r\n\r\n")
        assert server.get("/quick").json() == "quick"
        server.stop()


# ---- requests that nobody waits for -------------------------------------------------------------


def test_a_request_that_got_its_504_in_the_queue_does_not_run(jobs):
    server = jobs("--pool-threads", "1", "--handler-timeout", "400ms")
    with concurrent.futures.ThreadPoolExecutor(9) as threads:
        first = threads.submit(server.raw, head("GET", "/shut?name=first"))
        happens(server, "first runs")
        rest = [threads.submit(server.raw, head("GET", f"/shut?name=late{i}")) for i in range(8)]
        for future in [first, *rest]:
            assert answer(future.result())[0] == 504
    server.get("/open")
    assert server.get("/quick").json() == "quick"  # it was behind them
    assert [e for e in events(server) if e.startswith("late")] == []


def test_a_request_whose_client_has_gone_does_not_run(jobs):
    server = jobs("--pool-threads", "1")
    with send(server, "/shut?name=first") as first:
        happens(server, "first runs")
        gone = [send(server, f"/shut?name=gone{i}") for i in range(8)]
        with send(server, "/shut?name=stays") as stays:
            time.sleep(0.1)  # they have arrived, whatever the order
            for s in gone:
                reset(s)
            server.get("/events")
            server.get("/open")
            assert b'"first"' in read_until(first, b'first"')
            assert b'"stays"' in read_until(stays, b'stays"')
    assert [e for e in events(server) if e.startswith("gone")] == []


def test_half_a_close_still_runs(jobs):
    server = jobs("--pool-threads", "1")
    with send(server, "/shut?name=first"):
        happens(server, "first runs")
        with send(server, "/shut?name=half") as s:
            s.shutdown(socket.SHUT_WR)
            server.get("/events")
            server.get("/open")
            assert b'"half"' in read_all(s)


# ---- calls from coroutines ----------------------------------------------------------------------


def test_calls_beyond_the_queue_wait_in_order(jobs):
    server = jobs("--pool-threads", "1", "--pool-queue", "4")
    assert server.get("/calls?n=200").json() == [f"{i} was called" for i in range(200)]


def test_requests_beyond_the_queue_are_refused(jobs):
    server = jobs("--pool-threads", "1", "--pool-queue", "1")
    with send(server, "/shut?name=first"):
        happens(server, "first runs")
        with send(server, "/shut?name=second"):
            wait_until(lambda: server.raw(head("GET", "/quick", "Connection: close")).startswith(b"HTTP/1.1 503 "))
            server.get("/open")


def test_a_call_that_was_cancelled_in_the_queue_does_not_run(jobs):
    server = jobs("--pool-threads", "1")
    with send(server, "/shut?name=first") as s:
        happens(server, "first runs")
        assert server.get("/cancelled-call").json() == {"cancelled": True}
        server.get("/open")
        read_until(s, b'first"')
    assert server.get("/quick").json() == "quick"
    assert "cancelled was called" not in events(server)


# ---- the interpreter ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/small", "/small-async"])
def test_small_pieces_beside_a_thread_that_computes(jobs, python, path):
    """A piece must not cost a switch interval (50 ms here, so that 100 of them could not be missed)."""
    if python != "gil":
        pytest.skip("there is no interpreter to wait for")
    server = jobs("--switch-interval", "50ms")
    with send(server, "/burn?seconds=10"):
        happens(server, "burns")
        started = time.monotonic()
        assert len(server.get(f"{path}?n=100").content) == 10000
        assert time.monotonic() - started < 2.5
        server.get("/open")


ENDLESS = """
from oarlock import App, StreamingResponse

app = App()
made = 0


@app.get("/endless")
def endless():
    def items():
        global made
        while True:
            made += 1
            yield b"x" * 65536

    return StreamingResponse(items())


@app.get("/made")
async def how_many():
    return made
"""


def test_little_is_made_for_a_client_that_does_not_read(python, serve, tmp_path):
    """Neither the worker nor the kernel keeps megabytes of a response that nobody takes."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    server = serve("endless:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1")
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        s.connect(("127.0.0.1", server.port))
        s.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        looks = [0, 1]
        while looks[-1] == 0 or looks[-1] != looks[-2]:
            time.sleep(0.2)
            looks.append(server.get("/made").json())
    assert looks[-1] * 65536 <= 1 << 20  # it was 3.8 MiB
