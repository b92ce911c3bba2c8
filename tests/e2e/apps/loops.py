"""What applications do to their event loop, and what it must survive: nested rounds, stops, bad timers, odd tasks."""

import asyncio
import contextvars
import inspect
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager

from oarlock import App, BackgroundTasks, Request, StreamingResponse

LOG = os.environ.get("LOOPS_LOG", os.devnull)
END = os.environ.get("LOOPS_END", "")
mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")


def note(text: str) -> None:
    with open(LOG, "a") as f:
        f.write(text + "\n")


async def linger() -> None:
    """A task of the application that says when it is cancelled."""
    try:
        await asyncio.sleep(3600)
    finally:
        note("a task was cancelled")
        if END == "slow task":
            await asyncio.sleep(1.5)
            note("a task has ended")


async def fails_when_told(trigger: asyncio.Event) -> None:
    await trigger.wait()
    raise ValueError("the lifespan's task failed")


async def answers(queue: asyncio.Queue) -> None:
    while True:
        question, answer = await queue.get()
        answer.set_result(f"{question} answered")


@asynccontextmanager
async def lifespan(app):
    trigger = asyncio.Event()
    queue: asyncio.Queue = asyncio.Queue()
    server = asyncio.create_task(answers(queue))
    lingering = asyncio.create_task(linger())
    async with asyncio.TaskGroup() as group:
        group.create_task(fails_when_told(trigger))
        group.create_task(asyncio.sleep(0))
        yield {"trigger": trigger}
        note("the lifespan ends")
        if END in ("SystemExit", "KeyboardInterrupt", "CancelledError"):
            raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}.get(END, asyncio.CancelledError)
        answer = asyncio.get_running_loop().create_future()
        await queue.put(("goodbye", answer))
        note(await asyncio.wait_for(answer, 5))
        if END == "never":
            await asyncio.sleep(3600)
        for task in group._tasks:
            task.cancel()
    note("the lifespan has ended")
    del server, lingering


app = App(lifespan=lifespan)


class Leave(Exception):
    """Raised by a signal handler."""


@app.on_worker_start
def start():
    def leave(number, frame):
        raise Leave("a signal handler raised")

    signal.signal(signal.SIGUSR2, leave)


@app.get("/pid", blocking=False)
def pid():
    return os.getpid()


@app.get("/stays/pool", blocking=True)
def stays_in_pool():
    note("a handler stays")
    time.sleep(3600)


@app.get("/stays/here", blocking=False)
def stays_here():
    note("a handler stays")
    time.sleep(3600)


@app.get("/fail-lifespan")
async def fail_lifespan(request: Request):
    request.state.trigger.set()
    return {}


# ---- rounds of the loop within a handler ------------------------------------------------------------


@app.get("/block/{ms}")
async def block(ms: int):
    """Keeps the loop, so that requests pile up and are one batch."""
    time.sleep(ms / 1000)
    return "blocked"


@app.get("/nested/{how}")
async def nested(how: str):
    loop = asyncio.get_running_loop()
    seen = []
    loop.call_soon(seen.append, "soon")
    if how == "waited":
        await asyncio.sleep(0)
        seen.clear()
        loop.call_soon(seen.append, "soon")
    child = loop.create_task(asyncio.sleep(0.01, "child"))
    if how == "select":
        events = loop._selector.select(0)
        assert all(key.fileobj is not None for key, _ in events)
        assert seen == []
        return {"ok": await child}
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(seen.append, "thread"))
    thread.start()
    for _ in range(10_000):
        loop._run_once()
        if child.done() and "thread" in seen:
            break
    thread.join()
    assert seen == ["soon", "thread"], seen
    if asyncio.current_task() is not None:
        assert asyncio.current_task().get_coro().__name__ == "nested", asyncio.current_task()
    return {"ok": child.result()}


@app.get("/nested-stream")
async def nested_stream():
    """A nested round waits for a descriptor that asyncio watches."""
    loop = asyncio.get_running_loop()

    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def ask():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        server.close()
        return line.decode()

    task = loop.create_task(ask())
    while not task.done():
        loop._run_once()
    return {"ok": task.result()}


answered = asyncio.Event()


@app.get("/answers-later/{ms}")
async def answers_later(ms: int):
    await asyncio.sleep(ms / 1000)
    answered.set()
    return {"later": "L" * 300}


