"""The same answer from other servers' applications: FastAPI (ASGI) and bare WSGI, and how each is started.

usage: others.py bjoern|fastpysgi|aiohttp PORT
"""

import json
import sys

BODY = {"message": "hello"}


def wsgi(environ, start_response):
    body = json.dumps(BODY, separators=(",", ":")).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def __getattr__(name):
    """FastAPI is made only where it is asked for: the WSGI servers' figures are without it."""
    if name != "fastapi":
        raise AttributeError(name)
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)

    @app.get("/hello")
    async def hello():
        return BODY

    return app


def serve_wsgi(server, application, port):
    if server == "bjoern":
        import bjoern

        bjoern.run(application, "127.0.0.1", port)
    else:
        import fastpysgi

        fastpysgi.run(application, "127.0.0.1", port, loglevel=0)


if __name__ == "__main__":
    server, port = sys.argv[1], int(sys.argv[2])
    if server == "aiohttp":
        from aiohttp import web

        async def hello(_):
            return web.json_response(BODY)

        web_app = web.Application()
        web_app.router.add_get("/hello", hello)
        web.run_app(web_app, host="127.0.0.1", port=port, print=None, access_log=None)
    else:
        serve_wsgi(server, wsgi, port)
