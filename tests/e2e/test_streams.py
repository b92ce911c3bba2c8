"""Bodies piece by piece, back-pressure, and clients that leave; on both interpreters."""

import contextlib
import json
import re
import socket
import struct
import time

import pytest
from conftest import APPS, SLOWER, Server, start, wait_until

MIB = 1 << 20
GROWTH = 8 * MIB if SLOWER == 1 else 512 * MIB  # a sanitizer keeps freed memory


@pytest.fixture(scope="module")
def streams(python, tmp_path_factory):
    """One worker, one thread: its events and its memory are those of the whole server."""
    log = tmp_path_factory.mktemp("streams") / "server.log"
    server = start(log, "streams:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1")
    yield server
    assert server.stop() == 0, server.log


def head(method: str, path: str, *fields: str, minor: int = 1) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.{minor}", "Host: a", *fields, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def post(server: Server, path: str, body: bytes, chunked: bool = False) -> tuple[int, dict]:
    if chunked:
        pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
        data = (
            head("POST", path, "Transfer-Encoding: chunked", "Connection: close")
            + b"".join(map(chunk, pieces))
            + b"0\r\n\r\n"
        )
    else:
        data = head("POST", path, f"Content-Length: {len(body)}", "Connection: close") + body
    return answer(server.raw(data))


