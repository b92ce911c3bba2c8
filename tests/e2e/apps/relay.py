"""`def` handlers that stay: each kind of waiting there is, ended by /release, never by time."""

import asyncio
import contextlib
import http.client
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

from oarlock import App, BackgroundTasks, HTTPException, Request, StreamingResponse

lock = threading.Lock()
gate = threading.Event()  # closed while handlers are to stay
inbox: "queue.Queue[int]" = queue.Queue()
done: list[str] = []
inside = 0
count = threading.Lock()


@contextlib.asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[dict]:
    yield {"loop": asyncio.get_running_loop(), "thread": threading.get_native_id()}


app = App(lifespan=lifespan)


@contextlib.contextmanager
def counted() -> Iterator[None]:
    global inside
    with count:
        inside += 1
    try:
        yield
    finally:
        with count:
            inside -= 1


def by_sleep() -> None:
    while not gate.is_set():
        time.sleep(0.01)


def by_socket() -> None:
    ours, theirs = socket.socketpair()
    threading.Thread(target=lambda: (gate.wait(), theirs.send(b"x"))).start()
    with ours, theirs:
        ours.recv(1)


def by_lock() -> None:
    held = threading.Lock()
    held.acquire()
    threading.Thread(target=lambda: (gate.wait(), held.release())).start()
    held.acquire()


def by_queue() -> None:
    box: queue.Queue[int] = queue.Queue()
    threading.Thread(target=lambda: (gate.wait(), box.put(1))).start()
    box.get()


def by_subprocess() -> None:
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (gate.wait(), os.close(writer))).start()
    subprocess.run([sys.executable, "-Ic", "import sys; sys.stdin.read()"], stdin=reader, check=True)
    os.close(reader)


def by_burning() -> None:
    while not gate.is_set():
        pass


KINDS = {name.removeprefix("by_"): function for name, function in list(globals().items()) if name.startswith("by_")}


@app.get("/stay/{kind}", blocking=False)
def stay(kind: str, result: str = "text"):
    with counted():
        KINDS[kind]()
    if result == "error":
        raise RuntimeError("an error after staying")
    if result == "refusal":
        raise HTTPException(418, "after staying")
    if result == "plain-stream":
        return StreamingResponse(str(i) for i in range(1000))
    if result == "async-stream":
        return StreamingResponse(items())
    return {"stayed": kind}


async def items() -> AsyncIterator[str]:
    for i in range(1000):
        await asyncio.sleep(0)
        yield str(i)


@app.get("/ourselves", blocking=False)
def ourselves(port: int):
    """Waits for an answer of the server that it runs in."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/async?wait=0.05")
    return connection.getresponse().status


@app.get("/ask-the-loop")
def ask_the_loop(request: Request):
    """Waits for what only the event loop can do; silent about where it runs, and quick."""
    return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "from the loop"), request.state.loop).result()


@app.get("/locked")
def locked():
    """Quick, until a streamed response holds the lock."""
    with lock:
        return "had it"


@app.get("/holder")
async def holder() -> StreamingResponse:
    async def body() -> AsyncIterator[str]:
        with lock:
            yield "locked"
            while not gate.is_set():
                await asyncio.sleep(0.005)
        yield "free"

    return StreamingResponse(body())


class Late:
    """Stays in iter(), before there is any item."""

    def __iter__(self) -> Iterator[str]:
        with counted():
            by_sleep()
        return iter(["late"])


@app.get("/late-iterator", blocking=False)
def late_iterator():
    return StreamingResponse(Late())


class Broken:
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no iterator")


@app.get("/fails/iterator", blocking=False)
def fails_iterator():
    return StreamingResponse(Broken())


@app.get("/fails/here", blocking=False)
def fails_here():
    raise RuntimeError("here")


@app.get("/fails/pool", blocking=True)
def fails_pool():
    raise RuntimeError("in the pool")


@app.get("/fails/async")
async def fails_async():
    raise RuntimeError("in a coroutine")


@app.get("/background", blocking=False)
def background(tasks: BackgroundTasks):
    by_sleep()
    tasks.add_task(done.append, "background")
    return "stayed"


@app.get("/quick", blocking=False)
def quick():
    return threading.get_native_id()


@app.get("/async")
async def waits(request: Request, wait: float = 0.001):
    task = asyncio.current_task()
    async with asyncio.timeout(20):
        await asyncio.sleep(wait)
    assert task is asyncio.current_task()
    assert asyncio.get_running_loop() is request.state.loop
    await asyncio.create_task(asyncio.sleep(0))
    return threading.get_native_id()


@app.get("/ticks")
async def ticks(n: int = 100):
    """How late a timer of 2 ms was: milliseconds, in order."""
    late = []
    for _ in range(n):
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        late.append((time.perf_counter() - began - 0.002) * 1e3)
    return sorted(late)


@app.get("/state")
async def state(request: Request):
    return {"inside": inside, "done": done, "open": gate.is_set(), "home": request.state.thread,
            "threads": len(os.listdir("/proc/self/task"))}  # fmt: skip


@app.get("/hold")
async def hold():
    gate.clear()


@app.get("/release")
async def release():
    gate.set()
