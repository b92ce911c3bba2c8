"""HTTP on the wire: the cases of tests/http against the real server, framing, limits, deadlines."""

import contextlib
import errno
import re
import select
import socket
import time

import http_cases
import httpx
import pytest
from conftest import APPS
from http_cases import cases

RULES = http_cases.rules()


def one_worker(serve, python: str, *options: str):
    """The application `full` in one worker."""
    return serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", *options)


def responses(data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each response; fails on bytes that are none."""
    found = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        assert end, data
        match = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", head + b"\r\n")
        assert match, data
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        n = int(length[1]) if length else 0
        found.append((int(match[1]), rest[:n]))
        data = rest[n:]
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory, python):
    from conftest import start

    server = start(tmp_path_factory.mktemp("plain") / "log", "full:app", "--app-dir", str(APPS), "--python", python)
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [*cases("refused.case"), *cases("smuggling.case")],
    ids=lambda v: v if isinstance(v, str) and v.islower() else None,
)
def test_refused_on_the_wire(plain, name, data, expected):
    """The right status, once, then the connection is closed, whatever stands behind."""
    rule = expected.rpartition(" ; ")[2]
    follow = b"" if rule == "HEAD_LENGTH" else b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n"
    with plain.connect() as s:
        s.sendall(data + follow)
        got = b""
        s.settimeout(5)
        while chunk := s.recv(65536):
            got += chunk
    answers = responses(got)
    assert len(answers) == expected.count(" ; ") + 1
    assert answers[-1][0] == RULES[rule]
    assert b"connection: close" in got
    assert b'"pid"' not in got


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    cases("requests.case"),
    ids=lambda v: v if isinstance(v, str) and v.islower() else None,
)
def test_taken_on_the_wire(plain, name, data, expected):
    """As many answers as requests; none is refused by the parser."""
    got = plain.raw(data + b"GET /users/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    statuses = (
        [status for status, _ in responses(got.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))]
        if "HEAD" not in expected
        else [200]
    )
    assert not {400, 413, 414, 417, 431, 501, 505} & set(statuses), got
    if "close" not in expected and "HEAD" not in expected:
        assert len(statuses) == expected.count(" ; ") + 2
        assert got.endswith(b'"last"')


def test_byte_by_byte(plain):
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /users/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with plain.connect() as s:
        for i in range(len(data)):
            s.sendall(data[i : i + 1])
        got = b""
        while chunk := s.recv(65536):
            got += chunk
    assert responses(got) == [(200, b"hello"), (200, b'"x"')]


def test_every_split_of_a_pipeline(plain):
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /users/x HTTP/1.1\r\nHost: a\r\n\r\n"
    with plain.connect() as s:
        for i in range(1, len(data)):
            s.sendall(data[:i])
            s.sendall(data[i:])
            got = b""
            while got.count(b"HTTP/1.1 200") < 2 or not got.endswith(b'"x"'):
                got += s.recv(65536)
            assert responses(got) == [(200, b"hello"), (200, b'"x"')]


def test_pipelining_is_in_order_whatever_each_takes(plain):
    paths = ["/wait/30", "/users/a", "/block/20", "/users/b", "/nope", "/pool", "/wait/1", "/users/c"] * 12
    data = b"".join(f"GET {p} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for p in paths)
    with plain.connect() as s:
        s.sendall(data)
        got = b""
        while got.count(b"HTTP/1.1 ") < len(paths) or not got.endswith(b'"c"'):
            got += s.recv(65536)
    bodies = [body for _, body in responses(got)]
    assert bodies[:5] == [b'{"waited":30}', b'"a"', b'{"blocked":20}', b'"b"', b'{"detail":"Not Found"}']
    assert bodies == bodies[:8] * 12


def test_pipelining_behind_a_large_body(plain):
    body = b"x" * 200_000
    data = (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body) * 3
    data += b"GET /users/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with plain.connect() as s:
        s.setblocking(False)
        got, at = b"", 0
        while True:
            readable, writable, _ = select.select([s], [s] if at < len(data) else [], [], 10)
            assert readable or writable
            if writable:
                with contextlib.suppress(BlockingIOError):
                    at += s.send(data[at:])
            if readable:
                chunk = s.recv(65536)
                if not chunk:
                    break
                got += chunk
    assert responses(got) == [(200, body)] * 3 + [(200, b'"x"')]


def test_options_of_the_server(plain):
    """RFC 9110 section 9.3.7; RFC 9112 section 3.2.4: an empty path in absolute form means the same."""
    for target in (b"*", b"http://a", b"https://a:8"):
        got = plain.raw(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 204 No Content\r\n"), got
        allow = re.search(rb"\r\nallow: ([^\r]*)", got)
        assert allow
        assert {b"GET", b"HEAD", b"POST", b"OPTIONS"} <= set(allow[1].split(b", ")), got


def test_absolute_target(plain):
    """RFC 9112 section 3.2.2: its host counts, not the Host field's; an empty path is "/"."""

    def get(target: bytes, version: bytes = b"1.1", host: bytes = b"Host: a:8\r\n") -> bytes:
        return plain.raw(b"GET " + target + b" HTTP/" + version + b"\r\n" + host + b"Connection: close\r\n\r\n")

    assert b'"url":"http://a:8/who"' in get(b"/who")
    for seen in (get(b"http://b:9/who"), get(b"http://b:9/who", b"1.0"), get(b"http://b:9/who", b"1.0", b"")):
        assert b'"url":"http://b:9/who"' in seen
        assert b'"base_url":"http://b:9/"' in seen
    assert get(b"http://b:9/host").endswith(b'"b:9"')
    whole = re.sub(rb"\r\ndate: [^\r]*", b"", get(b"/"))
    assert re.sub(rb"\r\ndate: [^\r]*", b"", get(b"http://a:8")) == whole
    assert re.sub(rb"\r\ndate: [^\r]*", b"", get(b"http://a:8?x=1")) == whole


def test_head_has_the_length_but_no_body(plain):
    with plain.connect() as s:
        s.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /users/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b""
        while chunk := s.recv(65536):
            got += chunk
    head, _, rest = got.partition(b"\r\n\r\n")
    assert b"content-length: 19" in head
    assert rest.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("path", ["/delete", "/not-modified"])
def test_no_body_where_there_must_be_none(plain, path):
    got = plain.raw(
        f"{'DELETE' if path == '/delete' else 'GET'} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    )
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == b""
    assert b"content-length" not in head


def test_http_1_0(plain):
    assert b"connection: close" in plain.raw(b"GET /users/x HTTP/1.0\r\n\r\n")
    with plain.connect() as s:
        for _ in range(2):
            s.sendall(b"GET /users/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"connection: keep-alive" in s.recv(4096)


def test_half_close_still_gets_the_answer(plain):
    with plain.connect() as s:
        s.sendall(b"GET /wait/100 HTTP/1.1\r\nHost: a\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := s.recv(4096):
            got += chunk
    assert b'"waited":100' in got


def test_client_that_leaves_while_a_handler_runs(plain):
    for path in ("/wait/100", "/block/100"):
        for _ in range(20):
            s = plain.connect()
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
            s.close()
    assert plain.get("/").json() == {"message": "hello"}


def test_expect_100_continue(plain):
    with plain.connect() as s:
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert s.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"abc")
        assert s.recv(4096).endswith(b"abc")
        s.sendall(b"POST /nope HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
        assert s.recv(4096).startswith(b"HTTP/1.1 404")


def test_an_image_is_taken_by_default(plain):
    """2 to 6 MB are what a telephone's photographs have; the default of --max-body is 8 MiB."""
    image = b"\xff\xd8\xff" + bytes(6_000_000)
    assert httpx.post(plain.url + "/echo", content=image, timeout=30).status_code == 200
    assert httpx.post(plain.url + "/echo", content=bytes((8 << 20) + 1), timeout=30).status_code == 413


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_too_long_is_413_and_the_client_sees_it(python, serve, framing):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--max-body", "100k", "--workers", "1")
    body = b"x" * 3_000_000
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
    if framing == "length":
        data = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    with server.connect() as s:
        with contextlib.suppress(ConnectionError):
            s.sendall(data)
        got = s.recv(65536)
    assert got.startswith(b"HTTP/1.1 413")
    assert b"--max-body" in got
    exact = b"y" * 102400
    assert server.raw(head + b"Connection: close\r\nContent-Length: 102400\r\n\r\n" + exact).endswith(exact)


def test_deadlines(python, serve):
    server = one_worker(
        serve,
        python,
        "--head-timeout",
        "500ms",
        "--body-timeout",
        "700ms",
        "--keep-alive",
        "900ms",
    )
    with server.connect() as head, server.connect() as body, server.connect() as idle, server.connect() as silent:
        began = time.monotonic()
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(4096)
        body.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        closed: dict[str, float] = {}
        answers: dict[str, bytes] = {}
        names = {head: "head", body: "body", idle: "idle", silent: "silent"}
        while len(closed) < 4 and time.monotonic() - began < 10:
            for s in select.select([s for s in names if names[s] not in closed], [], [], 0.1)[0]:
                data = s.recv(4096)
                answers[names[s]] = answers.get(names[s], b"") + data
                if not data:
                    closed[names[s]] = time.monotonic() - began
            for s, byte in ((head, b"G"), (body, b"x")):  # trickling does not move an absolute deadline
                if names[s] not in closed:
                    with contextlib.suppress(ConnectionError):
                        s.sendall(byte)
    assert answers["head"].startswith(b"HTTP/1.1 4")
    assert answers["body"].startswith(b"HTTP/1.1 408")
    assert 0.6 < closed["body"] < 4
    assert 0.8 < closed["idle"] < 2
    assert 0.8 < closed["silent"] < 2


def test_slow_head_is_408(python, serve):
    server = one_worker(serve, python, "--head-timeout", "300ms")
    with server.connect() as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        assert s.recv(4096).startswith(b"HTTP/1.1 408")
        assert s.recv(4096) == b""


def test_slow_reader_costs_only_its_own_connection(python, serve):
    server = one_worker(
        serve,
        python,
        "--write-timeout",
        "1s",
        "--max-body",
        "8m",
    )
    body = b"z" * 8_000_000
    with server.connect() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert server.get("/").status_code == 200
        gone = select.poll()  # nothing is read: what ends this is the server's reset
        gone.register(s, select.POLLRDHUP)
        assert gone.poll(10_000), "the connection was not ended by --write-timeout"
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_pool_queue_is_bounded(python, serve):
    server = one_worker(
        serve,
        python,
        "--threads",
        "1",
        "--pool-threads",
        "1",
        "--pool-queue",
        "2",
    )
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(server.connect()) for _ in range(8)]
        sockets[0].sendall(b"GET /block/600 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)  # so that the one thread has taken it out of the queue
        for s in sockets[1:]:
            s.sendall(b"GET /block/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        answers = [s.recv(4096) for s in sockets]
    statuses = sorted(int(a[9:12]) for a in answers)
    assert statuses.count(200) == 3
    assert statuses.count(503) == 5
    assert all(b"retry-after: 1" in a for a in answers if a.startswith(b"HTTP/1.1 503"))


def test_keep_alive_serves_many(plain):
    with plain.connect() as s:
        for _ in range(500):
            s.sendall(b"GET /users/x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert s.recv(4096).endswith(b'"x"')
