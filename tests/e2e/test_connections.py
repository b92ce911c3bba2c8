"""Connections themselves: who makes room, what a deadline of 0 means, a stuck sibling, addresses, closing."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import pytest
from conftest import APPS, BINARY, clean_environment, start, wait_until
from test_streams import head

APP = """
import asyncio, time
from oarlock import App, Request, Response

app = App()


@app.get("/hello", blocking=False)
def hello():
    return "hello"


@app.get("/stuck", blocking=False)
def stuck():
    time.sleep(1.5)
    return "free"


@app.get("/wait")
async def wait():
    await asyncio.sleep(30)


@app.get("/205", blocking=False)
def reset_content():
    return Response(b"not allowed", status_code=205)


@app.get("/close", blocking=False)
def close():
    return Response(b"x" * 20_000, headers={"connection": "close"})


@app.post("/length")
async def length(request: Request):
    return len(await request.body())
"""
HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def server(serve, python, tmp_path):
    (tmp_path / "connected.py").write_text(APP)

    def run(*options: str, workers: int = 1, threads: int = 1):
        return serve(
            "connected:app", "--app-dir", str(tmp_path), "--python", python,
            "--workers", str(workers), "--threads", str(threads), *options,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def plain(python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("connected")
    (folder / "connected.py").write_text(APP)
    s = start(folder / "log", "connected:app", "--app-dir", str(folder), "--python", python, "--workers", "1")
    s.workers()
    yield s
    assert s.stop() == 0, s.log


def read_all(s: socket.socket) -> bytes:
    got = b""
    while chunk := s.recv(65536):
        got += chunk
    return got


# ---- who makes room -----------------------------------------------------------------------------


def test_the_longest_idle_connection_makes_room_for_a_new_one(server):
    s = server("--max-connections", "8")
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(s.connect()) for _ in range(8)]
        for c in idle:
            c.sendall(HELLO)
            assert b"200 OK" in c.recv(4096)
        new = stack.enter_context(s.connect())
        began = time.monotonic()
        new.sendall(HELLO)
        assert b"200 OK" in new.recv(4096)
        assert time.monotonic() - began < 2
        assert idle[0].recv(1) == b""
        for c in idle[1:]:  # nobody else had to go
            c.sendall(HELLO)
            assert b"200 OK" in c.recv(4096)
    s.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: "EVICTED" in s.log)


def test_connections_that_are_not_idle_stay(server):
    s = server("--max-connections", "2", "--graceful-timeout", "200ms")
    with s.connect() as first, s.connect() as second:
        for c in (first, second):
            c.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)  # both are served
        new = s.connect()
        new.sendall(HELLO)
        new.settimeout(0.5)
        with pytest.raises(TimeoutError):
            new.recv(1)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # gone for good: RST
        first.close()
        new.settimeout(10)
        assert b"200 OK" in new.recv(4096)
        new.close()


def test_a_stuck_sibling_slows_no_new_connection(server):
    s = server(workers=2)
    with contextlib.ExitStack() as stack:
        stuck = stack.enter_context(s.connect())
        stuck.sendall(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)  # it is inside its handler
        began = time.monotonic()
        for _ in range(100):
            c = stack.enter_context(s.connect())
            c.sendall(HELLO)
            assert b"200 OK" in c.recv(4096)
        assert time.monotonic() - began < 0.8, "10 ms for each: the stuck thread is waited for"
        assert b"free" in stuck.recv(4096)


# ---- 0 ------------------------------------------------------------------------------------------


def test_keep_alive_0_closes_behind_the_response(server):
    s = server("--keep-alive", "0")
    with s.connect() as c:
        time.sleep(0.3)  # the first request may take its time
        c.sendall(HELLO * 2)
        got = read_all(c)
    assert got.count(b"200 OK") == 1
    assert b"connection: close" in got


def test_0_is_no_limit_and_a_warning(server):
    options = ["--head-timeout", "--body-timeout", "--write-timeout", "--load-timeout"]
    s = server(*[word for option in options for word in (option, "0")])
    for option in options:
        assert f"{option} 0 is no limit" in s.log
    with s.connect() as c:
        c.sendall(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Le")
        time.sleep(0.1)
        c.sendall(b"ngth: 3\r\n\r\n")
        time.sleep(0.1)
        c.sendall(b"abc")
        assert c.recv(4096).endswith(b"3")


def test_graceful_timeout_0_cuts_at_once(server):
    s = server("--graceful-timeout", "0")
    with s.connect() as c:
        c.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        began = time.monotonic()
        s.stop()
        assert time.monotonic() - began < 5
        with contextlib.suppress(ConnectionError):
            assert c.recv(4096) == b""


# ---- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["--proxy-headers", "x-forwarded"], ["--proxy-protocol"]])
def test_an_ipv4_client_of_a_socket_for_both_is_an_ipv4_client(python, tmp_path, options):
    if not socket.has_dualstack_ipv6():
        pytest.skip("no socket for IPv4 and IPv6 here")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        ready_r, ready_w = os.pipe()
        fd = listener.fileno()
        with open(tmp_path / "log", "wb") as log:
            process = subprocess.Popen(
                [BINARY, "run", "full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1",
                 "--bind", f"fd:{fd}", "--ready-fd", str(ready_w), *options],
                pass_fds=(fd, ready_w), stderr=log, env=clean_environment(),
            )  # fmt: skip
        os.close(ready_w)
        with os.fdopen(ready_r) as ready:
            assert ready.readline()
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=10) as c:
            if "--proxy-protocol" in options:
                c.sendall(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n")
            c.sendall(b"GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n")
            got = read_all(c)
        process.terminate()
        assert process.wait(30) == 0
    assert json.loads(got.partition(b"\r\n\r\n")[2])["client"][0] == "192.0.2.7"


# ---- responses and closing ----------------------------------------------------------------------


def test_205_has_no_body_and_says_so(plain):
    got = plain.raw(b"GET /205 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 205 Reset Content")
    assert b"content-length: 0" in head
    assert b"content-type" not in head
    assert body == b""


@pytest.mark.parametrize(
    "line", [b"HEAD /hello HTTP/3.0\r\n", b"HEAD /hello HTTP/1.1\r\n", b"\r\nHEAD /hello HTTP/1.1\r\nX\r\n"]
)
def test_a_refused_head_has_no_body(plain, line):
    got = plain.raw(line + b"\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.1 505"))
    assert b"content-length" in head
    assert body == b""


def test_a_pipelined_request_with_expect_gets_its_100(plain):
    with plain.connect() as c:
        c.sendall(HELLO + b"POST /length HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        got = b""
        while b"100 Continue" not in got:
            got += c.recv(4096)
        assert got.index(b"200 OK") < got.index(b"100 Continue")
        c.sendall(b"abcde")
        assert c.recv(4096).endswith(b"5")


def test_a_close_with_unread_requests_takes_no_response_away(server):
    """What the client has pipelined behind the last answer would make a plain close a reset."""
    s = server("--keep-alive", "0")
    for _ in range(20):
        with s.connect() as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.sendall(b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n" + HELLO * 3000)
            time.sleep(0.01)  # the server has closed before the answer is read
            got = read_all(c)
        assert len(got.partition(b"\r\n\r\n")[2]) == 20_000


def test_pipelined_requests_wait_for_their_turn(serve, python):
    """Depth and memory of a connection are limited: the rest stays in the socket, and is answered all the same."""
    for limit in (["--max-pipeline", "2"], ["--max-connection-memory", "4096"]):
        server = serve("streams:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", *limit)
        raw = server.raw(head("GET", "/lines/1") * 100 + head("GET", "/lines/2", "Connection: close"))
        assert raw.count(b"HTTP/1.1 200 OK") == 101
