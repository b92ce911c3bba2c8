"""Handlers that stay on the thread that drives their event loop, for minutes, beside every other kind of handler.

usage: stays.py [--silent] [--bar] [--time SECONDS] [--python gil|ft] [--threads N] [--clients N] [--seed N]
One worker. Clients ask for `def` handlers that sleep for up to 6 ms on the driving thread, that wait for a lock which a
streamed response holds, that wait for a coroutine on their own event loop, that are promoted and then slow; for
coroutines, streams and answers from C; and some leave before their answer. Each answer carries what the client sent.
An honest client calls a quick `def`, open loop, alone and beside them. Exit status 1 if an answer is wrong or lost, if
the worker was replaced, or if threads, descriptors or objects are left; with --bar also if fewer than --handovers a
minute took place.
Each handover holds the loop up for --blocking-threshold, so the honest client's p99 is only shown. With --silent no
handler is pinned: those that stay move to the pool, and with --bar that p99 must be within 3 x of its p99 alone (medians
of slices).
Nothing but 127.0.0.1 is spoken to.
"""

import argparse
import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, load, serve, worker

APP = """
import asyncio, gc, os, threading, time
from contextlib import asynccontextmanager
from oarlock import App, BackgroundTasks, Request, StreamingResponse

lock = threading.Lock()
after = 0

@asynccontextmanager
async def lifespan(app):
    yield {"loop": asyncio.get_running_loop()}

app = App(lifespan=lifespan)

@app.get("/quick", blocking=False)
def quick():
    return "quick"

@app.get("/sleeps/{n}", blocking=False)
def sleeps(n: int, ms: float):
    time.sleep(ms / 1000)
    return n

@app.get("/promoted/{n}")
def promoted(n: int, ms: float = 0):
    if ms:
        time.sleep(ms / 1000)
    return n

@app.get("/locked/{n}", blocking=False)
def locked(n: int):
    with lock:
        return n

@app.get("/holds/{n}")
async def holds(n: int):
    async def body():
        if lock.acquire(blocking=False):
            try:
                yield f"{n} "
                await asyncio.sleep(0.004)
            finally:
                lock.release()
        yield f"{n}"
    return StreamingResponse(body())

@app.get("/asks/{n}", blocking=False)
def asks(n: int, request: Request):
    return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.002, n), request.state.loop).result()

@app.get("/pieces/{n}", blocking=False)
def pieces(n: int):
    time.sleep(0.002)
    return StreamingResponse(f"{n} " for _ in range(50))

@app.get("/later/{n}", blocking=False)
def later(n: int, tasks: BackgroundTasks):
    def count():
        global after
        after += 1
    time.sleep(0.002)
    tasks.add_task(count)
    return n

@app.get("/raises/{n}", blocking=False)
def raises(n: int):
    time.sleep(0.002)
    from oarlock import HTTPException
    raise HTTPException(418, str(n))

@app.get("/waits/{n}")
async def waits(n: int):
    async with asyncio.timeout(20):
        task = asyncio.current_task()
        await asyncio.sleep(0.003)
        assert task is asyncio.current_task()
    return n

@app.get("/left")
async def left():
    gc.collect()
    return {"objects": len(gc.get_objects()), "threads": len(os.listdir("/proc/self/task")),
            "descriptors": len(os.listdir("/proc/self/fd")), "tasks": len(asyncio.all_tasks())}
"""

KINDS = {  # path -> what must come
    "/sleeps/{n}?ms={ms}": "{n}",
    "/promoted/{n}": "{n}",
    "/promoted/{n}?ms=3": "{n}",
    "/locked/{n}": "{n}",
    "/holds/{n}": None,
    "/asks/{n}": "{n}",
    "/pieces/{n}": "pieces",
    "/later/{n}": "{n}",
    "/raises/{n}": '{{"detail":"{n}"}}',
    "/waits/{n}": "{n}",
    "/nowhere/{n}": '{{"detail":"Not Found"}}',
}
OFTEN = "/sleeps/{n}?ms={ms}"


class Wrong(Exception):
    pass


