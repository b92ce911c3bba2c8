"""Lifespan, worker hooks, background work, and what shares an interpreter."""

import asyncio
import contextvars
import hashlib
import os
import threading
import time
from contextlib import asynccontextmanager

from oarlock import (
    App,
    BackgroundTask,
    BackgroundTasks,
    PlainTextResponse,
    Request,
    StreamingResponse,
    run_in_threadpool,
)

LOG = os.environ["LIFE_LOG"]
begun: contextvars.ContextVar[str] = contextvars.ContextVar("begun", default="no")


def note(text: str) -> None:
    with open(LOG, "a") as f:
        f.write(f"{os.getpid()} {text}\n")


@asynccontextmanager
async def lifespan(app):
    if os.environ.get("LIFE_FAIL"):
        raise RuntimeError("no database")
    begun.set("yes")
    note("begin")
    async with asyncio.TaskGroup() as group:  # belongs to the lifespan's task, at both ends
        ticker = group.create_task(asyncio.sleep(3600))
        yield {"loop": id(asyncio.get_running_loop()), "shared": []}
        ticker.cancel()
    await asyncio.sleep(0.01)
    note("end")


app = App(lifespan=lifespan)


@app.on_worker_start
def start():
    note("worker start")


@app.on_worker_stop
def stop():
    note("worker stop")


@app.get("/state")
async def state(request: Request):
    request.state.mine = 1
    return {
        "own_loop": request.state.loop == id(asyncio.get_running_loop()),
        "begun": begun.get(),
        "mine_before": len(request.state.shared),
        "has": "mine" in request.state,
        "thread": threading.get_ident(),
    }


@app.get("/state/def", blocking=True)
def state_def(request: Request):
    return {"begun": begun.get(), "has_loop": isinstance(request.state["loop"], int)}


async def later(text: str, wait: float = 0.0) -> None:
    await asyncio.sleep(wait)
    note(f"{text} {begun.get()}")


def later_blocking(text: str) -> None:
    time.sleep(0.01)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        note(text)


def fails() -> None:
    raise ValueError("the task failed")


@app.get("/background/{kind}")
async def background(kind: str, tasks: BackgroundTasks):
    tasks.add_task(later, f"first {kind}")
    if kind == "fails":
        tasks.add_task(fails)
    tasks.add_task(later_blocking, f"second {kind}")
    if kind == "raises":
        raise RuntimeError("the handler failed")
    return {"queued": len(tasks.tasks)}


@app.get("/background-def", blocking=True)
def background_def(tasks: BackgroundTasks):
    tasks.add_task(later, "from the pool")
    return PlainTextResponse("ok")


@app.get("/background-response")
async def background_response():
    await asyncio.sleep(0)
    return PlainTextResponse("ok", background=BackgroundTask(later, "of a response"))


@app.get("/background-stream/{kind}")
async def background_stream(kind: str):
    def plain():
        yield "a"
        note("stream's last item")

    async def waiting():
        yield "a"
        note("stream's last item")

    return StreamingResponse(plain() if kind == "plain" else waiting(), background=BackgroundTask(later, "of a stream"))


@app.get("/slow-background/{ms}")
async def slow_background(ms: int, tasks: BackgroundTasks):
    tasks.add_task(later, "slow", ms / 1000)
    return {}


@app.get("/in-pool")
async def in_pool():
    begun.set("mine")
    name = await run_in_threadpool(lambda: (begun.get(), threading.get_ident()))
    return {"context": name[0], "elsewhere": name[1] != threading.get_ident()}


@app.get("/quick", blocking=False)
def quick():
    return {}


@app.get("/hold/{ms}", blocking=True)
def hold(ms: int):
    """C code that keeps the GIL: hashing of a buffer below the size at which hashlib lets go of it, many times."""
    end = time.perf_counter() + ms / 1000
    big = list(range(4_000_000))
    while time.perf_counter() < end:
        sum(big)
    return {}


@app.get("/digest")
async def digest():
    return {"md5": hashlib.md5(b"").hexdigest()}
