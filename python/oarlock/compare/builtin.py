"""The application behind the built-in scenarios: shapes of work, not of any one application."""

import asyncio
import os
import threading
import time
from typing import Any

from oarlock import App, BackgroundTasks, Request, run_in_threadpool

app = App(title="oarlock's built-in scenarios")


# More work per request, for bench/validate.py: does the comparison see 5 %? Steps of work().
EXTRA = int(os.environ.get("OARLOCK_COMPARE_EXTRA", "0"))


def work(n: int) -> int:
    """Sum of squares: integers, no allocation that outlives a step."""
    total = 0
    for i in range(n):
        total += i * i
    return total


@app.get("/json")
def quick() -> dict[str, Any]:
    if EXTRA:
        work(EXTRA)
    return {"id": 7, "name": "oarlock", "tags": ["fast", "small"], "price": 9.75, "in_stock": True}


@app.get("/async")
async def not_waiting() -> dict[str, Any]:
    return {"id": 7, "name": "oarlock", "tags": ["fast", "small"], "price": 9.75, "in_stock": True}


@app.get("/sleep")
async def sleep() -> dict[str, Any]:
    await asyncio.sleep(0.01)
    return {"slept": 10}


@app.get("/blocking")
def blocking() -> dict[str, Any]:
    time.sleep(0.01)
    return {"blocked": 10}


@app.get("/cpu", blocking=False)
def cpu() -> dict[str, Any]:
    """About a millisecond."""
    return {"sum": work(12_000 + EXTRA)}


@app.post("/body")
async def body(request: Request) -> dict[str, Any]:
    given = await request.json()
    return {"given": given, "keys": len(given)}


# Made at the first request for it, so that the other scenarios do not carry it: about 100 MiB of small objects.
_state: dict[int, tuple[int, str]] = {}
_filling = threading.Lock()


def _fill() -> dict[int, tuple[int, str]]:
    return {i: (i, f"a value of some length, number {i:08d}") for i in range(560_000)}


@app.get("/state/{key}")
def state(key: int) -> dict[str, Any]:
    global _state
    with _filling:  # the first requests come in several threads at once
        if not _state:
            _state = _fill()
        found = _state
    return {"value": found[key % 560_000]}


# ---- the CPU-bound five, as examples/cpu.py has them, with 20 ms of work ------------------------------

PIECES = 10
PIECE = 24_000


@app.get("/five/generator")
async def generator() -> dict[str, Any]:
    return {"sum": sum(i * i for i in range(PIECES * PIECE))}


@app.get("/five/cycle")
async def cycle() -> dict[str, Any]:
    return {"sum": work(PIECES * PIECE)}


@app.get("/five/cycle_sleep")
async def cycle_sleep() -> dict[str, Any]:
    total = 0
    for start in range(0, PIECES * PIECE, PIECE):
        for i in range(start, start + PIECE):
            total += i * i
        await asyncio.sleep(0)
    return {"sum": total}


@app.get("/five/thread")
async def thread() -> dict[str, Any]:
    return {"sum": await run_in_threadpool(work, PIECES * PIECE)}


@app.get("/five/background")
async def background(tasks: BackgroundTasks) -> dict[str, Any]:
    tasks.add_task(work, PIECES * PIECE)
    return {"queued": True}
