"""The life of an event loop: nested rounds, what must not end it, its end; what a `def` on its thread sees."""

import concurrent.futures
import os
import signal
import socket
import sysconfig
import time

import httpx
import pytest
from conftest import APPS, SLOWER, start, wait_until

PURE = sysconfig.get_paths()["purelib"]  # anyio and nest_asyncio, which are plain Python, for both interpreters


@pytest.fixture(scope="module", params=["oarlock", "stock"])
def loop(request) -> str:
    return request.param


@pytest.fixture
def loops(serve, python, tmp_path):
    def run(*arguments, **env):
        log = tmp_path / "loops.log"
        log.touch()
        server = serve(
            *("loops:app", "--app-dir", str(APPS), "--python", python, "--workers", "1"),
            *(("--threads", "1") if "--threads" not in arguments else ()),
            *arguments,
            env={"LOOPS_LOG": str(log), "PYTHONPATH": PURE, **env},
        )
        server.notes = lambda: log.read_text().splitlines()
        return server

    return run


@pytest.fixture(scope="module")
def server(python, loop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loops")
    (folder / "notes").touch()
    running = start(
        folder / "server.log",
        *("loops:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1"),
        *("--loop", loop),
        env={"LOOPS_LOG": str(folder / "notes"), "PYTHONPATH": PURE},
    )
    running.workers()
    running.notes = lambda: (folder / "notes").read_text().splitlines()
    yield running
    assert running.stop() == 0


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def read_all(s: socket.socket) -> bytes:
    got = b""
    while chunk := s.recv(65536):
        got += chunk
    return got


def at_once(server, path: str, n: int) -> list[bytes]:
    """The answers of n connections whose requests are ready in the same batch."""
    with server.connect() as blocker:
        blocker.sendall(request("/block/200"))
        sockets = [server.connect() for _ in range(n)]
        for s in sockets:
            s.sendall(request(path))
        answers = []
        for s in sockets:
            with s:
                answers.append(read_all(s))
        assert b"blocked" in read_all(blocker)
    return answers


# ---- rounds within a handler ------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nested/first", "/nested/waited", "/nested/select", "/nested-stream"])
def test_a_round_within_a_handler(server, loop, path):
    """Others are ready in the same batch: they are called afterwards, not from within."""
    if loop == "stock" and path != "/nested/select":
        pytest.skip("asyncio's own loop steps no task within another's step, unless nest_asyncio has changed it")
    answers = at_once(server, path, 8)
    assert all(a.startswith(b"HTTP/1.1 200") and b'{"ok":' in a for a in answers), (answers, server.log[-3000:])
    assert len(server.workers()) == 1
    assert server.get("/late").status_code == 200


@pytest.mark.parametrize("when", ["first", "later"])
def test_nest_asyncio(loops, loop, when):
    server = loops("--loop", loop)
    answers = at_once(server, f"/nest-asyncio/{when}", 8)
    assert all(b'{"ok":"inner"}' in a for a in answers), (answers, server.log[-3000:])
    assert server.get("/late").status_code == 200
    assert server.get("/nested-stream").json() == {"ok": "hello\n"}
    assert server.stop() == 0
    assert server.notes()[-2:] == ["the lifespan has ended", "a task was cancelled"]


# ---- what does not end a loop -------------------------------------------------------------------------


def test_a_loop_goes_on_when_it_is_stopped(server):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(server.get, "/late") for _ in range(8)]
        assert server.get("/stop-loop").status_code == 200
        assert {w.result().status_code for w in waiting} == {200}
    assert "the application stopped the event loop (loop.stop()); it goes on" in server.log
    assert server.get("/late").status_code == 200


def test_a_response_that_is_made_while_another_is_encoded(server):
    with server.connect() as s:
        s.sendall(request("/answers-later/300"))
        assert server.get("/nested-in-json").json() == {"own": "O" * 300, "items": [1, 2]}
        assert read_all(s).endswith(b'\r\n\r\n{"later":"' + b"L" * 300 + b'"}')


def test_a_loop_goes_on_when_a_signal_handler_raises(server):
    worker = server.workers()[0]
    os.kill(worker, signal.SIGUSR2)
    wait_until(lambda: "Leave: a signal handler raised" in server.log)
    assert server.get("/late").status_code == 200
    assert server.workers() == [worker]


def test_a_loop_goes_on_when_all_tasks_are_cancelled(server):
    assert server.get("/cancel-all").status_code == 200
    wait_until(lambda: "the application cancelled the task that serves this event loop" in server.log)
    assert server.get("/late").status_code == 200


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_lifespan_that_dies_is_logged_and_its_worker_is_replaced(loops, threads):
    server = loops("--threads", threads)
    before = server.workers()
    assert server.get("/fail-lifespan").status_code == 200
    wait_until(lambda: server.workers() not in ([], before))
    assert "the lifespan ended while its event loop serves; the worker drains and is replaced" in server.log
    assert "ValueError: the lifespan's task failed" in server.log
    wait_until(lambda: "/late" and server.get("/late").status_code == 200)
    assert server.stop() == 0


