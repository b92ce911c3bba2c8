"""Coroutine handlers: what asyncio promises holds in the first step, and when a handler waits (docs/decisions/006)."""

import concurrent.futures
import json
import socket

import httpx
import pytest
from conftest import APPS, start, wait_until

# The handler asserts in the server; anything but {"ok": true} is its failure.
SEMANTICS = [
    "current_task",
    "current_task_is_the_same_after_a_wait",
    "timeout_without_a_wait",
    "timeout_expires",
    "task_group",
    "task_group_without_a_wait",
    "create_task_inherits_the_context",
    "all_tasks",
    "cancel_self_then_wait",
    "cancel_self_then_return",
    "cancel_self_in_a_bare_yield",
    "uncancel",
    "task_name",
    "task_weakref",
    "task_done_callback",
    "eager_child_is_the_current_task",
    "current_task_in_a_nested_context",
    "current_task_in_a_nested_context_then_wait",
    "no_second_step",
    "coroutine_of_the_task",
    "gather",
    "wait_for",
    "shield",
    "to_thread",
    "subprocess",
    "streams",
    "exception_group",
    "context_is_its_own",
]


@pytest.fixture(scope="module", params=["oarlock", "stock"])
def server(request, python, tmp_path_factory):
    log = tmp_path_factory.mktemp("async") / "server.log"
    running = start(
        log, "semantics:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--loop", request.param
    )
    running.workers()
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("name", SEMANTICS)
def test_semantics(server, name):
    """Each four times in a row: a handler that keeps needing a task is started another way from the third time on."""
    for _ in range(4):
        response = server.get(f"/{name}")
        status = 500 if name == "cancel_self_then_return" else 200
        assert response.status_code == status, response.text + server.log[-3000:]
        if status == 200:
            assert response.json() == {"ok": True}


def test_a_thousand_at_once_keep_their_context(server):
    with concurrent.futures.ThreadPoolExecutor(50) as pool, httpx.Client(base_url=server.url) as client:
        answers = list(pool.map(lambda i: client.get(f"/own/{i}", timeout=30).json(), range(1000)))
    assert answers == [{"before": "unset", "mine": i} for i in range(1000)]


def read_all(s: socket.socket) -> bytes:
    got = b""
    while chunk := s.recv(65536):
        got += chunk
    return got


def test_a_thousand_handlers_inside_at_once(server):
    """None goes on before 900 are inside: some raise, some time out, some are left by their clients; none sees another's."""
    before = server.get("/count").json()
    sockets = [server.connect() for _ in range(1000)]
    for number, s in enumerate(sockets):
        s.sendall(f"GET /crowd/{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        if number % 10 == 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            s.close()
    for number, s in enumerate(sockets):
        if number % 10 == 2:
            continue
        with s:
            answer = read_all(s)
        if number % 10 < 2:
            assert answer.startswith(b"HTTP/1.1 500"), answer
        else:
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"before": "unset", "mine": number, "child": number}

    def nothing_left() -> bool:
        after = server.get("/count").json()
        return (
            after["tasks"] <= before["tasks"]
            and after["descriptors"] <= before["descriptors"] + 1
            and after["objects"] <= before["objects"] + 500
        )

    wait_until(nothing_left)


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit"])
@pytest.mark.parametrize("when", ["first", "later", "asked"])
def test_exceptions_that_end_programs_end_a_request(server, name, when):
    assert server.get(f"/raise/{name}/{when}").status_code == 500
    assert name in server.log
    assert server.get("/current_task").json() == {"ok": True}
    assert len(server.workers()) == 1


def test_a_handler_that_waits_is_not_collected(server):
    """asyncio refers to tasks weakly; the one of a handler lives as long as its request."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.get, "/wait-alone")
        wait_until(lambda: server.get("/wake").json()["alive"] or waiting.done())
        assert waiting.result(20).json() == {"woken": True}


def test_nothing_is_left(server):
    """Objects, tasks and descriptors, before and after each kind of handler has run ten times."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for name in SEMANTICS:
            client.get(f"/{name}")
        before = client.get("/count").json()
        for _ in range(10):
            for name in SEMANTICS:
                client.get(f"/{name}")
        after = client.get("/count").json()
    assert after["tasks"] == before["tasks"]
    assert after["descriptors"] <= before["descriptors"] + 1
    assert after["tasks_alive"] <= before["tasks_alive"] + 2
    assert after["objects"] <= before["objects"] + 200, (before, after)


def test_debug_mode_reports_slow_first_steps(serve, python, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nfrom oarlock import App\napp = App()\n"
        "@app.get('/slow')\nasync def slow():\n    time.sleep(0.15)\n    return {}\n"
        "@app.get('/quick')\nasync def quick():\n    return {}\n"
    )
    server = serve(
        "slow:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1", env={"PYTHONASYNCIODEBUG": "1"}
    )
    assert server.get("/quick").status_code == server.get("/slow").status_code == 200
    assert "Executing the first step of /slow took 0.1" in server.log
    assert "/quick" not in server.log