def answer(raw: bytes) -> tuple[int, dict]:
    first, _, rest = raw.partition(b"\r\n")
    return int(first.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


def read_until(s: socket.socket, end: bytes) -> bytes:
    got = b""
    while end not in got:
        piece = s.recv(65536)
        assert piece, f"closed before {end!r}: {got!r}"
        got += piece
    return got


def read_all(s: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := s.recv(65536):
            got += piece
    return got


def reset(s: socket.socket) -> None:
    """Closes with a reset: the client has gone, beyond doubt."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def events(server: Server) -> list[str]:
    return server.get("/events").json()


def happens(server: Server, event: str) -> None:
    wait_until(lambda: event in events(server))


# ---- request bodies -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/count", "/count-def"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 3 * MIB])
def test_upload(streams, path, chunked, size):
    status, body = post(streams, path, b"x" * size, chunked)
    assert (status, body["bytes"]) == (200, size)


@pytest.mark.parametrize("path", ["/whole", "/whole-def"])
def test_the_whole_body_of_a_streaming_route(streams, path):
    assert post(streams, path, b"abc") == (200, {"text": "abc", "again": "abc"})


def test_stream_of_a_buffered_route_is_its_body(streams):
    assert post(streams, "/buffered", b"abc") == (200, {"text": "abc"})


def test_a_handler_that_is_behind_holds_its_client_back(streams):
    before = streams.get("/rss").json()
    with streams.connect() as s:
        s.sendall(head("POST", "/first", f"Content-Length: {64 * MIB}"))
        s.sendall(b"x" * 65536)
        happens(streams, "first waits")
        s.settimeout(0.3)
        sent = 65536
        with contextlib.suppress(TimeoutError):  # what the kernel's buffers take, and no more
            while sent < 64 * MIB:
                sent += s.send(b"x" * min(65536, 64 * MIB - sent))
        assert sent < 32 * MIB
        assert streams.get("/rss").json() - before < GROWTH
        s.settimeout(20)
        streams.get("/open/first")
        while sent < 64 * MIB:
            sent += s.send(b"x" * min(65536, 64 * MIB - sent))
        assert b'{"bytes":%d}' % (64 * MIB) in read_until(s, b"}")
        assert streams.get("/rss").json() - before < GROWTH


def test_requests_behind_a_streamed_body(streams):
    one = head("POST", "/count", "Content-Length: 3") + b"abc"
    two = head("POST", "/count", "Transfer-Encoding: chunked") + chunk(b"de") + b"0\r\n\r\n"
    raw = streams.raw(one + two + one + head("GET", "/lines/1", "Connection: close"))
    assert re.findall(rb'"bytes":(\d+)', raw) == [b"3", b"2", b"3"]
    assert raw.endswith(b"7\r\nline 0\n\r\n0\r\n\r\n")


def test_an_early_answer_closes(streams):
    with streams.connect() as s:
        s.sendall(head("POST", "/ignore", "Content-Length: 1000") + b"x")
        got = read_all(s)
    assert b"200 OK" in got
    assert b"connection: close" in got
    assert got.endswith(b'{"ignored":true}')


def test_an_early_answer_to_a_whole_body_keeps_the_connection(streams):
    one = head("POST", "/ignore", "Content-Length: 3") + b"abc"
    raw = streams.raw(one + head("GET", "/lines/1", "Connection: close"))
    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert b"line 0" in raw


def test_100_continue_when_the_handler_reads(streams):
    with streams.connect() as s:
        s.sendall(head("POST", "/count", "Content-Length: 3", "Expect: 100-continue"))
        assert read_until(s, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"abc")
        assert b'"bytes":3' in read_until(s, b"}")


def test_no_100_continue_for_a_body_that_nobody_reads(streams):
    with streams.connect() as s:
        s.sendall(head("POST", "/ignore", "Content-Length: 3", "Expect: 100-continue"))
        got = read_all(s)
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in got


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/lines/1", 405), ("/small", 413), ("/small-stream", 413)]
)
def test_no_100_continue_for_a_body_that_is_not_accepted(streams, path, status):
    with streams.connect() as s:
        s.sendall(head("POST", path, "Content-Length: 300", "Expect: 100-continue"))
        got = read_all(s)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in got


@pytest.mark.parametrize("path", ["/small", "/small-stream"])
def test_the_limit_of_a_route(streams, path):
    assert post(streams, path, b"x" * 10) == (200, {"bytes": 10})
    for chunked in (False, True):
        status, body = post(streams, path, b"x" * 11, chunked)
        assert (status, body) == (413, {"detail": "the body is longer than the route's max_body"})


def test_the_servers_limit_for_streams(streams):
    status, body = post(streams, "/whole", b"x" * (8 * MIB + 1))
    assert (status, body) == (413, {"detail": "the body is longer than --max-body"})


def test_a_chunk_that_breaks_a_rule_while_the_handler_reads(streams):
    with streams.connect() as s:
        s.sendall(head("POST", "/cut", "Transfer-Encoding: chunked") + chunk(b"abc"))
        happens(streams, "cut has a piece")
        s.sendall(b"zz\r\n")
        got = read_all(s)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"hexadecimal" in got
    assert got.count(b"HTTP/1.1") == 1
    happens(streams, "cut: ClientDisconnect")


@pytest.mark.parametrize("path", ["cut", "cut-def"])
@pytest.mark.parametrize("leave", [reset, socket.socket.close])
def test_a_client_that_leaves_in_the_middle_of_its_body(streams, path, leave):
    seen = events(streams).count(f"{path}: ClientDisconnect")
    with streams.connect() as s:
        s.sendall(head("POST", f"/{path}", "Content-Length: 100") + b"abc")
        happens(streams, f"{path} has a piece")
        leave(s)
    wait_until(lambda: events(streams).count(f"{path}: ClientDisconnect") == seen + 1)
    assert "ClientDisconnect" not in streams.log


def test_misuse_is_explained(streams):
    assert "async for" in post(streams, "/wrong-for", b"x")[1]["error"]
    assert "has been read" in post(streams, "/twice", b"x")[1]["error"]


# ---- responses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/lines", "/async-lines"])
@pytest.mark.parametrize("n", [0, 1, 5, 20000])
def test_generators(streams, path, n):
    response = streams.get(f"{path}/{n}")
    assert response.text == "".join(f"line {i}\n" for i in range(n))
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in response.headers


def test_streaming_response(streams):
    response = streams.get("/response/3")
    assert (response.status_code, response.content) == (201, b"xxx")
    assert response.headers["x-kind"] == "plain"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert streams.get("/from-def/3").content == b"yyy"
    assert streams.get("/empty-pieces").content == b"ab"


@pytest.mark.parametrize("path", ["/lines/3", "/async-lines/3"])
def test_http_1_0_gets_the_body_up_to_the_close(streams, path):
    got = streams.raw(head("GET", path, "Connection: keep-alive", minor=0))
    assert b"chunked" not in got
    assert b"connection: close" in got
    assert got.endswith(b"\r\n\r\nline 0\nline 1\nline 2\n")


@pytest.mark.parametrize("path", ["/lines/3", "/async-lines/3", "/endless/head", "/no-content"])
def test_no_body_where_there_is_none(streams, path):
    """HEAD and 204: no body, and the connection goes on."""
    method = "GET" if path == "/no-content" else "HEAD"
    got = streams.raw(head(method, path) + head("GET", "/lines/1", "Connection: close"))
    assert got.count(b"HTTP/1.1 20") == 2
    assert got.partition(b"\r\n\r\n")[2].startswith(b"HTTP/1.1 200 OK")
    assert "no-content ran" not in events(streams)


@pytest.mark.parametrize("path", ["/breaks", "/breaks-def"])
def test_a_source_that_breaks_cuts_the_response(streams, path):
    got = streams.raw(head("GET", path))
    assert got.endswith(b"4\r\nhalf\r\n")  # no last chunk: RFC 9112 section 8
    assert f"{path}: a streamed response broke off" in streams.log
    assert "the source broke" in streams.log
    with streams.connect() as s:
        s.sendall(head("GET", path, minor=0))
        with pytest.raises(ConnectionResetError):
            b"".join(iter(lambda: s.recv(1000), b""))


def test_what_is_pipelined_behind_a_cut_response_is_thrown_away(streams):
    half = head("POST", "/count", "Content-Length: 100") + b"abc"
    assert streams.raw(head("GET", "/breaks") + half).endswith(b"4\r\nhalf\r\n")
    assert streams.raw(head("GET", "/breaks-def") + half).endswith(b"4\r\nhalf\r\n")


def test_a_piece_of_the_wrong_type(streams):
    streams.raw(head("GET", "/wrong-type"))
    assert "a streamed response gives bytes or str, not int" in streams.log


@pytest.mark.parametrize("path", ["/context", "/context-def"])
def test_the_source_runs_in_the_handlers_context(streams, path):
    assert streams.get(path).text == "handler"


@pytest.mark.parametrize("path", ["/big", "/big-def"])
def test_a_slow_reader_holds_the_handler_back(streams, path):
    before = streams.get("/rss").json()
    with streams.connect() as s:
        s.sendall(head("GET", f"{path}/256", "Connection: close"))
        read_until(s, b"\r\n\r\n")
        for _ in range(20):
            s.recv(65536)
            assert streams.get("/rss").json() - before < GROWTH
        got = sum(len(piece) for piece in iter(lambda: s.recv(1 << 20), b""))
        assert got > 250 * MIB


def test_pipelined_behind_a_stream(streams):
    got = streams.raw(head("GET", "/async-lines/2") * 3 + head("GET", "/lines/1", "Connection: close"))
    assert got.count(b"0\r\n\r\n") == 4
    assert got.count(b"HTTP/1.1 200 OK") == 4


def test_echo_both_ways_at_once(streams):
    data = bytes(range(256)) * 4096
    with streams.connect() as s:
        s.sendall(head("POST", "/echo", f"Content-Length: {len(data)}", "Connection: close"))
        got = b""
        for i in range(0, len(data), 65536):
            s.sendall(data[i : i + 65536])
            got += s.recv(65536)
        got += read_all(s)
    body, at = b"", got.index(b"\r\n\r\n") + 4
    while (size := int(got[at : got.index(b"\r\n", at)], 16)) > 0:
        at = got.index(b"\r\n", at) + 2
        body += got[at : at + size]
        at += size + 2
    assert body == data


# ---- clients that leave -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["endless", "endless-def", "nothing", "nothing-def", "quiet"])
def test_a_stream_is_closed_when_its_client_leaves(streams, path):
    with streams.connect() as s:
        s.sendall(head("GET", f"/{path}" + ("" if path == "quiet" else f"/{path}")))
        read_until(s, b"begun" if path == "quiet" else b"tick")  # a generator that has not begun has nothing to close
        reset(s)
    happens(streams, {"endless-def": "endless-def closed in True"}.get(path, f"{path} closed"))
    assert "broke off" not in streams.log.partition("/endless")[2]


def test_a_client_that_has_closed_is_told_from_one_that_still_reads(streams):
    """Both have sent FIN, and the responses have nothing to say: probes ask who is there."""
    with streams.connect() as reads:
        reads.sendall(head("GET", "/nothing/reads"))
        read_until(reads, b"tick\n\r\n")
        reads.shutdown(socket.SHUT_WR)
        for name in ("nothing", "nothing-def"):
            with streams.connect() as s:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)  # what the kernel makes a minute of otherwise
                s.sendall(head("GET", f"/{name}/fin-{name}"))
                read_until(s, b"tick\n\r\n")
        for name in ("nothing", "nothing-def"):
            happens(streams, f"fin-{name} closed")
        assert "reads closed" not in events(streams)
        reset(reads)
    happens(streams, "reads closed")


def test_a_handler_goes_on_when_its_client_has_left(streams):
    with streams.connect() as s:
        s.sendall(head("GET", "/wait/goes-on"))
        happens(streams, "goes-on runs")
        reset(s)
    streams.get("/open/goes-on")
    happens(streams, "goes-on disconnected True True")


def test_a_handler_is_cancelled_where_the_route_says_so(streams):
    with streams.connect() as s:
        s.sendall(head("GET", "/cancel/gone"))
        happens(streams, "gone runs")
        reset(s)
    happens(streams, "gone cancelled")
    assert "CancelledError" not in streams.log


def test_a_handler_knows_of_a_fin_and_its_answer_is_still_written(streams):
    """What most clients send when they leave; one that has closed one half only still reads."""
    with streams.connect() as s:
        s.sendall(head("GET", "/wait/fin"))
        happens(streams, "fin runs")
        s.shutdown(socket.SHUT_WR)
        wait_until(lambda: streams.get("/open/fin"))
        got = read_all(s)
    assert got.startswith(b"HTTP/1.1 200 OK")
    happens(streams, "fin disconnected True True")


@pytest.mark.parametrize("when", ["running", "before"])
def test_a_fin_cancels_where_the_route_says_so(streams, when):
    with streams.connect() as s:
        s.sendall(head("GET", f"/cancel/fin-{when}"))
        if when == "running":
            happens(streams, f"fin-{when} runs")
        s.shutdown(socket.SHUT_WR)
        happens(streams, f"fin-{when} cancelled")
    assert "CancelledError" not in streams.log


def test_a_fin_behind_bytes_that_are_not_read_is_seen(streams):
    """The input block is full of pipelined requests, so the socket is not read; the FIN is behind them."""
    with streams.connect() as s:
        s.sendall(head("GET", "/cancel/far") + head("GET", "/open/nobody") * 2000)
        happens(streams, "far runs")
        s.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        happens(streams, "far cancelled")
        assert time.monotonic() - began < 2


def test_a_unix_socket_knows_a_whole_close(serve, python, tmp_path):
    path = tmp_path / "s"
    server = serve(
        "streams:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--bind", f"unix:{path}"
    )
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(head("GET", "/cancel/unix"))
        happens(server, "unix runs")
    happens(server, "unix cancelled")


# ---- deadlines and limits -----------------------------------------------------------------------


def test_a_handler_that_is_overdue(serve, python):
    server = serve(
        "streams:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--handler-timeout", "300ms"
    )
    raw = server.raw(head("GET", "/wait/overdue"))
    assert answer(raw) == (504, {"detail": "the handler took longer than --handler-timeout"})
    happens(server, "overdue cancelled")
    assert "CancelledError" not in server.log
    # a stream that has begun is not bounded by it
    with server.connect() as s:
        s.sendall(head("GET", "/endless/long"))
        assert read_until(s, b"5\r\ntick\n\r\n" * 40)


def test_requests_in_flight_are_limited(serve, python):
    server = serve(
        "streams:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1",
        "--max-in-flight", "2",
    )  # fmt: skip
    with server.connect() as one, server.connect() as two, server.connect() as three:
        one.sendall(head("GET", "/wait/one"))
        happens(server, "one runs")
        two.sendall(head("GET", "/endless/two"))
        read_until(two, b"tick")
        three.sendall(head("GET", "/wait/three"))
        got = read_until(three, b"}")
        assert got.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in got
        assert b"--max-in-flight" in got
        reset(two)
        wait_until(lambda: server.get("/events").status_code == 200 and "two closed" in events(server))
        three.sendall(head("GET", "/lines/1"))
        assert b"200 OK" in read_until(three, b"line 0")
        server.get("/open/one")


@pytest.mark.parametrize("path", ["/buffered", "/count", "/count-def"])
def test_a_body_slower_than_the_least_rate(serve, python, path):
    server = serve(
        "streams:app", "--app-dir", str(APPS), "--python", python, "--workers", "1",
        "--body-timeout", "400ms", "--min-rate", "1k",
    )  # fmt: skip
    with server.connect() as slow, server.connect() as quick:
        for s in (slow, quick):
            s.sendall(head("POST", path, "Content-Length: 10000"))
        left = [10000, 10000]
        slow.settimeout(0.01)
        while left[1] > 0:  # 2,000 bytes each 0.1 s keep up; one byte does not
            quick.sendall(b"x" * 1000)
            left[1] -= 1000
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                slow.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                quick.settimeout(0.1)
                assert left[1] == 0 or not quick.recv(1)
        quick.settimeout(20)
        slow.settimeout(20)
        assert read_until(quick, b"}").startswith(b"HTTP/1.1 200 OK")
        got = read_all(slow)
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b"--min-rate" in got


def test_bodies_that_are_held_are_limited(serve, python):
    server = serve(
        "streams:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1",
        "--max-buffered", "600k",
    )  # fmt: skip
    with server.connect() as one, server.connect() as two:
        for s in (one, two):
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                s.sendall(head("POST", "/buffered", "Content-Length: 400000") + b"x" * 399999)
        refused = b""
        for s in (one, two):
            s.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                refused += read_all(s)
        assert refused.count(b"HTTP/1.1 503 ") == 1
        assert b"--max-buffered" in refused
    assert post(server, "/buffered", b"x" * 300000)[0] == 200  # what they held is free again