@app.get("/nested-in-json")
async def nested_in_json():
    """While its response is being encoded others are made."""
    loop = asyncio.get_running_loop()
    answered.clear()

    def items():
        yield 1
        while not answered.is_set():
            loop._run_once()
        loop.call_soon(lambda: None)
        loop._run_once()
        yield 2

    return {"own": "O" * 300, "items": items()}


@app.get("/nest-asyncio/{when}")
async def with_nest_asyncio(when: str):
    import nest_asyncio

    nest_asyncio.apply()
    if when == "later":
        await asyncio.sleep(0.001)

    async def inner():
        await asyncio.sleep(0.01)
        return "inner"

    return {"ok": asyncio.get_running_loop().run_until_complete(inner())}


# ---- what must not end or wedge a loop ---------------------------------------------------------------


@app.get("/stop-loop")
async def stop_loop():
    asyncio.get_running_loop().stop()
    return {}


@app.get("/cancel-all")
async def cancel_all():
    for task in asyncio.all_tasks():
        if task.get_name() in ("oarlock",):
            task.cancel()
    return {}


@app.get("/timeout")
async def timeout(t: float):
    async with asyncio.timeout(t):
        await asyncio.sleep(0.02)
    return {}


@app.get("/call-later")
async def call_later(t: float):
    loop = asyncio.get_running_loop()
    try:
        handle = loop.call_later(t, print)
        loop.call_at(t, print).cancel()
    except ValueError as exc:
        return str(exc)
    handle.cancel()
    return "taken"


@app.get("/late")
async def late():
    await asyncio.sleep(0.005)
    return {}


@app.get("/with-factory/{kind}")
async def with_factory(kind: str, tasks: BackgroundTasks):
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda of, coro: asyncio.Task(coro, loop=of))

    async def pieces():
        for i in range(3):
            yield f"{i}"

    async def after():
        note("background work")

    tasks.add_task(after)
    return StreamingResponse(pieces()) if kind == "stream" else {}


@app.post("/two-readers", stream=True)
async def two_readers(request: Request):
    stream = request.stream()

    async def read():
        return sum([len(piece) async for piece in stream])

    tasks = [asyncio.ensure_future(read()) for _ in range(2)]
    await asyncio.sleep(0)
    note("two readers")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [r if isinstance(r, int) else f"{type(r).__name__}: {r}" for r in results]


# ---- handlers that are not plain coroutine functions ---------------------------------------------------


def marks(function):
    """A decorator that sets a variable before the coroutine exists."""

    def wrapper():
        before = mark.get()
        mark.set("mine")
        return function(before)

    return inspect.markcoroutinefunction(wrapper)


@app.get("/marked")
@marks
async def marked(before):
    return {"before": before, "inside": mark.get()}


class Awaitable:
    def __await__(self) -> Iterator[None]:
        yield from asyncio.sleep(0.001).__await__()
        return {"ok": "awaitable"}


def odd(function):
    app.get(f"/odd/{function.__name__}")(inspect.markcoroutinefunction(function))
    return function


@odd
def awaitable():
    return Awaitable()


@odd
def task():
    return asyncio.get_running_loop().create_task(asyncio.sleep(0.001, {"ok": "task"}))


@odd
def future():
    future = asyncio.get_running_loop().create_future()
    future.set_result({"ok": "future"})
    return future


@odd
def nothing():
    return {"ok": "not awaitable"}


# ---- a `def` and the world that it sees ----------------------------------------------------------------


async def seven():
    await asyncio.sleep(0)
    return 7


@app.get("/own-loop")
def own_loop():
    """Makes a loop where there is none, keeps it for the next time."""
    where = "loop" if threading.current_thread().name in ("MainThread", "oarlock-1") else "pool"
    try:
        loop = asyncio.get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return {"where": where, "seven": loop.run_until_complete(seven()), "run": asyncio_run()}


def asyncio_run():
    loop = asyncio.get_event_loop()
    try:
        return asyncio.run(seven())
    finally:
        asyncio.set_event_loop(loop)


# ---- anyio -----------------------------------------------------------------------------------------------


@app.get("/anyio")
async def with_anyio():
    import anyio.to_thread

    return await anyio.to_thread.run_sync(threading.get_native_id)
