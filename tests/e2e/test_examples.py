"""What examples/ shows works, on both interpreters."""

import hashlib

import httpx
import pytest
from conftest import ROOT, wait_until


@pytest.fixture
def example(serve, python):
    return lambda name: serve(f"{name}:app", "--app-dir", str(ROOT / "examples"), "--python", python, "--workers", "1")


def test_hello(example):
    assert example("hello").get("/items/7", params={"q": "x"}).json() == {"item_id": 7, "q": "x"}


def test_streams(example):
    server = example("streams")
    data = bytes(range(256)) * 8192
    answer = httpx.put(f"{server.url}/sha256", content=data)
    assert answer.json() == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    clock = server.get("/clock/1")
    assert clock.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert clock.text.startswith("data: ")


def test_cpu_bound(serve, python, tmp_path):
    """The five, with less to do: the work's size is the example's one variable."""
    text = (ROOT / "examples/cpu.py").read_text()
    (tmp_path / "cpu.py").write_text(text.replace("N = 10_000_000", "N = 200_000"))
    server = serve("cpu:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1")
    total = sum(i * i for i in range(200_000))
    for path in ("/generator", "/cycle", "/cycle_sleep", "/thread", "/plain"):
        assert server.get(path).json() == {"sum": total}
    assert server.get("/background").json() == {"queued": True}
    wait_until(lambda: server.get("/background/done").json() == {"background": 1})
    assert server.get("/health").json() == {"status": "ok"}


def test_three_queries(example):
    server = example("queries")
    one, all_at_once = server.get("/sequential").json(), server.get("/together").json()
    assert one["results"] == all_at_once["results"] == ["result of user", "result of orders", "result of offers"]
    assert one["ms"] >= 30 > all_at_once["ms"] or all_at_once["ms"] < one["ms"]


def test_shop(example):
    server = example("shop")
    assert server.get("/products/7").json()["id"] == 7
    assert server.get("/products/9999").status_code == 404
    found = server.get("/search", params={"q": "boat"}).json()
    assert len(found) == 5
    assert all("boat" in p["name"] for p in found)
    assert server.get("/quote/7", params={"pieces": 3}).json() == {"product": 7, "total": 47.7}
