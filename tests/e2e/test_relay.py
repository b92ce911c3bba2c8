"""A `def` that stays keeps its thread, never the event loop (decisions/012); both interpreters, 1 and 2 event loops."""

import concurrent.futures
import re
import signal
import subprocess
import time

import httpx
import pytest
from conftest import APPS, BINARY, SLOWER, wait_until

STAYS = ["sleep", "socket", "lock", "queue", "subprocess", "burning"]


@pytest.fixture(params=[1, 2])
def server(request, serve, python):
    return serve(
        "relay:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", str(request.param)
    )  # fmt: skip


@pytest.fixture
def one(serve, python):
    """One event loop: whatever works beside a handler that stays works because the loop has moved on."""

    def run(*options: str):
        return serve(
            "relay:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1", *options
        )

    return run


class Staying:
    """Requests whose handlers stay until the block ends."""

    def __init__(self, server, *paths: str) -> None:
        self.server, self.paths = server, paths
        self.pool = concurrent.futures.ThreadPoolExecutor(max(len(paths), 1))
        self.answers: list[httpx.Response] = []

    def __enter__(self) -> "Staying":
        self.server.get("/hold")
        before = self.server.get("/state").json()["inside"]
        self.futures = [self.pool.submit(self.server.get, path) for path in self.paths]
        wait_until(lambda: self.server.get("/state").json()["inside"] >= before + len(self.paths))
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.get("/release")
        self.answers = [f.result(30) for f in self.futures]
        self.pool.shutdown()


@pytest.mark.parametrize("kind", STAYS)
def test_everybody_else_goes_on(server, kind):
    with Staying(server, f"/stay/{kind}", f"/stay/{kind}") as staying, httpx.Client(base_url=server.url) as client:
        for _ in range(20):
            assert client.get("/quick").status_code == 200
            assert client.get("/nowhere").status_code == 404
            assert client.get("/async").status_code == 200
        with server.connect() as raw:  # a new connection, and a deadline of the server's own
            raw.sendall(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 200")
    assert [a.json() for a in staying.answers] == [{"stayed": kind}] * 2


def test_home_again(one):
    """When the handler has ended its thread has its loop back."""
    server = one()
    with Staying(server, "/stay/sleep"):
        state = server.get("/state").json()
        assert {server.get("/quick").json(), server.get("/async").json()} != {state["home"]}
    wait_until(lambda: server.get("/quick").json() == state["home"] == server.get("/async").json())


def test_a_handler_may_wait_for_the_server_it_runs_in(one):
    server = one()
    assert server.get("/ourselves", params={"port": server.port}).json() == 200


def test_a_promoted_handler_may_wait_for_its_own_loop(one):
    server = one()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert {client.get("/ask-the-loop").json() for _ in range(200)} == {"from the loop"}


def test_a_promoted_handler_may_wait_for_a_lock_that_a_streamed_response_holds(one):
    server = one()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert {client.get("/locked").json() for _ in range(70)} == {"had it"}
        assert "/locked: its `def` is always quick" in server.log
        client.get("/hold")
        with client.stream("GET", "/holder") as response, concurrent.futures.ThreadPoolExecutor(1) as pool:
            pieces = response.iter_raw()
            assert next(pieces) == b"locked"
            waiting = pool.submit(server.get, "/locked")
            assert server.get("/async").status_code == 200
            time.sleep(0.05)  # the handler is in `with lock` by now, or in the pool: both must do
            server.get("/release")
            assert b"".join(pieces) == b"free"
            assert waiting.result(20).json() == "had it"


@pytest.mark.parametrize(
    ("result", "status", "text"),
    [
        ("error", 500, '{"detail":"Internal Server Error"}'),
        ("refusal", 418, '{"detail":"after staying"}'),
        ("plain-stream", 200, "".join(map(str, range(1000)))),
        ("async-stream", 200, "".join(map(str, range(1000)))),
    ],
)
def test_what_a_handler_returns_that_stayed(one, result, status, text):
    server = one()
    with Staying(server, f"/stay/sleep?result={result}") as staying:
        assert server.get("/async").status_code == 200
    assert staying.answers[0].status_code == status
    assert staying.answers[0].text == text
    if status == 500:
        assert "RuntimeError: an error after staying" in server.log
    assert server.get(f"/stay/sleep?result={result}").text == text  # and the same when it does not stay


def test_an_iterator_that_is_long_in_coming(one):
    """iter() of what a `def` returns is the application's code too."""
    server = one()
    with Staying(server, "/late-iterator") as staying:
        assert server.get("/async").status_code == 200
        assert server.get("/quick").status_code == 200
    assert staying.answers[0].text == "late"


def test_each_error_of_a_handler_is_counted_once(one):
    server = one()

    def counted() -> int:
        before = len(server.log)
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "handler errors" in server.log[before:])
        return int(re.search(r"(\d+) handler errors", server.log[before:])[1])

    for n, where in enumerate(["iterator", "here", "pool", "async"], 1):
        assert server.get(f"/fails/{where}").status_code == 500
        assert counted() == n, where
    with Staying(server, "/stay/sleep?result=error"):
        pass
    assert counted() == 5


