"""Where a `def` runs: in the pool first, on the event loop once it has proved quick; both interpreters."""

import concurrent.futures
import time

import httpx
import pytest
from conftest import APPS, wait_until

PROMOTED = "is always quick, so it runs on the event loop's thread"


@pytest.fixture
def server(serve, python):
    # a generous threshold: the machine may be busy, and only sleeps that a test asks for are to count
    return serve(
        "placement:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1",
        "--blocking-threshold", "100ms",
    )  # fmt: skip


def places(server, path: str, n: int) -> list[str]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        return [client.get(path).json() for _ in range(n)]


def test_promoted_after_64_quick_calls(server):
    assert set(places(server, "/quick", 64)) == {"pool"}
    assert set(places(server, "/quick", 50)) == {"loop"}
    assert server.log.count(f"/quick: its `def` {PROMOTED}") == 1


def test_demoted_by_the_first_call_that_is_not(server):
    places(server, "/quick", 64)
    assert server.get("/quick", params={"sleep": 0.15}).json() == "loop"
    assert "/quick: its `def` took 15" in server.log
    assert set(places(server, "/quick", 128)) == {"pool"}  # and needs twice as many now
    assert set(places(server, "/quick", 10)) == {"loop"}


def test_one_slow_call_begins_the_count_anew(server):
    places(server, "/quick", 63)
    server.get("/quick", params={"sleep": 0.05})
    assert set(places(server, "/quick", 64)) == {"pool"}
    assert server.get("/quick").json() == "loop"


def test_slow_ones_and_pinned_ones_stay(serve, python):
    server = serve("placement:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1")
    assert set(places(server, "/slow", 100)) == {"pool"}
    assert set(places(server, "/pinned", 100)) == {"pool"}


def test_threshold_0_never_promotes(serve, python):
    server = serve(
        "placement:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--blocking-threshold", "0"
    )
    assert set(places(server, "/quick", 200)) == {"pool"}


def test_one_that_raises_is_never_promoted(server):
    assert {answer["detail"] for answer in places(server, "/raises", 100)} == {"Internal Server Error"}
    assert PROMOTED not in server.log
    assert places(server, "/refuses", 70)[-1] == {"detail": "loop"}  # an answer, not a failure


def test_there_is_no_running_loop_in_either_place(server):
    seen = places(server, "/loop", 100)
    assert seen[0] == "pool: no running loop"
    assert seen[-1] == "loop: no running loop"
    assert places(server, "/async", 1) == ["loop"]  # whose loop runs again


def test_what_one_thread_alone_may_use_behaves_the_same_from_the_first_call_on(server):
    assert {answer["detail"] for answer in places(server, "/connection", 200)} == {"another thread's"}
    assert set(places(server, "/thread-local", 200)) == {1}


def test_the_decision_is_shared_by_all_workers(serve, python):
    server = serve(
        "placement:app", "--app-dir", str(APPS), "--python", python, "--workers", "2", "--threads", "1",
        "--blocking-threshold", "100ms",
    )  # fmt: skip
    wait_until(lambda: set(places(server, "/quick", 20)) == {"loop"})
    assert server.log.count(PROMOTED) == 1


def test_quick_handlers_do_not_wait_for_slow_ones(server):
    """One that sleeps stays in the pool; the others go on meanwhile."""
    places(server, "/quick", 70)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(server.get, "/quick", params={"sleep": 0}) for _ in range(2)]
        slow += [pool.submit(server.get, "/slow") for _ in range(20)]
        started = time.monotonic()
        assert set(places(server, "/quick", 20)) == {"loop"}
        assert time.monotonic() - started < 10
        assert all(s.result().status_code == 200 for s in slow)
