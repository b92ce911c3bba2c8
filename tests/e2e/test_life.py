"""Lifespan, worker hooks, background work; the GIL watch; what the scoreboard says of the interpreter."""

import os
import re
import signal
import subprocess
import threading

import httpx
import pytest
from conftest import APPS, BINARY, LOAD, ROOT, clean_environment, wait_until


@pytest.fixture
def life(serve, python, tmp_path):
    def run(*arguments, **env):
        log = tmp_path / "life.log"
        log.touch()
        server = serve(
            "life:app",
            "--app-dir",
            str(APPS),
            "--python",
            python,
            *(arguments or ("--workers", "1", "--threads", "1")),
            env={"LIFE_LOG": str(log), **env},
        )
        server.notes = lambda: [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
        return server

    return run


def test_lifespan_once_for_each_loop_and_hooks_once_for_each_worker(life):
    server = life("--workers", "2", "--threads", "2")
    assert sorted(server.notes()) == ["begin"] * 4 + ["worker start"] * 2
    threads = set()

    def seen_by_all():
        answer = server.get("/state").json()
        assert {k: answer[k] for k in ("own_loop", "begun", "mine_before", "has")} == {
            "own_loop": True,
            "begun": "yes",
            "mine_before": 0,
            "has": True,
        }
        threads.add(answer["thread"])
        return len(threads) >= 2

    wait_until(seen_by_all)
    assert server.get("/state/def").json() == {"begun": "yes", "has_loop": True}
    assert server.stop() == 0
    assert sorted(server.notes()) == ["begin"] * 4 + ["end"] * 4 + ["worker start"] * 2 + ["worker stop"] * 2
    assert server.notes()[-1] == "worker stop"


def test_a_lifespan_that_fails_stops_the_start(python, tmp_path):
    done = subprocess.run(
        [BINARY, "run", "life:app", "--app-dir", APPS, "--python", python, "--workers", "1", "--bind", "127.0.0.1:0"],
        env=clean_environment() | {"LIFE_LOG": str(tmp_path / "log"), "LIFE_FAIL": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode != 0
    assert "RuntimeError: no database" in done.stderr
    assert re.search(r"lifespan on event loop \d failed", done.stderr)


def test_background_tasks_run_in_order_after_the_response(life):
    server = life()
    assert server.get("/background/a").json() == {"queued": 2}
    wait_until(lambda: server.notes()[2:] == ["first a yes", "second a"])
    assert server.get("/background-def").text == "ok"
    wait_until(lambda: server.notes()[-1] == "from the pool yes")
    assert server.get("/background-response").text == "ok"
    wait_until(lambda: server.notes()[-1] == "of a response yes")


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_background_follows_a_stream(life, kind):
    server = life()
    assert server.get(f"/background-stream/{kind}").text == "a"
    wait_until(lambda: server.notes()[-2:] == ["stream's last item", "of a stream yes"])


def test_a_background_task_that_raises_is_logged_under_its_route(life):
    server = life()
    assert server.get("/background/fails").status_code == 200
    wait_until(lambda: server.notes()[-1] == "second fails")
    assert "/background/{kind}: the background task fails raised ValueError" in server.log
    assert "the task failed" in server.log


def test_no_background_after_a_handler_that_raised(life):
    server = life()
    assert server.get("/background/raises").status_code == 500
    assert server.get("/background/b").status_code == 200
    wait_until(lambda: server.notes()[-1] == "second b")
    assert not [n for n in server.notes() if "raises" in n]


ENDS = """
import sys, threading, time
from oarlock import App

app = App()
stay = threading.Event()

@app.on_worker_start
def start():
    if {thread}:
        threading.Thread(target=stay.wait, name="stays", daemon=False).start()

@app.on_worker_stop
def leaves():
    sys.exit("no further")

@app.on_worker_stop
def second():
    print("the second ran", file=sys.stderr, flush=True)
    while {hook}:
        time.sleep(0.01)
"""


def test_every_stop_hook_runs(python, serve, tmp_path):
    (tmp_path / "ends.py").write_text(ENDS.format(thread=False, hook=False))
    server = serve("ends:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1")
    assert server.stop() == 0
    assert "on_worker_stop: leaves raised" in server.log
    assert "SystemExit: no further" in server.log
    assert "the second ran" in server.log
    assert "_worker.py" not in server.log


@pytest.mark.parametrize("what", ["hook", "thread"])
def test_what_keeps_a_worker_from_its_end_is_named(python, serve, tmp_path, what):
    """The watchdog spoke of a task on the event loop, which had ended."""
    (tmp_path / "ends.py").write_text(ENDS.format(thread=what == "thread", hook=what == "hook"))
    server = serve("ends:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1")
    server.process.send_signal(signal.SIGTERM)
    says = {"hook": "on_worker_stop: second is not done", "thread": "thread 'stays' runs on, and is no daemon"}
    wait_until(lambda: says[what] in server.log)
    assert "event loop" not in server.log
    assert server.stop() == 0


def test_a_drain_waits_for_background_tasks(life):
    server = life()
    assert server.get("/slow-background/500").status_code == 200
    assert server.stop() == 0
    assert server.notes()[-3:] == ["slow yes", "end", "worker stop"]


def test_a_drain_waits_no_longer_than_the_graceful_timeout(life):
    server = life("--workers", "1", "--threads", "1", "--graceful-timeout", "300ms")
    assert server.get("/slow-background/60000").status_code == 200
    server.stop()
    assert "slow yes" not in server.notes()


def test_run_in_threadpool(life):
    assert life().get("/in-pool").json() == {"context": "mine", "elsewhere": True}


def status_lines(server) -> str:
    """What SIGUSR1 makes the master log, for the first event loop; the lines of this time alone."""
    before = len(server.log)
    server.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: "the interpreter taken" in server.log[before:])
    return server.log[before:]


def test_the_interpreter_is_taken_less_often_as_load_rises(life):
    """Two times a round of the loop, whatever the number of requests in it."""
    server = life()

    def taken() -> float:
        return float(
            re.search(r"the interpreter taken ([\d.]+) times a request, [\d.]+ us waited", status_lines(server))[1]
        )

    with httpx.Client(base_url=server.url) as client:
        for _ in range(200):
            client.get("/quick")
    alone = taken()
    assert 0.8 <= alone <= 2.5  # once for a round with a request in it, and when the loop looks around
    command = [LOAD, "--port", str(server.port), "--path", "/quick", "--requests", "20000", "--connections", "64"]
    done = subprocess.run([*command, "--pipeline", "16"], capture_output=True, text=True, timeout=120)
    assert '"errors": 0, "bad_status": 0' in done.stdout
    assert taken() < 0.3


def test_a_handler_that_keeps_the_gil_is_blamed(life, python):
    server = life()
    hog = threading.Thread(target=server.get, args=("/hold/1500",))
    hog.start()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while hog.is_alive():
            client.get("/quick")
    hog.join()
    done = subprocess.run([BINARY, "routes", "--live", str(server.pid)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "inline (blocking=False)" in rows["/quick"]
    assert "pool (blocking=True)" in rows["/hold/{ms}"]
    assert "event loop" in rows["/state"]
    # nobody keeps others waiting on the free-threaded build: the same calls blame nobody
    assert (" ms" in rows["/hold/{ms}"].removeprefix("/hold/{ms}")) == (python == "gil")


def test_routes_live_says_what_is_wrong():
    done = subprocess.run([BINARY, "routes", "--live", str(os.getpid())], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert f"cannot read the routes of process {os.getpid()}" in done.stderr
    assert "process id of a master" in done.stderr


# ---- the GIL watch -------------------------------------------------------------------------------

APP = """
from oarlock import App
{at_import}
app = App()

@app.get("/late")
async def late():
    import needsgil
    return {{}}

@app.get("/quick", blocking=False)
def quick():
    return {{}}
"""


@pytest.fixture
def gil(serve, extension, tmp_path):
    def run(at_import: bool, mode: str):
        (tmp_path / "needs.py").write_text(APP.format(at_import="import helper" if at_import else ""))
        (tmp_path / "helper.py").write_text("import needsgil\n")
        arguments = ["needs:app", "--app-dir", str(tmp_path), "--python", "ft", "--threads", "2", "--gil", mode]
        return serve(*arguments, env={"PYTHONPATH": str(extension)})

    return run


@pytest.mark.skipif("ft" not in os.environ.get("OARLOCK_TEST_KINDS", "gil ft"), reason="no free-threaded build here")
class TestGilWatch:
    def test_at_import_it_names_the_module_and_the_chain(self, gil):
        server = gil(True, "warn")
        assert "the extension module needsgil" in server.log
        assert re.search(r"imported by \S*helper\.py:1 <- \S*needs\.py:3", server.log), server.log
        assert server.log.count("the extension module needsgil") == 1
        server.get("/quick")
        assert "an extension has turned the GIL on" in status_lines(server)

    def test_in_a_handler_too(self, gil):
        server = gil(False, "warn")
        assert "needsgil" not in server.log
        assert server.get("/late").status_code == 200
        assert re.search(r"imported by \S*needs\.py:8 in late\(\)", server.log), server.log

    def test_allow_says_nothing(self, gil):
        server = gil(True, "allow")
        assert server.get("/late").status_code == 200
        assert "extension module needsgil" not in server.log

    def test_require_off_refuses_the_start(self, gil):
        with pytest.raises(AssertionError, match="did not start") as failure:
            gil(True, "require-off")
        assert "--gil require-off: the extension module needsgil" in str(failure.value)


@pytest.mark.skipif("gil" not in os.environ.get("OARLOCK_TEST_KINDS", "gil ft"), reason="no build with the GIL here")
def test_require_off_on_the_interpreter_with_the_gil(serve):
    with pytest.raises(AssertionError, match="give --python ft"):
        serve(
            "life:app", "--app-dir", str(APPS), "--python", "gil", "--gil", "require-off", env={"LIFE_LOG": os.devnull}
        )


def test_asyncio_objects_made_at_import_are_named(serve, python, tmp_path):
    (tmp_path / "bound.py").write_text(
        "import asyncio\nfrom oarlock import App\nlock = asyncio.Lock()\nqueues = {'a': asyncio.Queue()}\napp = App()\n"
        "class Odd:\n    __module__ = property(lambda self: 'x')\nodd = Odd()\n"  # as classes of some extensions are
    )
    server = serve("bound:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1", "--threads", "2")
    assert "bound.lock: this asyncio Lock was made at import" in server.log
    assert "bound.queues[...]: this asyncio Queue was made at import" in server.log
    alone = serve("bound:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1", "--threads", "1")
    assert "made at import" not in alone.log


def test_the_switch_interval_is_set_while_the_pool_is_in_use(serve, python, tmp_path):
    (tmp_path / "interval.py").write_text(
        "import sys\nfrom oarlock import App\napp = App()\n"
        "@app.get('/', blocking=True)\ndef interval():\n    return {'seconds': sys.getswitchinterval()}\n"
    )
    for given, seconds in ((None, 0.001), ("3ms", 0.003), ("0", 0.005)):
        more = ["--switch-interval", given] if given else []
        server = serve("interval:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1", *more)
        assert server.get("/").json()["seconds"] == pytest.approx(seconds)
