"""The load generator: a process of its own (load/ in the source tree) that keeps its connections between intervals."""

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from oarlock.__main__ import server_path
from oarlock.compare.interpreters import CompareError
from oarlock.compare.scenarios import Request, Scenario
from oarlock.compare.server import STUB, start


def generator_path() -> Path:
    """Beside the server: ``load`` in the build folder, ``oarlock-load`` where it is installed."""
    folder = server_path().parent
    places = [folder / "load", folder / "oarlock-load", folder.parent / "lib" / "oarlock" / "oarlock-load"]
    for place in places:
        if place.exists():
            return place
    raise CompareError(
        f"the load generator was not found in {', '.join(map(str, places))}; build it with `make build/load`"
    )


def ceiling(server_cores: str, load_cores: str) -> dict[str, float]:
    """What the generator can do: its CPU time per request against the server without Python, and what that allows at most."""
    with tempfile.NamedTemporaryFile(prefix="oarlock-stub-") as log:
        server = start(STUB, "", "", server_cores, Path(log.name))
        try:
            with Load(Scenario("ceiling", (Request("/hello"),), 64), server.port, load_cores) as load:
                load.run(0.1)
                found = load.run(0.5)
        finally:
            server.stop()
    us = found["generator_cpu"] / max(1, found["completed"]) * 1e6
    return {"cpu_us": round(us, 3), "requests_per_second": round(1e6 / us) if us else 0}


class Load:
    """A scenario's connections to one server. Use as a context manager."""

    def __init__(self, scenario: Scenario, port: int, cores: str) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="oarlock-kinds-")  # noqa: SIM115  closed in __exit__
        self._file.write(scenario.kinds())
        self._file.flush()
        self._process = subprocess.Popen(
            [
                *("taskset", "-c", cores, str(generator_path()), "--port", str(port)),
                *("--connections", str(scenario.connections), "--kinds", self._file.name, "--commands"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            raise CompareError(f"the load generator ended: {self._process.stderr.read().strip()}")
        return line

    def _say(self, text: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        return self._line()

    def run(self, seconds: float, ramp: float = 0.0, rate: float = 0.0) -> dict[str, Any]:
        """One interval. ``rate`` 0: closed loop. ``ramp``: seconds of load before what is counted."""
        return json.loads(self._say(f"{seconds:.4f} {ramp:.4f} {rate:.4f}"))  # type: ignore[no-any-return]

    def reconnect(self) -> None:
        """Opens all connections anew: which of the server's threads has how many of them is luck."""
        self._say("reconnect")

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._file.close()
