"""What waits for a thread of the pool: requests, calls, and the plain iterators of streamed responses."""

import asyncio
import contextvars
import threading
import time

from oarlock import App, StreamingResponse
from oarlock.concurrency import run_in_threadpool

app = App()
events: list[str] = []
gate = threading.Event()
inside: set[str] = set()
where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


@app.get("/events", blocking=False)
def get_events():
    return events


@app.get("/quick", blocking=True)
def quick():
    return "quick"


@app.get("/open", blocking=False)
def open_gate():
    gate.set()


@app.get("/shut", blocking=True)
def shut(name: str):
    """Keeps its thread until /open."""
    events.append(f"{name} runs")
    gate.wait(20)
    return name


@app.get("/shut-stream/{name}", blocking=True)
def shut_stream(name: str):
    """Its first item waits for /open."""

    def items():
        gate.wait(20)
        events.append(f"{name} goes on")
        yield b"item"

    return StreamingResponse(items())


@app.get("/pieces/{name}", blocking=True)
def pieces(name: str, n: int = 1000):
    """64 KiB each; one at a time, all in one context."""
    where.set(name)

    def items():
        try:
            for i in range(n):
                assert name not in inside, "two threads at once"
                inside.add(name)
                assert where.get() == name, where.get()
                inside.discard(name)
                yield i.to_bytes(4) * 16384
        finally:
            events.append(f"{name} closed in {where.get()}")

    return StreamingResponse(items())


@app.get("/raises/{name}", blocking=True)
def raises(name: str):
    yield bytes(1 << 20)
    yield bytes(1 << 20)
    raise ValueError(f"{name} broke")


@app.get("/small", blocking=True)
def small(n: int):
    for _ in range(n):
        yield "x" * 100


@app.get("/small-async")
async def small_async(n: int):
    for _ in range(n):
        yield "x" * 100


@app.get("/burn", blocking=True)
def burn(seconds: float):
    """Pure Python, until /open, that keeps the interpreter for as long as it may."""
    events.append("burns")
    until = time.monotonic() + seconds
    while time.monotonic() < until and not gate.is_set():
        pass


def note(name: str) -> None:
    events.append(f"{name} was called")


@app.get("/calls")
async def calls(n: int):
    """More calls at once than --pool-queue takes; in the order in which they were made."""
    await asyncio.gather(*(run_in_threadpool(note, str(i)) for i in range(n)))
    return [e for e in events if e.endswith("was called")]


@app.get("/cancelled-call")
async def cancelled_call():
    task = asyncio.create_task(run_in_threadpool(note, "cancelled"))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    return {"cancelled": task.cancelled()}