def test_background_tasks_of_a_handler_that_stayed(one):
    server = one()
    server.get("/hold")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.get, "/background")
        assert server.get("/async").status_code == 200
        server.get("/release")
        assert answer.result(20).json() == "stayed"
    wait_until(lambda: server.get("/state").json()["done"] == ["background"])


def test_many_stay_at_once(server):
    """More than may stay on a driving thread: the others wait for the pool, and nobody for them."""
    with Staying(server, *["/stay/sleep"] * 30) as staying, httpx.Client(base_url=server.url) as client:
        for _ in range(10):
            assert client.get("/nowhere").status_code == 404
            assert client.get("/async").status_code == 200
    assert {a.status_code for a in staying.answers} == {200}
    wait_until(lambda: server.get("/state").json()["inside"] == 0)
    before = server.get("/state").json()["threads"]
    for _ in range(3):
        with Staying(server, *["/stay/sleep"] * 10):
            pass
    assert server.get("/state").json()["threads"] <= before + 2  # spares are used again


def test_a_deadline_of_a_handler_that_stays(one):
    server = one("--handler-timeout", "200ms")
    with Staying(server, "/stay/sleep") as staying:
        wait_until(lambda: staying.futures[0].done())
        assert staying.futures[0].result().status_code == 504
    wait_until(lambda: server.get("/state").json()["inside"] == 0)
    assert server.get("/quick").status_code == 200


def test_a_client_that_leaves(one):
    server = one()
    server.get("/hold")
    with server.connect() as raw:
        raw.sendall(b"GET /stay/sleep HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: server.get("/state").json()["inside"] == 1)
    server.get("/release")
    wait_until(lambda: server.get("/state").json()["inside"] == 0)
    assert server.get("/quick").status_code == 200


def test_a_drain_waits_for_a_handler_that_stays(one):
    server = one()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        server.get("/hold")
        staying = pool.submit(server.get, "/stay/sleep")
        wait_until(lambda: server.get("/state").json()["inside"] == 1)
        with server.connect() as release:  # accepted and idle when the drain begins: answered with Connection: close
            release.sendall(b"GET /async?wait=0.3 HTTP/1.1\r\nHost: a\r\n\r\nGET /release HTTP/1.1\r\nHost: a\r\n\r\n")
            server.process.send_signal(signal.SIGTERM)
            assert staying.result(20).json() == {"stayed": "sleep"}
    assert server.process.wait(20) == 0


@pytest.mark.parametrize("options", [["--loop", "stock"], ["--debug"]])
def test_other_ways_to_run_the_loop(one, options):
    server = one(*options)
    with Staying(server, "/stay/sleep", "/stay/burning") as staying:
        assert server.get("/async").status_code == 200
        assert server.get("/quick").status_code == 200
    assert [a.status_code for a in staying.answers] == [200, 200]
    assert server.get("/async").status_code == 200


def test_asyncio_debug_mode(serve, python):
    server = serve(
        "relay:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1",
        env={"PYTHONASYNCIODEBUG": "1"},
    )  # fmt: skip
    with Staying(server, "/stay/sleep"):
        assert server.get("/async").status_code == 200
    assert server.get("/async").status_code == 200
    assert "Non-thread-safe operation" not in server.log


def test_who_was_overtaken_is_told(one):
    server = one()
    for _ in range(3):
        with Staying(server, "/stay/sleep"):
            time.sleep(0.05)
    wait_until(lambda: server.get("/state").json()["inside"] == 0)
    done = subprocess.run([BINARY, "routes", "--live", str(server.pid)], capture_output=True, text=True, timeout=20)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("/stay/{kind}"))
    assert re.search(r"inline \(blocking=False\) +3 x, \d+ ms", line), done.stdout
    assert int(re.search(r"(\d+) ms", line)[1]) >= 50


def test_timers_are_not_late(one):
    """Not a benchmark: a handler that stays for seconds must not be seen in a timer at all."""
    server = one()
    with Staying(server, "/stay/sleep"):
        late = server.get("/ticks").json()
    assert late[len(late) // 2] < 5 * SLOWER
