"""Starting a deployment's server, and accounting for what it uses: time, memory, switches, the scoreboard.

CPU time is that of the processes' own clocks (clock_getcpuclockid(3)), which count threads that have ended; memory is
PSS, which divides what processes share among them. Everything is read from /proc, nothing is asked of the server.
"""

import contextlib
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oarlock.__main__ import server_path
from oarlock.compare.interpreters import CompareError, Interpreter

START_TIMEOUT = 120.0


@dataclass(frozen=True)
class Deployment:
    """One way to run the application."""

    name: str
    kind: str  # gil, ft; "": not oarlock
    workers: int
    threads: int
    interpreter: Interpreter | None = None
    venv: str = ""
    pool_threads: int = 0  # 0: the server's default
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    peer: Callable[[int], list[str]] | None = field(default=None, compare=False)  # another server's command, for a port

    @property
    def size(self) -> int:
        return self.workers * self.threads

    def flags(self) -> str:
        """What a person gives to ``oarlock run`` for it."""
        python = f"--python {self.interpreter.executable if self.interpreter else self.kind}"
        venv = f" --venv {self.venv}" if self.venv else ""
        pool = f" --pool-threads {self.pool_threads}" if self.pool_threads else ""
        return f"{python}{venv} --workers {self.workers} --threads {self.threads}{pool}" + "".join(
            f" {o}" for o in self.options
        )

    def command(self, app: str, app_dir: str, ready_fd: int, extra: tuple[str, ...]) -> list[str]:
        if self.interpreter is None:  # STUB
            base = [str(server_path()), "run", "--stub", "--workers", str(self.workers), "--bind", "127.0.0.1:0"]
            return [*base, "--ready-fd", str(ready_fd), *extra]
        return [
            *(
                self.interpreter.server or str(server_path()),
                "run",
                app,
                "--app-dir",
                app_dir,
                "--python",
                self.interpreter.executable,
            ),
            *("--workers", str(self.workers), "--threads", str(self.threads), "--bind", "127.0.0.1:0"),
            *("--ready-fd", str(ready_fd), "--log-level", "info"),
            *(("--venv", self.venv) if self.venv else ()),
            *(("--pool-threads", str(self.pool_threads)) if self.pool_threads else ()),
            *(*self.options, *extra),
        ]


def shape(kind: str, workers: int, threads: int, interpreter: Interpreter, **more: Any) -> Deployment:
    """oarlock on an interpreter of a kind, named by its shape, like "FT 1x4"."""
    return Deployment(f"{kind.upper()} {workers}x{threads}", kind, workers, threads, interpreter, **more)


STUB = Deployment("oarlock without Python", "stub", 1, 1)


# ---- /proc ----------------------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        for task in Path(f"/proc/{found[-1]}/task").glob("*"):
            with contextlib.suppress(OSError):
                todo += [int(child) for child in (task / "children").read_text().split()]
    return found


def _cpu_seconds(pid: int) -> float:
    """A process's own clock: CLOCK_PROCESS_CPUTIME_ID of another (the kernel's encoding: ~pid << 3 | CPUCLOCK_SCHED)."""
    try:
        return time.clock_gettime(((~pid) << 3) | 2)
    except OSError:
        return 0.0


def _numbers(path: str) -> dict[str, int]:
    """ "Name: 12 kB" and "name 12" lines."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            name, _, rest = line.replace(":", " ").partition(" ")
            value = rest.split()
            if value and value[0].isdigit():
                found[name] = int(value[0])
    return found


def memory(pids: list[int]) -> tuple[float, float]:
    """PSS and private memory of processes, in MiB."""
    pss = private = 0
    for pid in pids:
        found = _numbers(f"/proc/{pid}/smaps_rollup")
        pss += found.get("Pss", 0)
        private += found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)
    return pss / 1024, private / 1024


def switches(pids: list[int]) -> tuple[int, int]:
    """Voluntary and involuntary context switches of all threads that live."""
    voluntary = forced = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            found = _numbers(f"{task}/status")
            voluntary += found.get("voluntary_ctxt_switches", 0)
            forced += found.get("nonvoluntary_ctxt_switches", 0)
    return voluntary, forced


def steal_seconds() -> float:
    """Time that the hypervisor gave to others, of all cores, since boot."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else 0.0


