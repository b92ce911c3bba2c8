"""All that the other applications here offer, in one."""

import gc
import os

import life
import semantics
from oarlock import App, Request, StreamingResponse

app = App(lifespan=life.lifespan)
app.include_router(semantics.app)
app.include_router(life.app)
shared: dict[str, int] = {}


@app.post("/echo")
async def echo(request: Request):
    return {"length": len(await request.body()), "json": await request.json()}


@app.post("/upload", stream=True)
async def upload(request: Request):
    return {"length": sum([len(piece) async for piece in request.stream()])}


@app.post("/upload-def", stream=True)
def upload_def(request: Request):
    return {"length": sum(len(piece) for piece in request.stream())}


@app.get("/pieces/{count}")
def pieces(count: int):
    return StreamingResponse(str(i) * 100 for i in range(count))


@app.get("/pieces-async/{count}")
async def pieces_async(count: int):
    async def items():
        for i in range(count):
            yield str(i) * 100

    return StreamingResponse(items())


@app.get("/shared/{key}")
def change_shared(key: str, request: Request):
    shared[key] = shared.get(key, 0) + 1
    return {**shared, "path": request.path, "agent": request.headers.get("user-agent")}


@app.get("/raises", blocking=True)
def raises():
    raise RuntimeError("in the pool")


@app.get("/collect", blocking=True)
def collect():
    return {"collected": gc.collect()}


@app.get("/left", blocking=False)
def left():
    gc.collect()
    return {"descriptors": len(os.listdir("/proc/self/fd")), "objects": len(gc.get_objects())}
