"""Handlers that wait or compute in the pool, and which of its threads they ran in."""

import os
import resource
import threading
import time

from oarlock import App

app = App()
meetings: dict[int, threading.Barrier] = {}
lock = threading.Lock()


@app.get("/meet/{n}", blocking=True)
def meet(n: int) -> int:
    """Returns when `n` of them run at once."""
    with lock:
        barrier = meetings.setdefault(n, threading.Barrier(n))
    barrier.wait(20)
    return threading.get_native_id()


@app.get("/burn", blocking=True)
def burn() -> int:
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    return threading.get_native_id()


@app.get("/where", blocking=True)
def where() -> int:
    return threading.get_native_id()


@app.get("/no-room-for-a-stack")
async def no_room() -> int:
    """From here on the process has a little memory for itself, and none for another thread."""
    with open("/proc/self/statm", "rb") as f:
        size = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + (7 << 20),) * 2)
    return size
