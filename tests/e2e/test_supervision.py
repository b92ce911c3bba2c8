"""Workers that die, masters that die, stops in every phase."""

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest
from conftest import APPS, SLOWER, alive, children_of, wait_until


class OpenLoad:
    """New connections at a fixed rate, each with one request; what each waited for and what it got."""

    def __init__(self, port: int, rate: float, path: str = "/pid") -> None:
        self.port, self.rate, self.path = port, rate, path
        self.waited: list[float] = []
        self.failed: list[str] = []
        self.connected: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _one(self) -> None:
        began = time.monotonic()
        connected = False
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            connected = True
            self.connected.append(time.monotonic() - began)
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            if b"HTTP/1.1 200" not in answer:
                self.failed.append(f"answered {answer[:40]!r}")
        except OSError as exc:
            self.failed.append(f"{'after' if connected else 'before'} connecting: {exc!r}")
        self.waited.append(time.monotonic() - began)

    async def _run(self) -> None:
        began = time.monotonic()
        tasks = set()
        while not self._stop.is_set():
            due = began + len(self.waited) / self.rate + len(tasks) / self.rate
            delay = due - time.monotonic()
            await asyncio.sleep(max(delay, 0))
            task = asyncio.create_task(self._one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    def __enter__(self) -> "OpenLoad":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()


def test_killed_worker_is_replaced_and_nobody_else_notices(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "1")
    with OpenLoad(server.port, rate=200) as load:
        wait_until(lambda: len(load.waited) > 100)
        for _ in range(3):
            victim = server.workers()[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: len(server.workers()) == 2 and victim not in server.workers())
            seen = len(load.waited)
            wait_until(lambda seen=seen: len(load.waited) > seen + 60)
    # A request that the victim itself was serving may be cut; at this rate there is at most one each time.
    assert len(load.failed) <= 3 * SLOWER, load.failed
    assert not [f for f in load.failed if f.startswith("before")]
    slow = sorted(load.waited)[-5:]
    assert max(load.connected) < 0.05 * SLOWER, f"a new connection waited {max(load.connected):.3f} s"
    assert sorted(load.waited)[int(len(load.waited) * 0.99)] < 0.05 * SLOWER, slow
    assert len(re.findall(r"worker \d \[\d+\] was killed by signal 9", server.log)) == 3


def test_keep_alive_connections_of_siblings_survive(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "1")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(8)]
        owner = [c.get(server.url + "/pid").json()["pid"] for c in clients]
        assert len(set(owner)) == 2
        os.kill(owner[0], signal.SIGKILL)
        for client, pid in zip(clients, owner, strict=True):
            if pid != owner[0]:
                assert client.get(server.url + "/pid").json()["pid"] == pid


