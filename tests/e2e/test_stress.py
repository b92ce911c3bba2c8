"""Every API at once, from many clients, on several event loops and the pool; then nothing is left and nothing crossed."""

import concurrent.futures
import contextlib
import os
import random
import socket
import time

import httpx
import pytest
from conftest import APPS, KINDS
from test_async import SEMANTICS

SECONDS = 4
GETS = [
    *(f"/{name}" for name in SEMANTICS if name not in ("subprocess", "cancel_self_then_return")),
    *("/state", "/state/def", "/background/x", "/background-def", "/background-response", "/in-pool", "/quick"),
    *("/background-stream/plain", "/background-stream/async", "/pieces/50", "/pieces-async/50", "/collect", "/digest"),
    *(f"/shared/{n}" for n in range(5)),
]
POSTS = ["/echo", "/upload", "/upload-def"]


def one(client: httpx.Client, chance: random.Random) -> None:
    """One request, and whether its answer is the right one."""
    kind = chance.random()
    if kind < 0.15:
        path = chance.choice(POSTS)
        size = chance.choice([10, 3_000, 200_000])
        body = b'"' + b"x" * size + b'"'
        answer = client.post(path, content=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["length"] == len(body)
    elif kind < 0.2:
        assert client.get("/raises").status_code == 500
    elif kind < 0.3:
        number = chance.randrange(10_000)
        assert client.get(f"/own/{number}").json() == {"before": "unset", "mine": number}
    else:
        path = chance.choice(GETS)
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        if path.startswith("/pieces"):
            assert answer.text == "".join(str(i) * 100 for i in range(50))


def leave_early(port: int, chance: random.Random) -> None:
    """A client that goes away in the middle of something."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        path = chance.choice(["/pieces/5000", "/pieces-async/5000", "/own/4", "/slow-background/5", "/timeout_expires"])
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if chance.random() < 0.5:
            s.recv(100)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def client_thread(server, seed: int) -> int:
    chance, count = random.Random(seed), 0
    end = time.monotonic() + SECONDS
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while time.monotonic() < end:
            one(client, chance)
            count += 1
            if chance.random() < 0.1:
                leave_early(server.port, chance)
    return count


@pytest.mark.parametrize("threads", [1, 4])
def test_everything_at_once(serve, python, tmp_path, threads):
    log = tmp_path / "life.log"
    server = serve(
        *("everything:app", "--app-dir", str(APPS), "--python", python, "--workers", "1"),
        *("--threads", str(threads), "--pool-threads", "8"),
        env={"LIFE_LOG": str(log)},
    )
    workers = server.workers()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for path in GETS:
            client.get(path)
    before = server.get("/left").json()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda seed: client_thread(server, seed), range(8)))
    assert sum(counts) > 8
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for path in GETS * 2:
            client.get(path)
    end = time.monotonic() + 20
    while (after := server.get("/left").json())["descriptors"] > before["descriptors"] + 6 and time.monotonic() < end:
        pass
    assert server.workers() == workers, server.log[-3000:]
    assert after["descriptors"] <= before["descriptors"] + 6, (before, after)
    assert after["objects"] <= before["objects"] * 1.05 + 3000, (before, after)
    assert server.stop() == 0


@pytest.mark.skipif("ft" not in KINDS, reason="no free-threaded build here")
def test_threads_start_and_end_while_all_serve(serve, tmp_path):
    """Handlers that start threads of their own, which import, collect, and end; on four loops."""
    (tmp_path / "spawn.py").write_text(
        "import asyncio, gc, threading\nfrom oarlock import App\napp = App()\n"
        "def work(out):\n    import decimal\n    out.append(decimal.Decimal(2).sqrt())\n    gc.collect(0)\n"
        "def loop(out):\n    out.append(asyncio.run(asyncio.sleep(0, 7)))\n"
        "@app.get('/{kind}')\ndef spawn(kind: str):\n"
        "    out = []\n    t = [threading.Thread(target=loop if kind == 'loop' else work, args=(out,)) for _ in range(4)]\n"
        "    [x.start() for x in t]; [x.join() for x in t]\n    return {'n': len(out)}\n"
    )
    server = serve("spawn:app", "--app-dir", str(tmp_path), "--python", "ft", "--workers", "1", "--threads", "4")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: server.get("/loop" if i % 2 else "/work").json(), range(100)))
    assert answers == [{"n": 4}] * 100
    assert os.path.exists(f"/proc/{server.workers()[0]}")
