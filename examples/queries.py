"""Three queries of 10 ms each: one after the other, or together.

oarlock run queries:app --app-dir examples
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from oarlock import App, Request


class Database:
    """Stands for a client with a connection pool: each query waits 10 ms for its answer."""

    async def query(self, name: str) -> str:
        """The answer of one query."""
        await asyncio.sleep(0.01)
        return f"result of {name}"


@asynccontextmanager
async def lifespan(_: App) -> AsyncIterator[dict[str, Any]]:
    """Clients belong to an event loop: one is made for each, and handlers find it in request.state."""
    yield {"db": Database()}


app = App(title="three queries", lifespan=lifespan)


@app.get("/sequential")
async def sequential(request: Request):
    """30 ms: each waits for the one before."""
    db, started = request.state.db, time.perf_counter()
    results = [await db.query(name) for name in ("user", "orders", "offers")]
    return {"results": results, "ms": round((time.perf_counter() - started) * 1000, 1)}


@app.get("/together")
async def together(request: Request):
    """About 10 ms: a TaskGroup starts all three, and cancels the others if one fails."""
    db, started = request.state.db, time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(db.query(name)) for name in ("user", "orders", "offers")]
    return {"results": [t.result() for t in tasks], "ms": round((time.perf_counter() - started) * 1000, 1)}
