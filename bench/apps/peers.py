"""The built-in scenarios' answers (python/oarlock/compare/builtin.py) from other servers' applications, byte for byte.

usage: peers.py bjoern|fastpysgi|aiohttp|robyn|socketify|turboapi PORT; the ASGI servers import `peers:fastapi` or `peers:starlette`
"""

import asyncio
import json
import sys
import time

from others import serve_wsgi

QUICK = {"id": 7, "name": "oarlock", "tags": ["fast", "small"], "price": 9.75, "in_stock": True}
PIECES, PIECE = 10, 24_000


def work(n):
    total = 0
    for i in range(n):
        total += i * i
    return total


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/json":
        body = json.dumps(QUICK, separators=(",", ":")).encode()
    else:
        body = json.dumps({"sum": work(12_000)}, separators=(",", ":")).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def make_fastapi():
    from fastapi import BackgroundTasks, FastAPI
    from starlette.concurrency import run_in_threadpool

    app = FastAPI(openapi_url=None)

    @app.get("/json")
    def quick():
        return QUICK

    @app.get("/async")
    async def not_waiting():
        return QUICK

    @app.get("/sleep")
    async def sleep():
        await asyncio.sleep(0.01)
        return {"slept": 10}

    @app.get("/blocking")
    def blocking():
        time.sleep(0.01)
        return {"blocked": 10}

    @app.get("/cpu")
    def cpu():
        return {"sum": work(12_000)}

    @app.get("/five/generator")
    async def generator():
        return {"sum": sum(i * i for i in range(PIECES * PIECE))}

    @app.get("/five/cycle")
    async def cycle():
        return {"sum": work(PIECES * PIECE)}

    @app.get("/five/cycle_sleep")
    async def cycle_sleep():
        total = 0
        for start in range(0, PIECES * PIECE, PIECE):
            for i in range(start, start + PIECE):
                total += i * i
            await asyncio.sleep(0)
        return {"sum": total}

    @app.get("/five/thread")
    async def thread():
        return {"sum": await run_in_threadpool(work, PIECES * PIECE)}

    @app.get("/five/background")
    async def background(tasks: BackgroundTasks):
        tasks.add_task(work, PIECES * PIECE)
        return {"queued": True}

    return app


def make_starlette():
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def quick(_):
        return JSONResponse(QUICK)

    return Starlette(routes=[Route("/json", quick)])


def __getattr__(name):
    """Made only where it is asked for: the WSGI servers' figures are without it."""
    if name == "fastapi":
        return make_fastapi()
    if name == "starlette":
        return make_starlette()
    raise AttributeError(name)


if __name__ == "__main__":
    server, port = sys.argv[1], int(sys.argv[2])
    if server == "aiohttp":
        from aiohttp import web

        async def quick(_):
            return web.json_response(QUICK, dumps=lambda x: json.dumps(x, separators=(",", ":")))

        web_app = web.Application()
        web_app.router.add_get("/json", quick)
        web.run_app(web_app, host="127.0.0.1", port=port, print=None, access_log=None)
    elif server == "robyn":
        from robyn import Robyn

        robyn = Robyn(__file__)

        @robyn.get("/json")
        def robyn_quick():
            return QUICK

        robyn.start(host="127.0.0.1", port=port)
    elif server == "socketify":
        from socketify import App

        socketify = App()

        def socketify_quick(response, _):
            response.write_header("Content-Type", "application/json")
            response.end(json.dumps(QUICK, separators=(",", ":")))

        socketify.get("/json", socketify_quick)
        socketify.listen({"host": "127.0.0.1", "port": port}, lambda _: None)
        socketify.run()
    elif server == "turboapi":
        from turboapi import TurboAPI

        turbo = TurboAPI()

        @turbo.get("/json")
        def turbo_quick():
            return QUICK

        turbo.run(host="127.0.0.1", port=port)
    else:
        serve_wsgi(server, wsgi, port)
