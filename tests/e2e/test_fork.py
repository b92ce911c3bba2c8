"""Processes that an application starts: they take nothing of the server's, and do nothing to it."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from conftest import APPS, BINARY, SLOWER, alive, children_of, clean_environment, run_and_fail, wait_until


@pytest.fixture
def forks(python, serve):
    arguments = ["forks:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "2"]

    def run(*more: str, **kwargs):
        return serve(*arguments, *more, **kwargs)

    return run


def links(pid: int) -> list[str]:
    """What the descriptors of a process above the first three lead to."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if int(fd.name) > 2:
                found.append(str(fd.readlink()))
    return found


def sockets_of(port: int, path: str) -> set[str]:
    """Listening and accepted sockets of a server."""
    tcp = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    inodes = [f[9] for f in tcp if f[1].endswith(f":{port:04X}")]
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return {f"socket:[{inode}]" for inode in inodes + [f[6] for f in unix if f[-1] == path]}


@contextlib.contextmanager
def ended(pid: int):
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("path", ["/pool", "/pool-thread"])
def test_the_end_of_a_process_pool_does_not_drain_the_worker(forks, path):
    server = forks()
    workers = server.workers()
    for _ in range(3):
        assert server.get(path).json() == [4, 9]
    wait_until(lambda: not children_of(workers[0]))
    assert server.get("/pid").json()["pid"] == workers[0]
    assert server.workers() == workers
    assert "exited" not in server.log


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_to_a_forked_child_ends_the_child_alone(forks, sig):
    server = forks()
    workers = server.workers()
    child = server.get("/fork/600").json()
    with ended(child):
        assert server.get(f"/kill/{child}/{int(sig)}").json() == -sig
        assert server.get("/pid").json()["pid"] == workers[0]


def test_a_forked_child_holds_no_socket_of_the_server(forks):
    path = f"/tmp/oarlock-fork-{os.getpid()}.sock"
    server = forks("--bind", f"unix:{path}")
    (worker,) = server.workers()
    with server.connect() as open_connection:
        open_connection.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in open_connection.recv(4096)
        assert [link for link in links(worker) if link.startswith("socket:")]
        with ended(server.get("/fork/600").json()) as child:
            servers = sockets_of(server.port, path)
            assert len(servers & set(links(worker))) >= 3
            wait_until(lambda: not [x for x in links(child) if x.startswith("pipe:") or x in servers])
            began = time.monotonic()
            assert server.stop() == 0  # and the child lives on
            assert alive(child)
            assert open_connection.recv(4096) == b""
            assert time.monotonic() - began < 5 * SLOWER
            with pytest.raises(ConnectionRefusedError):
                server.connect()


def test_an_executed_child_holds_nothing_of_the_server(forks):
    server = forks()
    (worker,) = server.workers()
    with server.connect() as s:
        s.sendall(b"GET /exec HTTP/1.1\r\nHost: a\r\n\r\n")
        child = int(s.recv(4096).rpartition(b"\r\n\r\n")[2])
        with ended(child):
            wait_until(lambda: "python" in Path(f"/proc/{child}/cmdline").read_text())
            assert not set(links(child)) & set(links(worker))


def test_what_is_the_applications_stays_with_its_child(forks):
    assert forks().get("/own-socket").json() == 3


@pytest.mark.parametrize("path", ["/return-from-child", "/return-from-child-pool"])
def test_a_child_that_comes_back_from_a_handler_ends(forks, path):
    """It would serve the parent's clients a second time, or stay for ever."""
    server = forks()
    (worker,) = server.workers()
    with httpx.Client(base_url=server.url) as client:
        child = client.get(path).json()
        assert child > 0
        wait_until(lambda: not alive(child))
        for _ in range(20):
            assert client.get("/pid").json()["pid"] == worker
    wait_until(lambda: "os._exit" in server.log)


@pytest.mark.parametrize("how", ["process", "fork"])
def test_an_application_that_forks_at_import_starts(forks, how):
    """Its child held the loader's pipe: the start waited for --load-timeout and blamed the import."""
    server = forks("--load-timeout", f"{20 * SLOWER}s", env={"FORKS_AT_IMPORT": how})
    (worker,) = [pid for pid in server.workers() if pid in children_of(server.pid)]
    (child,) = children_of(worker)  # the worker's own; the loader's is gone
    with ended(child):
        assert server.get("/pool").json() == [4, 9]
        held = sockets_of(server.port, "none") | {x for x in links(server.pid) if x.startswith("pipe:")}
        assert not held & set(links(child))
        assert server.stop() == 0
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_a_child_that_comes_back_from_the_import_ends(forks):
    """It wrote a second manifest, and told the master that it was ready."""
    server = forks(env={"FORKS_AT_IMPORT": "returns"})
    (worker,) = server.workers()
    wait_until(lambda: not [c for c in children_of(worker) if alive(c)])
    wait_until(lambda: re.search(r"worker 0\[\d+\]: a process that the application has forked came back", server.log))
    assert {server.get("/pid").json()["pid"] for _ in range(10)} == {worker}
    assert server.stop() == 0


def test_a_loader_that_dies_and_leaves_a_child_is_a_failure_at_once(python):
    """And its child does not live on: run_and_fail looks for what is left."""
    began = time.monotonic()
    arguments = ["run", "forks:app", "--app-dir", str(APPS), "--python", python, "--bind", "127.0.0.1:0"]
    status, out = run_and_fail(*arguments, env={"FORKS_AT_IMPORT": "dies"})
    assert status == 1
    assert "the loader ended without a word: it exited with status 9." in out
    status, out = run_and_fail("routes", *arguments[1:6], env={"FORKS_AT_IMPORT": "dies"})
    assert status == 1
    assert "the loader ended without a word: it exited with status 9." in out
    assert time.monotonic() - began < 20 * SLOWER


def test_routes_of_an_application_that_forks_at_import(python):
    command = [BINARY, "routes", "forks:app", "--app-dir", str(APPS), "--python", python]
    done = subprocess.run(
        command,
        env=clean_environment() | {"FORKS_AT_IMPORT": "fork"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "/own-socket" in done.stdout
