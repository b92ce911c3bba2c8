"""The log: nobody reads it, its reader is slow, a client writes into it."""

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx
import pytest
from conftest import APPS, BINARY, ROOT, SLOWER, Server, alive, clean_environment, wait_until

UNREAD = ["pipe", "socket", "terminal"]


def unread_stderr(kind: str) -> tuple[int, int]:
    """(the end that nobody reads, the server's end)."""
    if kind == "socket":
        ours, theirs = socket.socketpair()
        return ours.detach(), theirs.detach()
    return pty.openpty() if kind == "terminal" else os.pipe()


@contextlib.contextmanager
def server_with_stderr(tmp_path, theirs: int, *arguments: str, binary=BINARY, user: int | None = None):
    ready_r, ready_w = os.pipe()
    process = subprocess.Popen(
        [binary, "run", *arguments, "--bind", "127.0.0.1:0", "--ready-fd", str(ready_w)],
        pass_fds=(ready_w,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=clean_environment() | {"HOME": str(tmp_path)},
        cwd="/" if user else ROOT,
        user=user,
    )
    os.close(ready_w)
    try:
        with os.fdopen(ready_r) as ready:
            assert select.select([ready], [], [], 60)[0], "not ready within 60 s"
            yield Server(process, ready.readline(), tmp_path / "no.log")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def fill(fd: int) -> None:
    """Leaves no room in a pipe. Its own description: the server's stays as it was."""
    own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while os.write(own, b"x" * 4096):
            pass
    os.close(own)


@pytest.mark.parametrize("kind", UNREAD)
def test_an_unread_stderr_freezes_nobody(python, tmp_path, kind):
    arguments = ["full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "2"]
    ours, theirs = unread_stderr(kind)
    flags = fcntl.fcntl(theirs, fcntl.F_GETFL)
    with server_with_stderr(tmp_path, theirs, *arguments) as server:
        assert fcntl.fcntl(theirs, fcntl.F_GETFL) == flags, "the description is shared with others"
        if kind == "pipe":
            fill(theirs)
        os.close(theirs)
        with httpx.Client(base_url=server.url, timeout=5) as client:
            for i in range(300):
                assert client.get(f"/raise{('', '-async', '-pool')[i % 3]}/value").status_code == 500
        (victim, *_) = workers = server.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2 and victim not in server.workers())
        began = time.monotonic()
        for _ in range(20):
            assert server.get("/").status_code == 200
        assert time.monotonic() - began < 5 * SLOWER
        workers = server.workers()
        assert server.stop(timeout=10 * SLOWER) == 0
        assert not [pid for pid in workers if alive(pid)]
    os.close(ours)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a server as another user")
def test_an_unread_pipe_of_another_user_freezes_nobody(tmp_path):
    """A container's stderr after the privileges were dropped: it cannot be opened again."""
    ours, theirs = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        binary = shutil.copy(BINARY, folder)
        with server_with_stderr(tmp_path, theirs, "--stub", binary=binary, user=65534) as server:
            folder = Path(f"/proc/{server.pid}/fd")
            assert [fd.name for fd in folder.iterdir() if fd.readlink() == (folder / "2").readlink()] == ["2"]
            fill(theirs)
            os.close(theirs)
            for _ in range(50):
                server.process.send_signal(signal.SIGUSR1)
                time.sleep(0.002)  # signals of one kind that come together are one
            assert server.get("/hello").status_code == 200
            assert server.stop(timeout=10 * SLOWER) == 0
    os.close(ours)


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors_are_not_the_servers(python, tmp_path, closed):
    """What an application printed went into the watchdog's pipe: a T made it retire its worker."""
    (tmp_path / "prints.py").write_text(
        "import os\nfrom oarlock import App\napp = App()\n@app.get('/')\ndef root():\n"
        "    print('TTTQ', flush=True)\n    return [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]\n"
    )
    ready_r, ready_w = os.pipe()
    arguments = ["prints:app", "--app-dir", tmp_path, "--python", python, "--bind", "127.0.0.1:0", "--workers", "1"]
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {closed}', "sh", BINARY, "run", *arguments, "--ready-fd", str(ready_w)],
        pass_fds=(ready_w,),
        env=clean_environment(),
        cwd=ROOT,
    )
    os.close(ready_w)
    try:
        with os.fdopen(ready_r) as ready:
            server = Server(process, ready.readline(), tmp_path / "none")
        workers = server.workers()
        for _ in range(3):
            links = server.get("/").json()
            assert links[2] == "/dev/null"
            assert closed == "2>&-" or links == ["/dev/null"] * 3
        assert server.workers() == workers
        assert server.stop() == 0
    finally:
        process.kill()


