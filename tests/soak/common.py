"""What the soak programs share: a server on one core, an honest client on another, and what is left at the end."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def load(port: int, core: int, seconds: float, path: str, rate: float = 0) -> dict[str, float]:
    command = [
        *("taskset", "-c", str(core), str(ROOT / "build/load"), "--port", str(port), "--path", path),
        *("--connections", "16", "--seconds", str(seconds), *(["--rate", f"{rate:.0f}"] if rate else [])),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    found: dict[str, float] = json.loads(done.stdout)
    if found["errors"] or found["bad_status"]:
        raise SystemExit(f"the honest client had errors: {done.stdout}")
    return found


def serve(
    app: str, folder: Path, python: str, core: int, log: Path, *options: str
) -> tuple[subprocess.Popen[bytes], int]:
    ready_r, ready_w = os.pipe()
    with log.open("wb") as out:
        server = subprocess.Popen(
            [
                *("taskset", "-c", str(core), str(ROOT / "build/oarlock"), "run", app, "--python", python),
                *("--app-dir", str(folder), "--workers", "1", *options),
                *("--bind", "127.0.0.1:0", "--ready-fd", str(ready_w)),
            ],
            pass_fds=(ready_w,),
            stdout=out,
            stderr=out,
        )
    os.close(ready_w)
    with os.fdopen(ready_r) as ready:
        line = ready.readline()
    if not line:
        raise SystemExit(f"the server did not start:\n{log.read_text()}")
    return server, int(line.partition("127.0.0.1:")[2].split()[0].strip(","))


def worker(server: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
