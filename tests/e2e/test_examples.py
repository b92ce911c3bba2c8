"""What examples/ shows works, on both interpreters."""

import hashlib

import httpx
import pytest
from conftest import ROOT


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