async def answer(reader: asyncio.StreamReader) -> str:
    """The body of one response, by length or chunked."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"content-length: (\d+)", head, re.I)
    if length:
        return (await reader.readexactly(int(length[1]))).decode()
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body.decode()


async def client(port: int, seed: int, end: float, counts: dict[str, int]) -> None:
    draw = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        kind = OFTEN if draw.random() < 0.6 else draw.choice(list(KINDS))
        n, ms = draw.randrange(10**9), round(draw.uniform(0, 6), 2)
        writer.write(f"GET {kind.format(n=n, ms=ms)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        if draw.random() < 0.02:  # leaves before the answer, one way or the other
            await asyncio.sleep(draw.uniform(0, 0.004))
            writer.transport.abort() if draw.random() < 0.5 else writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            counts["left"] += 1
            continue
        got = await asyncio.wait_for(answer(reader), 30)
        wanted = KINDS[kind]
        if wanted == "pieces":
            right = got == f"{n} " * 50
        elif wanted is None:
            right = got in (f"{n} {n}", f"{n}")
        else:
            right = got == wanted.format(n=n)
        if not right:
            raise Wrong(f"{kind} with {n} was answered {got!r} (seed {seed})")
        counts["answered"] += 1
        await asyncio.sleep(draw.uniform(0, 0.02))
    writer.close()


async def ask(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    try:
        return await asyncio.wait_for(answer(reader), 30)
    finally:
        writer.close()


async def settled(port: int) -> dict[str, int]:
    """What the worker holds when nothing moves any more: the least of some looks."""
    looks = []
    for _ in range(10):
        looks.append({k: int(v) for k, v in re.findall(r'"(\w+)":\s*(\d+)', await ask(port, "/left"))})
        await asyncio.sleep(0.2)
    return min(looks, key=lambda look: (look["descriptors"], look["objects"]))


def handovers(pid: int) -> int:
    live = [str(ROOT / "build/oarlock"), "routes", "--live", str(pid)]
    text = subprocess.run(live, capture_output=True, text=True, check=True).stdout
    return sum(int(n) for n in re.findall(r" (\d+) x, \d+ ms", text))


async def crowd(args: argparse.Namespace, port: int, seconds: float) -> dict[str, int]:
    counts = {"answered": 0, "left": 0}
    end = time.monotonic() + seconds
    await asyncio.gather(*(client(port, args.seed * 1000 + i, end, counts) for i in range(args.clients)))
    return counts


async def soak(args: argparse.Namespace, server: subprocess.Popen[bytes], port: int, core: int) -> int:
    first = worker(server)
    await crowd(args, port, 3)  # all that is made once is made
    load(port, core, 1, "/quick")
    before, taken, rate = await settled(port), handovers(server.pid), 500.0
    alone = [load(port, core, 3, "/quick", rate)["p99_us"] for _ in range(5)]
    beside: list[float] = []
    began = time.monotonic()
    running = asyncio.create_task(crowd(args, port, args.time))
    while not running.done() and time.monotonic() - began < args.time - 3:
        found = await asyncio.to_thread(load, port, core, 3, "/quick", rate)
        beside.append(found["p99_us"])
    counts = await running
    taken = handovers(server.pid) - taken
    after = await settled(port)
    a_minute = taken * 60 / args.time
    ratio = statistics.median(beside) / statistics.median(alone)
    grown = {k: after[k] - before[k] for k in before}
    same = worker(server) == first
    print(f"stays ({args.python}, {args.threads} event loops), {args.time:.0f} s, seed {args.seed}: {counts}")
    print(
        f"  handovers   {taken}, {a_minute:,.0f} a minute" + ("" if args.silent else f" (at least {args.handovers:,})")
    )
    print(f"  p99 alone   {sorted(round(v) for v in alone)} us")
    print(
        f"  p99 beside  {sorted(round(v) for v in beside)} us; ratio of the medians {ratio:.2f}"
        + (" (at most 3)" if args.silent else "")
    )
    print(f"  left at the end {after}, grown by {grown}; the worker {'is the same' if same else 'was replaced'}")
    clean = grown["descriptors"] <= 2 and grown["objects"] <= 500 and grown["threads"] <= 45 and after["tasks"] <= 4
    kept = not args.bar or (ratio <= 3 if args.silent else a_minute >= args.handovers)
    return 0 if same and clean and kept else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bar", action="store_true", help="figures count, not only answers and what is left")
    parser.add_argument("--silent", action="store_true", help="no handler but the honest client's is pinned")
    parser.add_argument("--time", type=float, default=60, help="seconds with the crowd")
    parser.add_argument("--python", default="gil", choices=("gil", "ft"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--handovers", type=int, default=10000, help="a minute, at least")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pinned, silent = '{n}", blocking=False)', '{n}")'
        (folder / "stays.py").write_text(APP.replace(pinned, silent) if args.silent else APP)
        server, port = serve(
            "stays:app", folder, args.python, cores[0], folder / "log", "--threads", str(args.threads)
        )  # fmt: skip
        try:
            status = asyncio.run(soak(args, server, port, cores[-1]))
        except Wrong as exc:
            print(f"stays: {exc}\n{(folder / 'log').read_text()[-3000:]}")
            status = 1
        finally:
            server.terminate()
            try:
                if server.wait(60) != 0:
                    print(f"the server ended with status {server.returncode}")
            except subprocess.TimeoutExpired:
                print("the server did not end")
                server.kill()
    sys.exit(status or server.returncode)


if __name__ == "__main__":
    main()
