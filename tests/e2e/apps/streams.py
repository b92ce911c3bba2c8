"""Bodies piece by piece, in both directions, and clients that leave."""

import asyncio
import contextlib
import contextvars
import os
import threading
import time

from oarlock import App, ClientDisconnect, Request, StreamingResponse

app = App()
events: list[str] = []
gates: dict[str, asyncio.Event] = {}
where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


@app.get("/events", blocking=False)
def get_events():
    return events


@app.get("/rss", blocking=False)
def rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- request bodies


@app.post("/count", stream=True, max_body=1 << 40)
async def count(request: Request):
    total = 0
    pieces = 0
    async for piece in request.stream():
        total += len(piece)
        pieces += 1
    return {"bytes": total, "pieces": min(pieces, 1) if total else 0}


@app.post("/count-def", stream=True, max_body=1 << 40)
def count_def(request: Request):
    return {"bytes": sum(len(piece) for piece in request.stream())}


@app.post("/whole", stream=True)
async def whole(request: Request):
    body = await request.body()
    return {"text": body.decode(), "again": (await request.body()).decode()}


@app.post("/whole-def", stream=True)
def whole_def(request: Request):
    return {"text": request.content.decode(), "again": request.content.decode()}


@app.post("/buffered")
async def buffered(request: Request):
    return {"text": b"".join([piece async for piece in request.stream()]).decode()}


@app.post("/small", max_body=10)
async def small(request: Request):
    return {"bytes": len(await request.body())}


@app.post("/small-stream", stream=True, max_body=10)
async def small_stream(request: Request):
    try:
        return {"bytes": len(await request.body())}
    except ClientDisconnect:
        events.append("small-stream cut")
        raise


@app.post("/ignore", stream=True)
async def ignore(request: Request):
    return {"ignored": True}


@app.post("/first", stream=True, max_body=1 << 40)
async def first(request: Request):
    """Reads one piece, then waits for /open/first before it reads on: the client is held back meanwhile."""
    stream = request.stream()
    size = len(await anext(stream))
    events.append("first waits")
    gates["first"] = asyncio.Event()
    await gates["first"].wait()
    async for piece in stream:
        size += len(piece)
    return {"bytes": size}


@app.post("/cut", stream=True)
async def cut(request: Request):
    try:
        async for _ in request.stream():
            events.append("cut has a piece")
    except ClientDisconnect:
        events.append("cut: ClientDisconnect")
        raise
    return {}


@app.post("/cut-def", stream=True)
def cut_def(request: Request):
    try:
        for _ in request.stream():
            events.append("cut-def has a piece")
    except ClientDisconnect:
        events.append("cut-def: ClientDisconnect")
        raise
    return {}


@app.post("/wrong-for", stream=True)
async def wrong_for(request: Request):
    try:
        for _ in request.stream():
            pass
    except RuntimeError as exc:
        return {"error": str(exc)}


@app.post("/twice", stream=True)
async def twice(request: Request):
    request.stream()
    try:
        request.stream()
    except RuntimeError as exc:
        return {"error": str(exc)}


# ---- responses


@app.get("/lines/{n}")
def lines(n: int):
    for i in range(n):
        yield f"line {i}\n"


@app.get("/async-lines/{n}")
async def async_lines(n: int):
    for i in range(n):
        if i % 2:
            await asyncio.sleep(0)
        yield f"line {i}\n"


@app.get("/response/{n}")
async def response(n: int):
    return StreamingResponse((b"x" for _ in range(n)), 201, {"x-kind": "plain"}, "text/plain")


@app.get("/from-def/{n}")
def from_def(n: int):
    async def items():
        for _ in range(n):
            yield b"y"

    return StreamingResponse(items())


@app.get("/big/{megabytes}")
async def big(megabytes: int):
    async def items():
        block = bytes(65536)
        for _ in range(megabytes * 16):
            yield block

    return StreamingResponse(items())


@app.get("/big-def/{megabytes}")
def big_def(megabytes: int):
    block = bytes(65536)
    for _ in range(megabytes * 16):
        yield block


@app.get("/endless/{name}")
async def endless(name: str):
    try:
        while True:
            yield "tick\n"
            await asyncio.sleep(0.01)
    finally:
        events.append(f"{name} closed")


@app.get("/endless-def/{name}")
def endless_def(name: str):
    try:
        while True:
            yield "tick\n" * 1000
    finally:
        events.append(f"{name} closed in {threading.current_thread() is not threading.main_thread()}")


@app.get("/nothing/{name}")
async def nothing(name: str):
    try:
        yield "tick\n"
        while True:
            with contextlib.suppress(asyncio.CancelledError):  # as a library may
                await asyncio.sleep(0.01)
            yield ""
    finally:
        events.append(f"{name} closed")


@app.get("/nothing-def/{name}")
def nothing_def(name: str):
    try:
        yield "tick\n"
        while True:
            time.sleep(0.01)  # looks whether there is something to say
            yield ""
    finally:
        events.append(f"{name} closed")


@app.get("/quiet")
async def quiet():
    try:
        yield "begun\n"
        await asyncio.sleep(3600)
    finally:
        events.append("quiet closed")


@app.get("/breaks")
async def breaks():
    yield "half"
    raise ValueError("the source broke")


@app.get("/breaks-def")
def breaks_def():
    yield "half"
    raise ValueError("the source broke")


@app.get("/wrong-type")
def wrong_type():
    yield 1


@app.get("/empty-pieces")
def empty_pieces():
    yield ""
    yield b"a"
    yield b""
    yield bytearray(b"b")


@app.get("/no-content")
async def no_content():
    async def items():
        events.append("no-content ran")
        yield b"x"

    return StreamingResponse(items(), 204)


@app.get("/context")
async def context():
    where.set("handler")

    async def items():
        await asyncio.sleep(0)
        yield where.get()

    return StreamingResponse(items())


@app.get("/context-def")
def context_def():
    where.set("handler")
    return StreamingResponse(where.get() for _ in range(1))


@app.post("/echo", stream=True, max_body=1 << 40)
async def echo(request: Request):
    return StreamingResponse(request.stream())


# ---- clients that leave, and deadlines


async def _sleep(name: str) -> dict:
    events.append(f"{name} runs")
    gates[name] = asyncio.Event()
    try:
        await gates[name].wait()
    except asyncio.CancelledError:
        events.append(f"{name} cancelled")
        raise
    events.append(f"{name} ends")
    return {}


@app.get("/open/{name}")
async def open_gate(name: str):
    gates[name].set()
    return {}


@app.get("/wait/{name}")
async def wait(name: str, request: Request):
    result = await _sleep(name)
    events.append(f"{name} disconnected {await request.is_disconnected()} {request.disconnected}")
    return result


@app.get("/cancel/{name}", cancel_on_disconnect=True)
async def cancel(name: str):
    return await _sleep(name)