@pytest.mark.parametrize("where", ["pool", "here"])
def test_a_worker_that_must_be_replaced_is_not_kept_by_a_handler_that_stays(loops, where):
    """The master knows that it is to go, and sets it a deadline."""
    server = loops("--graceful-timeout", "500ms")
    before = server.workers()
    with server.connect() as s:
        s.sendall(request(f"/stays/{where}"))
        wait_until(lambda: "a handler stays" in server.notes())
        assert server.get("/fail-lifespan").status_code == 200
        wait_until(lambda: server.workers() not in ([], before))
    assert server.get("/late").status_code == 200


# ---- the end ------------------------------------------------------------------------------------------


def test_the_lifespan_ends_first_with_its_tasks_alive(loops, loop):
    server = loops("--loop", loop)
    assert server.get("/late").status_code == 200
    assert server.stop() == 0
    assert server.notes() == [
        *("the lifespan ends", "goodbye answered", "the lifespan has ended", "a task was cancelled")
    ]


def test_tasks_have_the_graceful_timeout_to_end(loops):
    """1.5 s: more than the second that was hard-coded once."""
    server = loops(LOOPS_END="slow task")
    assert server.stop() == 0
    assert server.notes()[-1] == "a task has ended"


def test_an_end_that_hangs_is_cut_by_the_graceful_timeout(loops):
    server = loops("--graceful-timeout", "2s", LOOPS_END="never")
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 2 + SLOWER
    assert "the lifespan did not end within 1.5 s; it is cancelled" in server.log
    assert "a task was cancelled" in server.notes()


@pytest.mark.parametrize("how", ["SystemExit", "KeyboardInterrupt", "CancelledError"])
def test_a_lifespan_that_ends_with_a_base_exception(loops, loop, how):
    server = loops("--loop", loop, LOOPS_END=how, MALLOC_PERTURB_="165")  # what is freed is written over
    assert server.get("/late").status_code == 200
    assert server.stop() == 0
    assert "the lifespan raised at its end" in server.log
    assert "exited with" not in server.log
    assert "was killed" not in server.log
    assert "a task was cancelled" in server.notes()


# ---- timers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("debug", ["", "1"])
def test_nan_is_no_time(loops, loop, debug):
    server = loops("--loop", loop, PYTHONASYNCIODEBUG=debug)
    for _ in range(3):
        assert server.get("/timeout", params={"t": "nan"}).status_code == 500
    assert "the time is NaN (not a number)" in server.log
    assert "NaN" in server.get("/call-later", params={"t": "nan"}).json()
    # 200: it did not expire within the 20 ms that the handler takes; 500: a TimeoutError
    for t, status in {"inf": 200, "1e308": 200, "-inf": 500, "0.001": 500}.items():
        assert server.get("/timeout", params={"t": t}).status_code == status, t
        assert server.get("/call-later", params={"t": t}).json() == "taken"
    assert server.get("/late").status_code == 200


# ---- tasks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stream", "plain"])
def test_a_task_factory_without_a_context(loops, loop, kind):
    server = loops("--loop", loop)
    answer = server.get(f"/with-factory/{kind}")
    assert answer.text == ("012" if kind == "stream" else "{}")
    wait_until(lambda: "background work" in server.notes())
    assert server.stop() == 0
    assert server.notes()[-1] == "a task was cancelled"


def test_two_readers_of_one_body(server):
    with server.connect() as s:
        s.sendall(b"POST /two-readers HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n")
        wait_until(lambda: "two readers" in server.notes())
        assert server.get("/late").status_code == 200  # nobody spins
        s.sendall(b"x" * 10)
        body = read_all(s).partition(b"\r\n\r\n")[2]
    assert body == b'[10,"RuntimeError: another task is reading this request\'s body already"]'


def test_a_coroutine_function_is_called_in_the_context_of_its_request(server):
    for _ in range(8):
        assert server.get("/marked").json() == {"before": "unset", "inside": "mine"}


@pytest.mark.parametrize("kind", ["awaitable", "task", "future"])
def test_awaitables_that_are_no_coroutines(server, kind):
    for _ in range(8):
        assert server.get(f"/odd/{kind}").json() == {"ok": kind}


def test_what_cannot_be_awaited_is_named(server):
    assert server.get("/odd/nothing").status_code == 500
    assert "an async handler returned dict, which cannot be awaited" in server.log


# ---- a `def` on the loop's thread, and anyio ------------------------------------------------------------


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_def_makes_its_own_loop_for_ever(loops, loop, threads):
    server = loops("--loop", loop, "--threads", threads, "--blocking-threshold", "2s")
    with httpx.Client(base_url=server.url, timeout=30) as client:
        answers = [client.get("/own-loop") for _ in range(200)]
    assert {a.status_code for a in answers} == {200}, server.log[-3000:]
    assert {a.json()["where"] for a in answers} == {"pool", "loop"}
    assert {(a.json()["seven"], a.json()["run"]) for a in answers} == {(7, 7)}
    assert server.get("/late").status_code == 200


def test_anyio_finds_a_root_task_and_keeps_its_threads(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert len({client.get("/anyio").json() for _ in range(30)}) == 1