def test_crash_in_a_handler(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1")
    with pytest.raises(httpx.RemoteProtocolError):
        server.get("/crash")
    assert wait_until(lambda: _try(server)).status_code == 200


def _try(server):
    with contextlib.suppress(httpx.HTTPError):
        return server.get("/")
    return None


def test_workers_leave_when_the_master_is_killed(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "2")
    workers = server.workers()
    with server.connect() as busy:  # one of them is stuck in Python
        busy.sendall(b"GET /block/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.process.kill()
        server.process.wait()
        for pid in workers:
            wait_until(lambda pid=pid: not alive(pid))


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_graceful_stop_finishes_what_is_in_progress(python, serve, sig):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "2")
    with server.connect() as waiting, server.connect() as idle, server.connect() as blocked:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in idle.recv(4096)
        waiting.sendall(b"GET /wait/700 HTTP/1.1\r\nHost: a\r\n\r\n")
        blocked.sendall(b"GET /block/700 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)  # the requests are on their way: there is no event for "a handler has begun"
        workers = server.workers()
        began = time.monotonic()
        assert server.stop(sig) == 0
        assert time.monotonic() - began < 5
        assert b'"waited":700' in (answer := waiting.recv(4096))
        assert b"connection: close" in answer
        assert b'"blocked":700' in blocked.recv(4096)
        assert idle.recv(4096) == b""
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    for pid in workers:
        assert not alive(pid)


def test_graceful_timeout_cuts(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--graceful-timeout", "500ms")
    with server.connect() as s:
        s.sendall(b"GET /block/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
    assert "--graceful-timeout (0.5 s) is over" in server.log
    assert "out of memory" not in server.log, "the master has killed it itself"


def closes(s: socket.socket) -> bool:
    """Did the server end the connection (and not merely leave it without an answer)?"""
    s.settimeout(5 * SLOWER)
    with contextlib.suppress(ConnectionResetError):
        return s.recv(4096) == b""
    return True


@pytest.mark.parametrize("workers", [1, 3])
def test_a_connection_made_during_a_stop_is_refused(python, serve, tmp_path, workers):
    """It was completed by the kernel, and nobody looked at it until the last worker had ended."""
    path = str(tmp_path / "s")
    server = serve(
        "full:app", "--app-dir", str(APPS), "--python", python, "--workers", str(workers), "--bind", f"unix:{path}"
    )
    with server.connect() as busy, server.connect() as stuck:
        busy.sendall(b"GET /wait/1800 HTTP/1.1\r\nHost: a\r\n\r\n")
        if workers > 1:
            stuck.sendall(b"GET /stuck/1500 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)  # the requests are on their way
        server.workers()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refused(server.port), 1 * SLOWER)
        assert not os.path.exists(path)
        with socket.create_server(("127.0.0.1", server.port)) as successor:  # it can bind while the old one drains
            successor.listen()
            assert server.process.poll() is None
        assert b'"waited":1800' in busy.recv(4096)
        assert server.process.wait(20) == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return True
    return False


def test_nobody_hangs_who_connects_during_a_stop(python, serve):
    """Connections at a rate of 300/s while the server stops: answered, refused, or ended; never silent."""
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2")
    with server.connect() as busy, OpenLoad(server.port, rate=300, path="/async") as load:
        busy.sendall(b"GET /wait/1500 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: len(load.waited) > 50)
        assert server.stop() == 0
        seen = len(load.waited)
        wait_until(lambda: len(load.waited) > seen + 50)
    assert max(load.waited) < 1 * SLOWER, max(load.waited)
    cut = [f for f in load.failed if not f.startswith("before connecting: ConnectionRefused")]
    assert len(cut) <= 20 * SLOWER, cut  # between the last sweep and the close: documented


def test_drain_delay_serves_new_clients_first(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--drain-delay", "700ms")
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "--drain-delay" in server.log)
    while time.monotonic() - began < 0.5:
        assert server.get("/").status_code == 200
    assert server.process.wait(10) == 0
    assert time.monotonic() - began >= 0.7


def test_a_worker_that_does_not_finish_is_replaced_in_time(python, serve):
    """One open stream, and a worker that had been told to leave was never replaced."""
    server = serve(
        "full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--graceful-timeout", "500ms"
    )
    old = server.workers()
    with server.connect() as s:
        s.sendall(b"GET /wait/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        for pid in old:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: len(server.workers()) == 2 and not set(old) & set(server.workers()))
        assert closes(s)
    assert server.log.count("is not done within --graceful-timeout (0.5 s)") == 1
    assert wait_until(lambda: _try(server)).status_code == 200


def test_a_crash_loop_ends_the_server_with_a_status_that_says_so(python, serve, tmp_path):
    module = tmp_path / "changes.py"
    module.write_text("from oarlock import App\napp = App()\n@app.get('/')\ndef root():\n    return 1\n")
    arguments = ["changes:app", "--app-dir", str(tmp_path), "--python", python, "--restart-limit", "3"]
    server = serve(*arguments, "--workers", "2")
    module.write_text("raise RuntimeError('it does not load any more')\n")
    first, second = server.workers()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "the others serve without it" in server.log)
    assert server.get("/").json() == 1
    os.kill(second, signal.SIGKILL)
    assert server.process.wait(30 * SLOWER) == 3
    assert "no worker serves, and none can be started" in server.log
    assert "it does not load any more" in server.log


def test_signals_to_every_process_do_what_they_do_to_the_master(python, serve):
    """systemd's KillMode=control-group, `systemctl kill`, and a name given to pkill reach all processes."""
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2")
    workers = server.workers()
    with server.connect() as s:
        for sig in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU):
            for pid in [*workers, server.pid]:
                os.kill(pid, sig)
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200 OK" in s.recv(4096)
        for said in ("status: worker 1", "SIGUSR2: this version", "SIGHUP: this version", "SIGTTIN: this version"):
            wait_until(lambda said=said: said in server.log)
        assert server.workers() == workers
        s.sendall(b"GET /wait/500 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)  # the request is on its way
        for pid in [*workers, server.pid]:
            os.kill(pid, signal.SIGQUIT)
        assert b'"waited":500' in s.recv(4096)
    assert server.process.wait(20) == 0
    assert "killed by signal" not in server.log


def test_sigterm_to_every_process_is_one_graceful_stop(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--drain-delay", "1500ms")
    with server.connect() as s:
        s.sendall(b"GET /wait/2000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        for pid in [server.pid, *server.workers()]:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: "--drain-delay" in server.log)
        assert server.get("/").status_code == 200
        assert b'"waited":2000' in s.recv(4096)
    assert server.process.wait(20) == 0
    assert "exited" not in server.log


def test_second_signal_cuts_at_once(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python)
    with server.connect() as s:
        s.sendall(b"GET /block/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        assert server.process.poll() is None
        assert server.stop(timeout=5) == 0


def test_sigterm_to_a_worker_is_graceful(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1")
    with server.connect() as s:
        s.sendall(b"GET /wait/500 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        (worker,) = server.workers()
        os.kill(worker, signal.SIGTERM)
        assert b'"waited":500' in s.recv(4096)
    wait_until(lambda: server.workers() and worker not in server.workers())


def test_a_worker_that_cannot_be_started_is_tried_again(python, serve):
    """A lack of descriptors in the master: what fails while actions are obeyed is decided afterwards."""
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "3")
    old = server.workers()
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.log.count("cannot make a control socket") >= 6)
    assert server.process.poll() is None
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    wait_until(lambda: len(server.workers()) == 3)
    wait_until(lambda: _try(server))
    assert server.stop() == 0


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* The time of day, moved by as many seconds as the file $CLOCK_STEP is long. */
static time_t step(void)
{
    const char *path = getenv("CLOCK_STEP");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    time_t n = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (fd >= 0) close(fd);
    return n;
}
int clock_gettime(clockid_t id, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, ts);
    if (id == CLOCK_REALTIME) ts->tv_sec += step();
    return rc;
}
int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}
"""


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """Environment of a server whose time of day the test sets: by the length of a file, in seconds."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", folder / "clock.c", "-o", folder / "clock.so", "-ldl"], check=True)
    (folder / "step").touch()
    return {"LD_PRELOAD": str(folder / "clock.so"), "CLOCK_STEP": str(folder / "step")}


@pytest.mark.skipif(SLOWER > 1, reason="the sanitizer's runtime must be the first library")
@pytest.mark.parametrize("hours", [(0, 1), (1, 0)], ids=["forward", "back"])
def test_a_step_of_the_clock_changes_no_deadline(serve, clock, hours):
    before, after = hours
    os.truncate(clock["CLOCK_STEP"], before * 3600)
    arguments = ["full:app", "--app-dir", str(APPS), "--workers", "1", "--graceful-timeout", "1500ms"]
    server = serve(*arguments, env=clock)
    with server.connect() as s:
        s.sendall(b"GET /block/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)  # the request is on its way
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM" in server.log)
        os.truncate(clock["CLOCK_STEP"], after * 3600)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGUSR1)  # the master looks at its clock and sets its timer
        assert server.process.wait(20) == 0
        assert 1.2 < time.monotonic() - began < 5


def test_queued_connections_are_served_at_the_stop(python, serve):
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1")
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(server.connect())
        busy.sendall(b"GET /wait/300 HTTP/1.1\r\nHost: a\r\n\r\n")
        queued = [stack.enter_context(server.connect()) for _ in range(20)]
        for s in queued:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.stop() == 0
        for s in queued:
            assert b"200 OK" in s.recv(4096)


def test_descriptors_run_out(python, serve):
    """EMFILE: no spin, what is open is served, and accepting goes on when descriptors come back."""
    server = serve("full:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1")
    (worker,) = server.workers()
    used = len(os.listdir(f"/proc/{worker}/fd"))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 10, used + 10))
    with server.connect() as first:
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in first.recv(4096)
        crowd = [server.connect() for _ in range(40)]
        wait_until(lambda: "cannot accept" in server.log)
        before = _cpu(worker)
        time.sleep(1)
        assert _cpu(worker) - before < 0.2, "the worker spins"
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in first.recv(4096)
        for s in crowd:
            s.close()
    assert server.get("/").status_code == 200


def _cpu(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_connections_are_spread(python, serve):
    """Property d: with 16 connections per thread, the busiest thread has at most 1.25 times the mean."""
    for workers, threads in ((4, 1), (2, 2), (1, 4)):
        server = serve(
            "full:app", "--app-dir", str(APPS), "--python", python, "--workers", str(workers), "--threads", str(threads)
        )
        with contextlib.ExitStack() as stack:
            count: dict[tuple[int, int], int] = {}
            sockets = [stack.enter_context(server.connect()) for _ in range(64)]
            for s in sockets:
                s.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
            for s in sockets:
                body = s.recv(4096).rpartition(b"\r\n\r\n")[2]
                count[body] = count.get(body, 0) + 1
            assert len(count) == 4
            assert max(count.values()) <= 1.25 * 16, count


def test_privileges_may_be_dropped(serve):
    """Property c: workers never bind or listen; the socket that they inherit is all they need."""
    server = serve("--stub", "--workers", "2")
    for pid in server.workers():
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert any(link.startswith("socket:") for link in links)
    assert server.get("/hello").json() == {"message": "hello"}


def test_stub_has_no_python(serve):
    server = serve("--stub", "--workers", "2")
    for pid in [server.pid, *server.workers()]:
        with open(f"/proc/{pid}/maps") as maps:
            assert "libpython" not in maps.read()
    assert children_of(server.pid)


def test_master_has_no_python(full):
    with open(f"/proc/{full.pid}/maps") as maps:
        assert "libpython" not in maps.read()
    for pid in full.workers():
        with open(f"/proc/{pid}/maps") as maps:
            assert "libpython" in maps.read()


def test_port_is_free_at_once_after_the_stop(serve):
    server = serve("--stub")
    server.get("/hello")
    port = server.port
    assert server.stop() == 0
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
