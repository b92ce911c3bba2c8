"""The application of the end-to-end tests: every kind of route, parameter and answer."""

import asyncio
import dataclasses
import datetime
import decimal
import enum
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextvars import ContextVar
from typing import Annotated

from oarlock import (
    App,
    HTMLResponse,
    HTTPException,
    JSONResponse,
    PlainTextResponse,
    Query,
    RedirectResponse,
    Request,
    Response,
    Router,
)

app = App()
VAR: ContextVar[str] = ContextVar("VAR", default="unset")


@app.get("/", blocking=False)
def root():
    return {"message": "hello"}


@app.get("/async")
async def root_async():
    return {"message": "hello"}


@app.get("/pool")
def in_pool():
    return {"main": threading.current_thread() is threading.main_thread()}


@app.get("/wait/{ms}")
async def wait(ms: int):
    await asyncio.sleep(ms / 1000)
    return {"waited": ms}


@app.get("/block/{ms}")
def block(ms: int):
    time.sleep(ms / 1000)
    return {"blocked": ms}


@app.get("/stuck/{ms}", blocking=False)
def stuck(ms: int):
    time.sleep(ms / 1000)
    return {"stuck": ms}


@app.get("/stuck-later/{ms}")
async def stuck_later(ms: int):
    await asyncio.sleep(0.001)
    time.sleep(ms / 1000)
    return {"stuck": ms}


@app.get("/items/{item_id}")
async def item(item_id: int, q: str | None = None, short: bool = False):
    return {"item_id": item_id, "q": q, "short": short}


@app.get("/types/{f}/{u}", blocking=False)
def types(f: float, u: uuid.UUID, b: bool, s: str = "standard", *, n: int = 7):
    return {"f": f, "u": u, "b": b, "s": s, "n": n}


@app.get("/alias", blocking=False)
def alias(of: Annotated[int, Query(alias="from")], to: int = Query(5)):
    return {"from": of, "to": to}


@app.get("/users/me", blocking=False)
def me():
    return "me"


@app.get("/users/{name}", blocking=False)
def user(name: str):
    return name


@app.get("/numbers/{n:int}", blocking=False)
def number(n: int):
    return n


@app.get("/files/{path:path}", blocking=False)
def files(path: str):
    return {"path": path}


@app.get("/café", blocking=False)
def unicode_path():
    return {"café": "ü€😀"}


@app.post("/echo", blocking=False)
def echo(request: Request):
    return Response(request.content, media_type="application/octet-stream")


@app.post("/json")
async def json_body(request: Request):
    return {"got": await request.json()}


@app.put("/put", status_code=201, blocking=False)
def put():
    return {"created": True}


@app.patch("/patch", blocking=False)
def patch():
    return []


@app.delete("/delete", status_code=204, blocking=False)
def delete():
    return None


@app.route("/many", methods=["GET", "POST", "OPTIONS"], blocking=False)
def many(request: Request):
    return request.method


@app.trace("/trace", blocking=False)
def trace():
    return "trace"


@app.head("/head-only", blocking=False)
def head_only():
    return {"never": "seen"}


@app.get("/text", response_class=PlainTextResponse, blocking=False)
def text():
    return "text, ü"


@app.get("/html", response_class=HTMLResponse, blocking=False)
async def html():
    return "<p>page</p>"


@app.get("/response", blocking=False)
def response():
    r = JSONResponse({"a": 1}, status_code=202, headers={"X-One": "1"})
    r.headers.append("x-two", "2")
    r.set_cookie("k", "v", httponly=True)
    return r


@app.get("/redirect", blocking=False)
def redirect():
    return RedirectResponse("/a b?c=ü")


@app.get("/null", blocking=False)
def null():
    return None


@app.get("/not-modified", blocking=False)
def not_modified():
    return Response(status_code=304)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    y: float


