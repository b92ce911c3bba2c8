"""Starts the real server: free ports, readiness from a pipe, own pids; checks that nothing is left behind."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).resolve().parent / "apps"
BUILD = ROOT / os.environ.get("OARLOCK_TEST_BUILD", "build")  # `make asan` and `make tsan` have their own
BINARY = BUILD / "oarlock"
KINDS = os.environ.get("OARLOCK_TEST_KINDS", "gil ft").split()
# A sanitizer makes the start of an interpreter that much longer (ThreadSanitizer's most).
SLOWER = 1 if BUILD == ROOT / "build" else 20 if "gil" in KINDS else 200
# Faults that only a sanitizer sees: `make asan` and `make tsan` say which they serve.
collect_ignore = [] if "OARLOCK_TEST_FAULT" in os.environ else ["test_seeded.py"]
if BUILD != ROOT / "build" or len(KINDS) < 2:  # the tools run on the ordinary builds of both interpreters
    collect_ignore += ["test_compare.py", "test_preflight.py", "test_doctor.py", "test_load.py", "test_stats.py"]
LOAD = ROOT / "build" / "load"


def wait_until(condition, seconds: float = 20.0):
    """Polls a condition that has no event to wait on; fails when the time is over."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not so within {seconds} s: {condition}")
        time.sleep(0.005)
    return value


def clean_environment() -> dict[str, str]:
    """Without what would choose options or a virtual environment for the server."""
    return {k: v for k, v in os.environ.items() if not k.startswith("OARLOCK_") and k != "VIRTUAL_ENV"}


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(p) for p in text.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Server:
    process: subprocess.Popen
    line: str
    log_path: Path
    seen: set[int] = field(default_factory=set)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.line.partition("127.0.0.1:")[2].split()[0].strip(","))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def workers(self) -> list[int]:
        pids = children_of(self.pid)
        self.seen.update(pids)
        return pids

    def get(self, path: str, **kwargs) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, **kwargs)

    def connect(self) -> socket.socket:
        s = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def raw(self, data: bytes) -> bytes:
        """Sends bytes, reads until the server closes or says nothing for a second."""
        with self.connect() as s:
            s.sendall(data)
            s.settimeout(1)
            got = b""
            with contextlib.suppress(TimeoutError):
                while chunk := s.recv(65536):
                    got += chunk
            return got

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 30) -> int:
        self.workers()
        self.process.send_signal(sig)
        return self.process.wait(timeout)


def start(log_path: Path, *arguments: str, env: dict[str, str] | None = None, command: str = "run") -> Server:
    ready_r, ready_w = os.pipe()
    environment = clean_environment()
    environment |= env or {}
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [BINARY, command, *arguments, "--bind", "127.0.0.1:0", "--ready-fd", str(ready_w)],
            pass_fds=(ready_w,),
            stderr=log,
            stdout=log,
            env=environment,
            cwd=ROOT,
        )
    os.close(ready_w)
    with os.fdopen(ready_r) as ready:
        if not select.select([ready], [], [], 60)[0]:
            process.kill()
            raise AssertionError(f"not ready within 60 s:\n{log_path.read_text()}")
        line = ready.readline()
    if not line:
        process.wait(30)
        raise AssertionError(f"did not start:\n{log_path.read_text()}")
    return Server(process, line, log_path)


@pytest.fixture(scope="session", params=KINDS)
def python(request) -> str:
    return request.param


@pytest.fixture
def serve(tmp_path) -> Iterator:
    """A function that starts servers; at the end all are stopped and none of their processes lives."""
    servers: list[Server] = []

    def run(*arguments: str, **kwargs) -> Server:
        server = start(tmp_path / f"server-{len(servers)}.log", *arguments, **kwargs)
        servers.append(server)
        server.workers()
        return server

    yield run
    for server in servers:
        if server.process.poll() is None:
            server.stop()
        for pid in server.seen:
            wait_until(lambda pid=pid: not alive(pid))


@pytest.fixture(scope="module")
def full(python, tmp_path_factory) -> Iterator[Server]:
    """The application `full` on each interpreter, with 2 workers x 2 threads."""
    log = tmp_path_factory.mktemp("full") / "server.log"
    server = start(log, "full:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "2")
    server.workers()
    yield server
    status = server.stop()
    assert status == 0, server.log
    for pid in server.seen:
        wait_until(lambda pid=pid: not alive(pid))


def run_and_fail(*arguments: str, env: dict[str, str] | None = None, timeout: float = 60) -> tuple[int, str]:
    """Runs a command that must fail: exit status and everything it said; no process is left behind."""
    environment = clean_environment() | {"OARLOCK_BIND": "127.0.0.1:0"}  # not the default port, which others may use
    process = subprocess.Popen(
        [BINARY, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment | (env or {}),
        cwd=ROOT,
        start_new_session=True,
    )
    out, _ = process.communicate(timeout=timeout)
    leftovers = [p.name for p in Path("/proc").iterdir() if p.name.isdigit() and _session(p) == process.pid]
    assert not leftovers, f"processes left behind: {leftovers}\n{out}"
    return process.returncode, out


def _session(proc: Path) -> int:
    try:
        return int((proc / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return -1


NEEDS_GIL = """
#include <Python.h>
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "needsgil", NULL, 0, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_needsgil(void) { return PyModule_Create(&def); }
"""


@pytest.fixture(scope="session")
def extension(tmp_path_factory) -> Path:
    """An extension module that does not declare Py_mod_gil, for the free-threaded interpreter."""
    exe = (ROOT / "build" / "python-ft").read_text().strip()
    folder = tmp_path_factory.mktemp("needsgil")
    (folder / "needsgil.c").write_text(NEEDS_GIL)
    code = "import sysconfig as s; print(s.get_path('include'), s.get_config_var('EXT_SUFFIX'))"
    include, suffix = subprocess.run([exe, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-I{include}", folder / "needsgil.c", "-o", folder / f"needsgil{suffix}"],
        check=True,
    )
    return folder
