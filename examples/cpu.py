"""Five ways to do CPU-bound work, and a health check beside them. What each does to the others is the lesson.

    oarlock run cpu:app --app-dir examples                      # one worker with the GIL for each core
    oarlock run cpu:app --app-dir examples --python ft          # one worker, a thread for each core

The work is the sum of i*i below 10,000,000, about a second of Python.
"""

import asyncio
import threading

from oarlock import App, BackgroundTasks, run_in_threadpool

N = 10_000_000
PIECE = 100_000
app = App(title="CPU-bound work")
done = {"background": 0}
lock = threading.Lock()  # pool threads count at once; `oarlock doctor` asks for it


def work() -> int:
    """All at once."""
    total = 0
    for i in range(N):
        total += i * i
    return total


@app.get("/health", blocking=False)
def health():
    """What a load balancer asks. How long it takes while others work is what matters."""
    return {"status": "ok"}


@app.get("/generator")
async def generator():
    """On the event loop, in one piece: nothing else on this loop is answered meanwhile."""
    return {"sum": sum(i * i for i in range(N))}


@app.get("/cycle")
async def cycle():
    """On the event loop, in a loop: the same."""
    return {"sum": work()}


@app.get("/cycle_sleep")
async def cycle_sleep():
    """On the event loop, letting others run every 100,000 numbers: others wait about 10 ms."""
    total = 0
    for start in range(0, N, PIECE):
        for i in range(start, start + PIECE):
            total += i * i
        await asyncio.sleep(0)
    return {"sum": total}


@app.get("/thread")
async def thread():
    """In a thread: the loop stays free. With the GIL the threads take turns; without they use all cores."""
    return {"sum": await run_in_threadpool(work)}


@app.get("/plain")
def plain():
    """A `def` says the same in one word: it runs in the thread pool because it is not quick."""
    return {"sum": work()}


def count() -> None:
    """The background task."""
    work()
    with lock:
        done["background"] += 1


@app.get("/background")
async def background(tasks: BackgroundTasks):
    """Answered at once; the work follows in a thread."""
    tasks.add_task(count)
    return {"queued": True}


@app.get("/background/done", blocking=False)
def background_done():
    """How many of them are done in this process."""
    return done
