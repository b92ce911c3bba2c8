"""The handlers that bench/handlers.py measures. Each answers with the stub's body, unless its path says otherwise."""

import asyncio
import time

from oarlock import App

app = App()
BODY = {"message": "hello"}


@app.get("/hello", blocking=False)
def hello():
    return {"message": "hello"}


@app.get("/pool", blocking=True)
def pool():
    return {"message": "hello"}


@app.get("/auto")
def auto():
    return {"message": "hello"}


@app.get("/async")
async def plain():
    return {"message": "hello"}


@app.get("/current")
async def current():
    asyncio.current_task()
    return {"message": "hello"}


@app.get("/timeout")
async def timeout():
    async with asyncio.timeout(10):
        return {"message": "hello"}


@app.get("/group")
async def group():
    async with asyncio.TaskGroup():
        return {"message": "hello"}


@app.get("/sleep0")
async def sleep0():
    await asyncio.sleep(0)
    return {"message": "hello"}


@app.get("/sleep10")
async def sleep10():
    await asyncio.sleep(0.01)
    return {"message": "hello"}


@app.get("/items/{id}", blocking=False)
def item(id: int, q: str | None = None):
    return {"id": id, "q": q}


@app.get("/cpu")
def cpu():
    """About a millisecond of Python."""
    return {"sum": sum(i * i for i in range(12_000))}


@app.get("/cpu-inline", blocking=False)
def cpu_inline():
    return {"sum": sum(i * i for i in range(12_000))}


@app.get("/blocks")
def blocks():
    time.sleep(0.1)
    return {"message": "hello"}


@app.get("/second")
def second():
    time.sleep(1)
    return {"message": "hello"}


@app.get("/burn")
def burn():
    """A second of Python that never lets go by itself."""
    end = time.perf_counter() + 1
    n = 0
    while time.perf_counter() < end:
        n += 1
    return {"n": n}


class Service:
    def __init__(self):
        self.greeting = "hello"

    def method(self):
        return {"message": self.greeting}


app.get("/method", blocking=False)(Service().method)


def make_closure(greeting):
    def closure():
        return {"message": greeting}

    return closure


app.get("/closure", blocking=False)(make_closure("hello"))


@app.get("/stays", blocking=False)
def stays():
    time.sleep(0.05)
    return {"message": "hello"}


@app.get("/turns")
def turns(ms: float = 0):
    time.sleep(ms / 1000) if ms else None
    return {"message": "hello"}


@app.get("/burns", blocking=False)
def burns():
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        pass
    return {"message": "hello"}


@app.get("/ticks")
async def ticks():
    longest = 0.0
    for _ in range(500):
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        longest = max(longest, time.perf_counter() - began - 0.002)
    return {"longest_ms": longest * 1e3}