def test_lost_lines_are_counted_and_said(python, tmp_path):
    ours, theirs = os.pipe()
    got = bytearray()
    arguments = ["full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1"]
    with server_with_stderr(tmp_path, theirs, *arguments) as server:
        fill(theirs)
        os.close(theirs)
        for _ in range(5):
            assert server.get("/raise/value").status_code == 500

        def read() -> None:
            while piece := os.read(ours, 65536):
                got.extend(piece)

        reader = threading.Thread(target=read)
        reader.start()
        assert server.get("/raise-pool/value").status_code == 500
        assert server.stop() == 0
        reader.join()
    text = got.decode(errors="replace")
    assert (found := re.search(r"worker 0\[\d+\]: (\d+) lines of this log are lost", text)), text
    assert int(found[1]) > 20
    assert "a secret that must not leave" in text.partition(" are lost")[2]


def test_what_a_client_writes_stays_text(python, serve):
    """Control bytes reach no terminal, new lines forge no line, and a flood of either stays small."""
    server = serve("hostile:app", "--app-dir", str(APPS), "--python", python)
    for evil in (
        "\x1b]0;owned\x07\x1b[2J",
        "\x9b31m\x7f\x00\x08",
        "a\n2026-01-01T00:00:00.000Z info    master[1]: b\r",
    ):
        assert server.get("/say", params={"text": evil}).status_code == 500
    wait_until(lambda: "forged? b" in server.log or "master[1]: b" in server.log)
    raw = server.log_path.read_bytes()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", raw)
    assert rb"\x1b]0;owned\x07\x1b[2J" in raw
    assert rb"\u009b31m\x7f\x00\x08" in raw
    forged = [line for line in raw.split(b"\n") if b"master[1]: b" in line]
    assert all(b"]| 2026-01-01" in line for line in forged if b"Error" not in line), forged


def test_one_client_makes_no_megabytes(python, serve):
    server = serve("hostile:app", "--app-dir", str(APPS), "--python", python)
    before = server.log_path.stat().st_size
    body = b"\n" * 1_000_000
    assert httpx.post(server.url + "/say", content=body, timeout=30).status_code == 500
    assert httpx.post(server.url + "/say", content=b"x" * 999_900 + b"the end", timeout=30).status_code == 500
    wait_until(lambda: "the end" in server.log)
    assert server.log_path.stat().st_size - before < 200_000
    assert "lines are left out" in server.log
    assert "bytes are left out" in server.log


def test_a_flood_of_one_kind_is_limited_and_said(python, serve):
    server = serve("hostile:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1")
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for i in range(400):
            assert client.get("/say", params={"text": f"number {i}"}).status_code == 500
    # Another place is not held up by this one.
    assert server.get("/other").status_code == 500
    wait_until(lambda: "KeyError: 'elsewhere'" in server.log)

    def said() -> tuple[int, int]:
        log = server.log
        left_out = re.findall(r"(\d+) more of this kind within", log)
        return len(set(re.findall(r"ValueError: number (\d+)", log))), sum(int(n) for n in left_out)

    wait_until(lambda: sum(said()) == 400)
    assert said()[0] < 200 * SLOWER
