"""Who keeps an event loop is named within a second; and what the scoreboard's memory may do to the master."""

import fcntl
import mmap
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
from conftest import APPS, SLOWER, wait_until

NAMED = re.compile(r"event loop (\d+) has been (.*) for ([\d.]+) s; its other clients")
GOES_ON = re.compile(r"event loop (\d+) goes on; it has been (.*) for ([\d.]+) s")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/stuck/2200", r"inside the handler of /stuck/\{ms\} \(stuck, .*full\.py:\d+\)"),
        ("/stuck-later/2200", r"inside a task or a callback of asyncio's"),
    ],
)
def test_who_keeps_an_event_loop_is_named(python, serve, path, place):
    server = serve(
        "full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "2",
        "--blocking-threshold", "0",  # else the loop would be taken over from the handler
    )  # fmt: skip
    with server.connect() as pool, server.connect() as s:
        pool.sendall(b"GET /block/1000 HTTP/1.1\r\nHost: a\r\n\r\n")  # keeps nobody
        time.sleep(0.05)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        began = time.monotonic()
        wait_until(lambda: NAMED.search(server.log))
        assert time.monotonic() - began < 1.2 * SLOWER  # a second, and the test's own
        assert b"200 OK" in s.recv(4096)
        assert b"200 OK" in pool.recv(4096)
        wait_until(lambda: GOES_ON.search(server.log))
    named = NAMED.findall(server.log)
    (goes_on,) = GOES_ON.findall(server.log)
    assert len(named) == 2, named  # at 0.7 s and 1.4 s
    assert len({index for index, _, _ in [*named, goes_on]}) == 1
    assert all(re.fullmatch(place, where) for _, where, _ in [*named, goes_on]), named
    assert [float(seconds) for _, _, seconds in named] == sorted({float(seconds) for _, _, seconds in named})
    assert 1.8 < float(goes_on[2]) < 3.5 * SLOWER


def test_a_loop_that_has_ended_is_stuck_nowhere(python, serve):
    """A drain is over on one event loop long before it is on the other."""
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "2")
    with server.connect() as s:
        s.sendall(b"GET /block/2000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)  # it is in the pool; if not, it is served all the same
        assert server.stop() == 0
        assert b"200 OK" in s.recv(4096)
    assert not NAMED.search(server.log), server.log


def memory(server) -> Path:
    for fd in Path(f"/proc/{server.pid}/fd").iterdir():
        if "oarlock-scoreboard" in os.readlink(fd):
            return fd
    raise AssertionError("no scoreboard")


@pytest.mark.parametrize("what", ["ones", "random"])
def test_nothing_in_the_scoreboard_hurts_the_master(python, serve, what):
    """A worker with a wild pointer can write there whatever it likes."""
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "2")
    with open(memory(server), "r+b") as f:
        size = os.fstat(f.fileno()).st_size
        noise = b"\xff" * size if what == "ones" else random.Random(1).randbytes(size)
        os.pwrite(f.fileno(), noise, 0)
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: server.log.count("status: worker") >= 4)
        old = server.workers()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        os.pwrite(f.fileno(), noise[:4096], 0)  # the header
        wait_until(lambda: len(server.workers()) == 2 and not set(old) & set(server.workers()))
    for _ in range(10):
        assert server.get("/").status_code == 200
    assert server.stop() == 0


def test_the_scoreboard_keeps_its_size_and_workers_cannot_write_its_header(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python)
    with open(memory(server), "r+b") as f:
        seals = fcntl.fcntl(f.fileno(), fcntl.F_GET_SEALS)
        assert seals == fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        with pytest.raises(PermissionError):
            os.ftruncate(f.fileno(), mmap.PAGESIZE)
    for pid in server.workers():
        maps = Path(f"/proc/{pid}/maps").read_text()
        flags = re.findall(r"^\S+ (\S+) .*oarlock-scoreboard", maps, re.M)
        assert flags == ["r--s", "rw-s"], maps