@app.get("/encode", blocking=False)
def encode():
    return {
        "datetime": datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
        "date": datetime.date(2026, 1, 2),
        "time": datetime.time(1, 2, 3),
        "delta": datetime.timedelta(days=1, milliseconds=5),
        "uuid": uuid.UUID(int=1),
        "decimal": [decimal.Decimal("1.50"), decimal.Decimal("7"), decimal.Decimal("1E+2")],
        "enum": [Colour.RED, Level.HIGH],
        "point": Point(1, 2.5),
        "tuple": (1, "a", None, True, 1e100, -0.0),
        "set": {3},
        "frozen": frozenset("x"),
        "bytes": b"bytes",
        "path": pathlib.PurePosixPath("/a"),
        "big": 2**100,
        "generator": (i for i in range(3)),
        1: "int key",
        None: "null key",
        False: "bool key",
        "escapes": '"\\/\b\f\n\r\t\x00\x1f\x7f\u2028',
        "surrogate": "\ud800x",
    }


@app.get("/nan", blocking=False)
def nan():
    return float("nan")


@app.get("/cycle", blocking=False)
def cycle():
    a: list = []
    a.append(a)
    return a


@app.get("/object", blocking=False)
def unknown_object():
    return object()


@app.get("/raise/{kind}", blocking=False)
def raises(kind: str):
    return _raise(kind)


@app.get("/raise-async/{kind}")
async def raises_async(kind: str):
    if kind.startswith("late-"):
        await asyncio.sleep(0.001)
    return _raise(kind.removeprefix("late-"))


@app.get("/raise-pool/{kind}")
def raises_pool(kind: str):
    return _raise(kind)


def _raise(kind: str):
    match kind:
        case "http":
            raise HTTPException(418, {"short": "stout"}, headers={"X-Pot": "tea"})
        case "http-default":
            raise HTTPException(404)
        case "value":
            raise ValueError("a secret that must not leave")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "header":
            return Response(headers={"X": "a\r\nSet-Cookie: b"})
        case "status":
            return Response(status_code=999)
        case "body":
            return Response({"a": 1})
    return None


@app.get("/request/{a}/{b:path}", blocking=False)
def request_view(request: Request, a: str, b: str):
    assert request.client is not None
    return {
        "method": request.method,
        "path": request.path,
        "params": request.path_params,
        "query": list(request.query_params.multi_items()),
        "header": request.headers.get("x-Header"),
        "cookies": request.cookies,
        "host": request.client.host,
        "version": request.http_version,
        "a": a,
        "b": b,
    }


@app.get("/context/{value}")
async def context(value: str):
    before = VAR.get()
    VAR.set(value)
    await asyncio.sleep(0.001)
    return {"before": before, "after": VAR.get()}


@app.get("/context-def/{value}", blocking=False)
def context_def(value: str):
    before = VAR.get()
    VAR.set(value)
    return {"before": before}


@app.get("/semantics")
async def semantics():
    task = asyncio.current_task()
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        children = [group.create_task(asyncio.sleep(0, i)) for i in range(3)]
    return {
        "task": task is not None and task in asyncio.all_tasks(),
        "children": [c.result() for c in children],
        "thread": await asyncio.to_thread(lambda: threading.current_thread() is not threading.main_thread()),
    }


def _square(n: int) -> int:
    return n * n


@app.get("/processes/{method}")
def processes(method: str):
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(_square, [2, 3])


@app.get("/subprocess")
def run_subprocess():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; print('out'); sys.exit(3)"], capture_output=True, text=True
    )
    return {"out": done.stdout, "status": done.returncode}


@app.get("/subprocess-async")
async def run_subprocess_async():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print('out'); raise SystemExit(4)", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return {"out": out.decode(), "status": process.returncode}


@app.get("/sockets")
async def sockets():
    async def serve(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"ping\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return answer.decode()


@app.get("/pid", blocking=False)
def pid():
    return {"pid": os.getpid(), "thread": threading.get_native_id()}


@app.get("/gil", blocking=False)
def gil():
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {"gil": enabled, "executable": sys.executable, "cpus": os.process_cpu_count()}


@app.get("/crash", blocking=False)
def crash():
    os.kill(os.getpid(), signal.SIGKILL)


sub = Router(prefix="/sub")


@sub.get("", blocking=False)
def sub_root():
    return "sub root"


@sub.get("/{x}/", blocking=False)
def sub_slash(x: str):
    return x


app.include_router(sub, prefix="/v1")


@app.get("/host", blocking=False)
def host(request: Request):
    return request.headers["host"]


@app.get("/who", blocking=False)
def who(request: Request):
    return {"client": request.client, "url": str(request.url), "base_url": str(request.base_url)}
