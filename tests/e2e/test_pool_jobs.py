"""What waits for a thread of the pool: none is held by a slow client; on both interpreters."""

import contextlib
import socket
import time

import pytest
from conftest import APPS, wait_until
from test_streams import events, happens, head, read_all, read_until, reset


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


def test_a_parked_iterator_goes_on_where_it_was(jobs):
    server = jobs("--pool-threads", "2")
    n = 300
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


# ---- the interpreter ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/small", "/small-async"])
def test_small_pieces_beside_a_thread_that_computes(jobs, python, path):
    """Each piece must not cost a switch interval (10 ms here, so that it cannot be missed)."""
    if python != "gil":
        pytest.skip("there is no interpreter to wait for")
    server = jobs("--switch-interval", "10ms")
    with send(server, "/burn?seconds=8"):
        happens(server, "burns")
        started = time.monotonic()
        assert len(server.get(f"{path}?n=500").content) == 50000
        assert time.monotonic() - started < 2.5
