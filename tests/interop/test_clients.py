"""asyncio's clients in handlers, on our event loop: httpx, aiohttp, redis-py, asyncpg; both interpreters."""

import concurrent.futures
import glob
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from conftest import APPS, ROOT, start, wait_until


def ends(process: subprocess.Popen, sig: int) -> None:
    process.send_signal(sig)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    socket = tmp_path_factory.mktemp("redis") / "s"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_until(socket.exists)
    yield socket
    ends(process, signal.SIGTERM)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """A cluster of its own, run by the user postgres where the tests are root's: it refuses root."""
    folder = tmp_path_factory.mktemp("pg", numbered=True)
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    assert found or shutil.which("initdb"), "postgresql is not installed: make interop installs it"
    programs = Path(found[-1]) if found else Path(shutil.which("initdb")).parent
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
    who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent.name.startswith("pytest"):
                parent.chmod(0o755)
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres"],
        check=True,
        capture_output=True,
        cwd="/",
        **who,
    )
    process = subprocess.Popen(
        [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="],
        stderr=subprocess.DEVNULL,
        cwd="/",
        **who,
    )
    wait_until(lambda: glob.glob(f"{folder}/.s.PGSQL.*") and subprocess.run(
        [programs / "pg_isready", "-h", folder], capture_output=True).returncode == 0)  # fmt: skip
    yield folder
    ends(process, signal.SIGINT)


@pytest.fixture(scope="module", params=["oarlock", "stock"])
def server(request, python, redis, postgres, tmp_path_factory):
    exe = subprocess.run(
        [ROOT / "scripts/venv.sh", (ROOT / f"build/python-{python}").read_text().strip(),
         ROOT / f"tests/interop/clients-{python}.txt"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    running = start(
        tmp_path_factory.mktemp("clients") / "log",
        *("clients:app", "--app-dir", str(APPS), "--python", python, "--venv", str(Path(exe).parents[1])),
        *("--workers", "1", "--threads", "2", "--loop", request.param),
        env={"REDIS_SOCKET": str(redis), "PG_FOLDER": str(postgres)},
    )
    yield running
    assert running.stop() == 0, running.log
    assert " error " not in running.log, running.log


@pytest.mark.parametrize("client", ["httpx", "aiohttp", "redis", "asyncpg"])
def test_client(server, client):
    with httpx.Client(base_url=server.url, timeout=60) as http, concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: http.get(f"/{client}/{i}").json(), range(300)))
    assert answers == [{"number": i} for i in range(300)]
