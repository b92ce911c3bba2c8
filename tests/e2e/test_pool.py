"""How many threads the pool has: as many as are needed, more for handlers that wait than for those that compute."""

import concurrent.futures
import contextlib
import os
import re

import pytest
from conftest import APPS

AUTO = 40
EAGER = 4  # a core


@pytest.fixture
def pool(serve, python):
    """Starts a server of one worker on one core, so that it is known how many threads may compute; the clients have the others."""
    have, usual = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)

    def run(*more: str):
        os.sched_setaffinity(0, {min(have)})
        with contextlib.suppress(PermissionError):  # whatever else runs here must not take the core from it
            os.setpriority(os.PRIO_PROCESS, 0, -15)
        server = serve(
            "pool:app", "--app-dir", str(APPS), "--python", python, "--workers", "1", "--threads", "1", *more
        )
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, usual)
        os.sched_setaffinity(0, have - {min(have)} or have)
        return server

    yield run
    os.sched_setaffinity(0, have)


def at_once(server, path: str, n: int) -> list[int]:
    """Statuses must be 200; the threads that they ran in."""
    with concurrent.futures.ThreadPoolExecutor(n) as threads:
        responses = list(threads.map(lambda _: server.get(path), range(n)))
    assert [r.status_code for r in responses] == [200] * n, responses[0].text
    return [r.json() for r in responses]


def test_as_many_as_starlette_has_can_wait_at_once(pool):
    server = pool()
    assert len(set(at_once(server, f"/meet/{AUTO}", AUTO))) == AUTO


def test_there_are_never_more(pool):
    server = pool()
    at_once(server, f"/meet/{AUTO}", AUTO)
    assert len(set(at_once(server, "/burn", 2 * AUTO))) <= AUTO


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: the clients would take it from the handlers")
def test_those_that_compute_stay_a_few_a_core(pool):
    server = pool()
    assert 1 < len(set(at_once(server, "/burn", AUTO))) <= EAGER


def test_one_after_the_other_needs_one(pool):
    server = pool()
    assert len({server.get("/where").json() for _ in range(20)}) == 1


@pytest.mark.parametrize("n", [1, 7])
def test_a_number_is_kept(pool, n):
    server = pool("--pool-threads", str(n))
    at_once(server, f"/meet/{n}", n)  # all of them are there, with or without a core each
    assert len(set(at_once(server, "/burn", 3 * n))) <= n


def test_where_no_more_threads_are_to_be_had_those_there_serve(pool):
    server = pool("--pool-threads", "40")
    server.get("/where")
    assert server.get("/no-room-for-a-stack").status_code == 200
    there = len(set(at_once(server, "/burn", 40)))  # the C library may have a few stacks left over
    refused = re.findall(
        r"cannot start pool thread (\d+), so the pool stays as it is: Resource temporarily", server.log
    )
    assert len(refused) == 1
    assert 1 <= there <= int(refused[0]) - 1 < 39


def test_a_server_that_must_stop_while_its_pool_is_full(pool):
    server = pool("--graceful-timeout", "20")
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        waiting = [threads.submit(server.get, "/meet/12") for _ in range(12)]
        for response in waiting:
            assert response.result().status_code == 200
    assert server.stop() == 0
    assert "error" not in server.log
