"""Who is speaking: PROXY protocol, Forwarded fields, unix and inherited sockets; on both interpreters."""

import contextlib
import os
import pwd
import re
import socket
import stat
import struct
import subprocess
from pathlib import Path

import http_cases
import httpx
import pytest
from conftest import APPS, BINARY, clean_environment, run_and_fail, wait_until

GET = b"GET /who HTTP/1.1\r\nHost: a:8\r\nConnection: close\r\n"


def server(serve, python: str, *options: str):
    return serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", *options)


def who(s, fields: bytes = b"", before: bytes = b"") -> dict:
    import json

    raw = s.raw(before + GET + fields + b"\r\n")
    assert raw.startswith(b"HTTP/1.1 200 OK"), raw
    return json.loads(raw.partition(b"\r\n\r\n")[2])


def test_proxy_headers(serve, python):
    s = server(serve, python, "--proxy-headers", "x-forwarded")
    plain = who(s)
    assert plain["client"][0] == "127.0.0.1"
    assert plain["url"] == "http://a:8/who"
    assert plain["base_url"] == "http://a:8/"
    fields = (
        b"X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: example.com\r\n"
        b"Forwarded: for=198.51.100.1\r\n"
    )
    assert who(s, fields) == {
        "client": ["192.0.2.1", 0],
        "url": "https://example.com/who",
        "base_url": "https://example.com/",
    }


def test_forwarded(serve, python):
    s = server(serve, python, "--proxy-headers", "forwarded")
    seen = who(s, b'Forwarded: for="[2001:db8::1]:4711";proto=https;host=b\r\nX-Forwarded-For: 192.0.2.1\r\n')
    assert seen == {"client": ["2001:db8::1", 4711], "url": "https://b/who", "base_url": "https://b/"}