def throttled() -> tuple[int, float]:
    """How often, and for how many seconds, this process's cgroup was stopped by its CPU quota."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found = _numbers(f"/sys/fs/cgroup{path}/cpu.stat")
            if "nr_throttled" in found:
                return found["nr_throttled"], found.get("throttled_usec", 0) / 1e6
        elif "cpu" in controllers.split(","):
            found = _numbers(f"/sys/fs/cgroup/cpu{path}/cpu.stat")
            if "nr_throttled" in found:
                return found["nr_throttled"], found.get("throttled_time", 0) / 1e9
    return 0, 0.0


# ---- the scoreboard (docs/shm-format.md) ------------------------------------------------------------

_MAGIC, _VERSION = 0x64726F6273726C6F, 5
_HEADER = struct.Struct("=QIIIIIIiI")
_LINE1 = struct.Struct("=IiIIIIQ")
_COUNTERS = struct.Struct("=16Q")  # accepted requests responses*6 errors refused timeouts in out attaches ns pool
_RARE = struct.Struct("=QQQQII")


@dataclass(frozen=True)
class Slot:
    """What one event-loop thread has counted since its start."""

    connections: int
    requests: int
    acquisitions: int  # of the interpreter
    acquisition_ns: int
    pool_calls: int
    collections: int
    collection_ns: int
    gil_on: bool  # an extension has turned it on (free-threaded interpreter)


def scoreboard(master: int) -> list[Slot]:
    """The slots of a running server; none where it is not oarlock's or not of this version."""
    for entry in Path(f"/proc/{master}/fd").glob("*"):
        with contextlib.suppress(OSError):
            if "oarlock-scoreboard" in os.readlink(entry):
                with entry.open("rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as shm:
                    return _slots(shm)
    return []


def _slots(shm: mmap.mmap) -> list[Slot]:
    magic, version, _, workers, threads, offset, size, _, _ = _HEADER.unpack_from(shm, 0)
    if magic != _MAGIC or version != _VERSION:
        return []
    found = []
    for i in range(workers * threads):
        at = offset + i * size
        line = _LINE1.unpack_from(shm, at)
        c = _COUNTERS.unpack_from(shm, at + 64)
        rare = _RARE.unpack_from(shm, at + 192)
        found.append(Slot(line[3], c[1], c[13], c[14], c[15], rare[1], rare[2], bool(rare[5])))
    return found


# ---- a running server -------------------------------------------------------------------------------


@dataclass
class Server:
    """A deployment that runs, pinned to its cores."""

    deployment: Deployment
    process: subprocess.Popen[bytes]
    port: int
    startup: float  # seconds from exec to ready
    log: Path
    pids: list[int] = field(default_factory=list)

    def cpu(self) -> float:
        """CPU seconds of all its processes so far."""
        if not self.pids:
            self.pids = tree(self.process.pid)
        return sum(_cpu_seconds(pid) for pid in self.pids)

    def memory(self) -> tuple[float, float]:
        return memory(tree(self.process.pid))

    def switches(self) -> tuple[int, int]:
        return switches(tree(self.process.pid))

    def slots(self) -> list[Slot]:
        return scoreboard(self.process.pid)

    def gil_message(self) -> str:
        """The log's line that says which module turned the GIL on, if one did."""
        for line in self.log.read_text(errors="replace").splitlines():
            if "turned the GIL on" in line:
                return line
        return ""

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Asks it to stop, waits, and ends what is left of its processes."""
        pids = tree(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        _end(self.process, pids)


def _end(process: subprocess.Popen[bytes], pids: list[int]) -> None:
    """Ends what is left of a process and of those below it."""
    for pid in reversed(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _environment(deployment: Deployment) -> dict[str, str]:
    base = {k: v for k, v in os.environ.items() if not k.startswith("OARLOCK_") and k != "VIRTUAL_ENV"}
    return base | dict(deployment.environment)


def _failed(deployment: Deployment, log: Path) -> CompareError:
    text = log.read_text(errors="replace").strip().splitlines()
    return CompareError(f"{deployment.name} did not start:\n  " + "\n  ".join(text[-12:] or ["(it said nothing)"]))


def start(deployment: Deployment, app: str, app_dir: str, cores: str, log: Path, extra: tuple[str, ...] = ()) -> Server:
    """Starts a server on a list of cores (as taskset takes it) and waits until it serves.

    Raises:
        CompareError: it did not start; with the end of its log.
    """
    if deployment.peer is not None:
        return _start_peer(deployment, cores, log)
    read_end, write_end = os.pipe()
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", cores, *deployment.command(app, app_dir, write_end, extra)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=(write_end,),
            env=_environment(deployment),
            start_new_session=True,  # Ctrl-C is for the comparison, which then stops its servers
        )
    os.close(write_end)
    try:
        with os.fdopen(read_end) as ready:
            line = ready.readline() if select.select([ready], [], [], START_TIMEOUT)[0] else ""
    except KeyboardInterrupt:
        _end(process, tree(process.pid))
        raise
    startup = time.perf_counter() - began
    if not line:
        _end(process, tree(process.pid))
        raise _failed(deployment, log)
    port = int(line.partition("127.0.0.1:")[2].split()[0].strip(",)"))
    return Server(deployment, process, port, startup, log)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _start_peer(deployment: Deployment, cores: str, log: Path) -> Server:
    assert deployment.peer is not None
    port = free_port()
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", cores, *deployment.peer(port)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=_environment(deployment),
            start_new_session=True,
        )
    try:
        while time.perf_counter() - began < START_TIMEOUT and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return Server(deployment, process, port, time.perf_counter() - began, log)
    except KeyboardInterrupt:
        _end(process, tree(process.pid))
        raise
    _end(process, tree(process.pid))
    raise _failed(deployment, log)
