"""What users of FastAPI and Starlette write, and a client may make of it: requests, responses, JSON both ways."""

import asyncio
import json
import sys
from collections import UserDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from oarlock import (
    URL,
    App,
    Headers,
    HTTPException,
    JSONResponse,
    MutableHeaders,
    PlainTextResponse,
    QueryParams,
    Request,
    Response,
    StreamingResponse,
)

CATALOGUE = [f"Füßchen № {i}" + "é" * 1000 for i in range(2000)] + [f"漢字 {i} 😀" for i in range(2000)]


@asynccontextmanager
async def lifespan(app):
    app.state.begun = True
    yield {"of_loop": 1}


app = App(lifespan=lifespan)


# ---- JSON ----


@app.post("/json")
async def read_json(request: Request):
    return {"got": await request.json()}


@app.post("/json/text")
async def read_json_text(request: Request):
    return PlainTextResponse(str(await request.json()))


@app.post("/json/caught")
async def read_json_caught(request: Request):
    try:
        return await request.json()
    except json.JSONDecodeError as exc:
        return {"caught": exc.msg, "pos": exc.pos}


@app.post("/json/twice")
async def read_json_twice(request: Request):
    return await request.json() is await request.json()


@app.get("/json/upstream")
async def upstream():
    return json.loads("{")  # not the client's mistake


@app.get("/float")
async def floats(t: float):
    return {"t": t, "in": [t], t: "key"}


@app.get("/catalogue")
async def catalogue():
    return CATALOGUE


@app.get("/catalogue/stream")
def catalogue_stream():
    return StreamingResponse(CATALOGUE)


@app.get("/catalogue/size")
async def catalogue_size():
    return sum(map(sys.getsizeof, CATALOGUE))


class Record:
    def __init__(self):
        self.a = 1
        self._sa_instance_state = object()


class Pairs:
    def __iter__(self):
        return iter([("a", 1), ("b", 2)])


class Row:
    def keys(self):
        return ["x"]

    def __getitem__(self, key):
        return 9


@app.get("/objects")
async def objects():
    return {
        "vars": Record(),
        "pairs": Pairs(),
        "row": Row(),
        "mapping": UserDict(a=1),
        "headers": Headers({"A": "b"}),
        "url": URL("http://a/b"),
    }


@app.get("/mistake/{kind}")
async def mistakes(kind: str):
    return {
        "function": mistakes,
        "type": Record,
        "coroutine": asyncio.sleep(0),
        "iterator": iter(["ab"]),
        "keys": {"ab": 1}.keys(),
    }[kind]


# ---- requests ----


@app.get("/convertors/{i:int}/{f:float}/{u:uuid}/{s}/{p:path}")
async def convertors(request: Request):
    return {name: [type(value).__name__, value] for name, value in request.path_params.items()}


@app.get("/huge/{i:int}")
async def huge(request: Request):
    return type(request.path_params["i"]).__name__


@app.get("/url/{rest:path}")
async def url(request: Request):
    u = request.url
    return {
        "url": str(u),
        "path": u.path,
        "query": u.query,
        "netloc": u.netloc,
        "port": u.port,
        "secure": u.is_secure,
        "raw_path": request.raw_path,
        "changed": str(u.replace(port=9, path="/x", query="")),
        "with": str(u.include_query_params(b=2, n=1)),
        "without": str(u.remove_query_params("b")),
        "repr": repr(URL("http://u:secret@h/")),
    }


@app.get("/headers")
async def headers(request: Request):
    h = request.headers
    mutable = h.mutablecopy()
    mutable["x-a"] = "new"
    mutable.add_vary_header("accept")
    return {
        "items": [pair for pair in h.items() if pair[0].startswith("x-")],
        "keys": [name for name in h if name.startswith("x-")],
        "getlist": h.getlist("X-A"),
        "first": h["X-a"],
        "raw": [(n, v.decode("latin-1")) for n, v in h.raw if n.startswith(b"x-")],
        "in": ["X-A" in h, "x-€" in h, "x-none" in h],
        "mutable": mutable.getlist("x-a"),
        "repr": [repr(Headers({"A": "b"})), repr(Headers(raw=[(b"a", b"1"), (b"a", b"2")])), repr(MutableHeaders())],
    }


@app.get("/query")
async def query(request: Request):
    q = request.query_params
    return {
        "dict": dict(q),
        "multi": q.multi_items(),
        "getlist": q.getlist("a"),
        "str": str(q),
        "repr": repr(QueryParams({"a": 1})),
        "equal": QueryParams("a=1&b=2") == QueryParams([("b", 2), ("a", 1)]),
    }


@app.get("/state")
async def state(request: Request):
    request.state.own = 2
    request.app.state.seen = True
    del request.state["own"]
    return [app.state.begun, request.app is app, request.app.state.seen, list(request.state), repr(request.state)]


@app.get("/exception")
async def exception():
    e = HTTPException(404, "no such thing")
    return [str(e), repr(e)]


@app.get("/exception/{status}")
async def exception_status(status: int):
    raise HTTPException(status, headers={"ETag": '"1"'})


# ---- cookies ----


@app.get("/cookies")
async def cookies(request: Request):
    return request.cookies


@app.post("/cookies")
async def set_cookies(request: Request):
    response = Response()
    for name, value in (await request.json()).items():
        response.set_cookie(name, value)
    return response


@app.get("/cookies/all")
async def cookie_attributes():
    response = Response()
    response.set_cookie(
        "a",
        "1",
        3600,
        datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        "/p",
        "example.org",
        secure=True,
        httponly=True,
        samesite="none",
        partitioned=True,
    )
    response.set_cookie("b", "2", expires=60, samesite=None)
    response.delete_cookie("c", secure=True, httponly=True, samesite="strict")
    return response


# ---- responses ----


@app.get("/response/headers")
async def response_headers():
    r = JSONResponse({}, headers={"X-A": "1"})
    kind = r.headers["content-type"]
    r.headers.append("x-a", "2")
    r.headers |= {"x-b": "3"}
    r.headers.setdefault("x-b", "4")
    return JSONResponse([kind, r.headers.getlist("x-a"), r.headers["x-b"], r.raw_headers, len(r.headers)])


@app.get("/response/type")
async def response_type():
    r = PlainTextResponse("x", headers={"Content-Type": "text/csv"})
    return r


@app.get("/length/{given}/{real}")
async def length(given: str, real: int, step: int = 10):
    async def pieces():
        for at in range(0, real, step):
            yield b"x" * min(step, real - at)
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), headers={"Content-Length": given}, media_type="application/zip")


@app.get("/length-def/{given}/{real}")
def length_def(given: str, real: int):
    return StreamingResponse((b"x" for _ in range(real)), headers={"Content-Length": given})


@app.get("/generator")
async def generator():
    yield "tick\n"


@app.get("/generator/bytes")
def generator_bytes() -> Iterator[bytes]:
    yield b"\x00"


@app.get("/generator/async-bytes")
async def generator_async_bytes() -> AsyncIterator[bytes]:
    yield b"\x00"


class Events(StreamingResponse):
    media_type = "text/event-stream"


@app.get("/generator/events", response_class=Events)
async def generator_events():
    yield "data: 1\n\n"