@pytest.mark.parametrize("options", [[], ["--proxy-headers", "x-forwarded", "--trusted-proxies", "10.0.0.0/8"]])
def test_fields_of_somebody_who_is_not_trusted(serve, python, options):
    s = server(serve, python, *options)
    seen = who(s, b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n")
    assert seen["client"][0] == "127.0.0.1"
    assert seen["url"] == "http://a:8/who"


def test_proxy_protocol(serve, python):
    s = server(serve, python, "--proxy-protocol")
    assert who(s, before=b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n")["client"] == ["192.0.2.1", 56324]
    assert who(s, before=b"PROXY UNKNOWN\r\n")["client"][0] == "127.0.0.1"
    v2 = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(
        "!BBH16s16sHH", 0x21, 0x21, 36, b"\x20\x01" + bytes(14), bytes(16), 80, 81
    )
    assert who(s, before=v2)["client"] == ["2001::", 80]
    with s.connect() as c:  # byte by byte, then two requests
        for byte in b"PROXY TCP6 ::2 ::1 1 2\r\n":
            c.send(bytes([byte]))
        c.sendall(b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n")
        got = b"".join(iter(lambda: c.recv(65536), b""))
    assert got.count(b'"client":["::2",1]') == 2


@pytest.mark.parametrize(
    "data", [data for _, data, expected in http_cases.cases("proxy.case") if expected == "refused"], ids=repr
)
def test_connections_that_do_not_begin_with_a_header_are_closed(proxied, data):
    with proxied.connect() as c:
        c.sendall(data + GET + b"\r\n")
        with contextlib.suppress(ConnectionResetError):  # bytes behind the header were not read
            assert c.recv(100) == b""


@pytest.fixture(scope="module")
def proxied(python, tmp_path_factory):
    from conftest import start

    log = tmp_path_factory.mktemp("proxied") / "log"
    s = start(
        log, "full:app", "--app-dir", str(APPS), "--python", python, "--proxy-protocol", "--head-timeout", "300ms"
    )
    yield s
    assert s.stop() == 0


def test_a_proxy_that_says_nothing_is_closed(proxied):
    with proxied.connect() as c:
        assert c.recv(100) == b""
    with proxied.connect() as c:
        c.sendall(b"PROXY TCP4 ")
        assert c.recv(100) == b""


def test_a_proxy_that_is_not_trusted_is_closed(serve, python):
    s = server(serve, python, "--proxy-protocol", "--trusted-proxies", "192.0.2.0/24,unix")
    with s.connect() as c:
        try:
            c.sendall(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n" + GET + b"\r\n")
            assert c.recv(100) == b""
        except (ConnectionResetError, BrokenPipeError):
            pass


def test_refusals_are_counted_by_reason(serve, python):
    import signal

    s = server(serve, python, "--threads", "1")
    s.raw(b"GET / HTTP/1.1\r\n\r\n")
    s.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    s.raw(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
    s.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: "413 BODY_LENGTH" in s.log)
    assert "status: refused 1 with 400 HOST_MISSING: no Host field" in s.log
    assert "status: refused 1 with 400 HOST_DOUBLE" in s.log
    assert "status: worker 0 thread 0" in s.log
    assert " 3 refused," in s.log


# ---- sockets ------------------------------------------------------------------------------------


def ask(path) -> bytes:
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(str(path))
        c.sendall(GET + b"\r\n")
        return b"".join(iter(lambda: c.recv(65536), b""))


def test_unix_socket(serve, python, tmp_path):
    path = tmp_path / "s"
    s = server(serve, python, "--bind", f"unix:{path}", "--unix-mode", "640", "--unix-owner", "nobody")
    assert b'"client":null' in ask(path)
    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert found.st_uid == pwd.getpwnam("nobody").pw_uid
    assert s.stop() == 0
    assert not path.exists()


def test_unix_sockets_with_long_paths(serve, python, tmp_path_factory):
    """107 bytes are the most that a path can have, sixteen addresses the most that a server can have: all are named
    whole, and only the sockets' own files are removed.
    """
    folder = tmp_path_factory.mktemp("long")
    paths = [str(folder / f"{i:02}").ljust(107, "s") for i in range(16)]
    others = [Path(path[:100]) for path in paths]
    for other in others:
        other.write_text("")
    module = "m" * 240  # the line names the application too: more than 2,048 bytes in all
    (folder / f"{module}.py").write_text("from oarlock import App\n\napp = App()\n")
    options = [word for path in paths[1:] for word in ("--bind", f"unix:{path}")]
    s = serve(f"{module}:app", "--app-dir", str(folder), "--python", python, *options)
    assert module in s.line
    assert all(f"unix:{path}," in s.line for path in paths[1:])
    assert s.line.endswith(f"kill {s.pid}\n")
    assert b"404" in ask(paths[1])
    assert s.stop() == 0
    assert not any(Path(path).exists() for path in paths)
    assert all(other.exists() for other in others)


def test_another_servers_socket_is_left_alone(serve, tmp_path):
    """The file is removed at the end only if it is still the one that was made."""
    path = tmp_path / "s.sock"
    first = serve("--stub", "--bind", f"unix:{path}")
    path.rename(tmp_path / "moved")
    second = serve("--stub", "--bind", f"unix:{path}")
    assert first.stop() == 0
    assert b"HTTP/1.1 404" in ask(path)  # the stub answers
    assert second.stop() == 0
    assert not path.exists()


def test_several_addresses(serve, python, tmp_path):
    path = tmp_path / "s"
    s = server(serve, python, "--bind", "[::1]:0", "--bind", f"unix:{path}")
    assert who(s)["client"][0] == "127.0.0.1"
    found = re.search(r"http://\[::1\]:(\d+)", s.line + s.log)
    assert found, s.log
    seen = httpx.get(f"http://[::1]:{found[1]}/who").json()
    assert seen["client"][0] == "::1"
    assert seen["url"] == f"http://[::1]:{found[1]}/who"
    assert b'"client":null' in ask(path)


def test_inherited_socket(python, tmp_path):
    """As systemd passes it: opened by somebody else, and still theirs afterwards."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, open(tmp_path / "log", "wb") as log:
        listener.bind(str(path))
        listener.listen(16)
        ready_r, ready_w = os.pipe()
        fd = listener.fileno()
        process = subprocess.Popen(
            [BINARY, "run", "full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1",
             "--bind", f"fd:{fd}", "--ready-fd", str(ready_w)],
            pass_fds=(fd, ready_w), stderr=log, env=clean_environment(),
        )  # fmt: skip
        os.close(ready_w)
        with os.fdopen(ready_r) as ready:
            assert f"unix:{path}" in ready.readline()
        assert b"200 OK" in ask(path)
        process.terminate()
        assert process.wait(30) == 0
        assert path.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bind", "fd:99"], "--bind fd:99: the server was not started with a listening socket there"),
        (["--bind", "fd:x"], "--bind fd:x: "),
        (["--unix-mode", "rw"], "--unix-mode: 'rw' is no mode in octal"),
        (["--bind", "unix:/tmp/oarlock-test-owner", "--unix-owner", "nobody-here"], "there is no such user"),
        (["--bind", "unix:/tmp/oarlock-test-owner", "--unix-owner", "root:nobody-here"], "there is no such group"),
        (["--proxy-headers", "yes"], "--proxy-headers: 'yes' is not one of off|x-forwarded|forwarded"),
        (["--trusted-proxies", "10.0.0.0/99"], "--trusted-proxies: '10.0.0.0/99' is no address or network"),
    ],
)
def test_options_that_are_wrong(options, message):
    status, out = run_and_fail("run", "--stub", "--bind", "127.0.0.1:0", *options)
    assert status != 0
    assert message in out
