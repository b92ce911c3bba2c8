"""`def` handlers that say nothing about where they run."""

import asyncio
import sqlite3
import threading
import time

from oarlock import App, HTTPException

app = App()
at_import = sqlite3.connect(":memory:")  # usable by the thread that imports alone
own = threading.local()


def here() -> str:
    return "loop" if threading.current_thread() is threading.main_thread() else "pool"


@app.get("/quick")
def quick(sleep: float = 0):
    time.sleep(sleep) if sleep else None
    return here()


@app.get("/slow")
def slow():
    time.sleep(0.002)
    return here()


@app.get("/pinned", blocking=True)
def pinned():
    return here()


@app.get("/raises")
def raises():
    raise ValueError(here())


@app.get("/refuses")
def refuses():
    raise HTTPException(404, here())


@app.get("/loop")
def loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return f"{here()}: no running loop"
    return f"{here()}: a running loop"


@app.get("/connection")
def connection():
    try:
        return at_import.execute("select 1").fetchone()[0]
    except sqlite3.ProgrammingError:
        raise HTTPException(500, "another thread's") from None


@app.get("/thread-local")
def thread_local():
    if not hasattr(own, "connection"):
        own.connection = sqlite3.connect(":memory:")
    return own.connection.execute("select 1").fetchone()[0]


@app.get("/async")
async def on_loop():
    asyncio.get_running_loop()
    return here()
