"""What `make bench` compares: each target's interpreter, command line and address; starting and pinning it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "bench" / "apps"
SERVER = ROOT / "build" / "oarlock"


@dataclass(frozen=True)
class Target:
    """One server with one application. `command` gets the interpreter of its environment and a port."""

    name: str
    python: str  # "gil", "ft", or "-": none
    command: Callable[[str, int], list[str]]


def _oarlock(name: str, python: str, *application: str) -> Target:
    def command(_: str, port: int) -> list[str]:
        base = [str(SERVER), "run", *application, "--workers", "1", "--threads", "1", "--bind", f"127.0.0.1:{port}"]
        return base if python == "-" else [*base, "--app-dir", str(APPS), "--python", python]

    return Target(name, python, command)


def _uvicorn(python: str) -> Target:
    return Target(
        "FastAPI, uvicorn",
        python,
        lambda exe, port: [
            *(exe, "-m", "uvicorn", "others:fastapi", "--app-dir", str(APPS), "--host", "127.0.0.1"),
            *("--port", str(port), "--no-access-log", "--log-level", "warning"),
        ],
    )


def _granian(name: str, python: str, interface: str, application: str) -> Target:
    return Target(
        name,
        python,
        lambda exe, port: [
            *(str(Path(exe).with_name("granian")), "--interface", interface, f"others:{application}"),
            *("--working-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--no-access-log", "--log-level", "warning"),
        ],
    )


def _script(name: str) -> Target:
    return Target(name, "gil", lambda exe, port: [exe, str(APPS / "others.py"), name.split(" ")[0], str(port)])


def handlers(python: str, *options: str) -> Target:
    """bench/apps/handlers.py, one process and one event loop unless the options say otherwise."""
    base = _oarlock(f"oarlock {python}", python, "handlers:app")
    return Target(base.name, python, lambda exe, port: [*base.command(exe, port), *options])


STUB = _oarlock("oarlock --stub", "-", "--stub")
DEF = {python: _oarlock("oarlock def", python, "hello:app") for python in ("gil", "ft")}
AIOHTTP = _script("aiohttp")
AXUM = Target("axum (Rust)", "-", lambda _, port: [str(ROOT / "build/axum/release/oarlock-bench-axum"), str(port)])
OTHERS = [
    _script("fastpysgi (bare WSGI)"),
    _script("bjoern (bare WSGI)"),
    _granian("granian (bare WSGI)", "gil", "wsgi", "wsgi"),
    _granian("FastAPI, granian", "gil", "asgi", "fastapi"),
    _uvicorn("gil"),
    _granian("granian (bare WSGI)", "ft", "wsgi", "wsgi"),
    _granian("FastAPI, granian", "ft", "asgi", "fastapi"),
    _uvicorn("ft"),
]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _tree(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        for task in Path(f"/proc/{found[-1]}/task").glob("*"):
            try:
                todo += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue
    return found


@dataclass
class Running:
    """A started target, pinned to one core with all its processes and threads."""

    target: Target
    process: subprocess.Popen[bytes]
    port: int
    _log: Path = field(repr=False)

    def cpu(self) -> float:
        """CPU seconds of all its threads so far, user and system, from the scheduler's nanosecond counters."""
        total = 0
        for pid in _tree(self.process.pid):
            for task in Path(f"/proc/{pid}/task").glob("*"):
                try:
                    total += int((task / "schedstat").read_text().split()[0])
                except OSError:
                    continue  # a thread that has just ended
        return total / 1e9

    def stop(self) -> None:
        pids = _tree(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def start(target: Target, exe: str, core: int | str, log: Path) -> Running:
    """Starts a target on a core (or a taskset list of them) and waits until it accepts connections."""
    port = free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OARLOCK_") and k != "VIRTUAL_ENV"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *target.command(exe, port)], stdout=out, stderr=out, env=environment
        )
    running = Running(target, process, port, log)
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return running
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                running.stop()
                raise RuntimeError(f"{target.name} did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.02)
