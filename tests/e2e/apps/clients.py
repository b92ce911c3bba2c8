"""asyncio's clients inside of handlers; tests/interop/test_clients.py says where their servers are."""

import os
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import httpx
import redis.asyncio as redis
from oarlock import App, Request


@asynccontextmanager
async def lifespan(app):
    async with (
        httpx.AsyncClient() as http,
        aiohttp.ClientSession() as session,
        redis.Redis(unix_socket_path=os.environ["REDIS_SOCKET"], decode_responses=True) as store,
        asyncpg.create_pool(
            host=os.environ["PG_FOLDER"], user="postgres", database="postgres", min_size=1, max_size=4
        ) as pool,
    ):
        yield {"http": http, "session": session, "store": store, "pool": pool}


app = App(lifespan=lifespan)


def here(request: Request, path: str) -> str:
    return f"http://{request.headers['host']}{path}"


@app.get("/item/{number}")
async def item(number: int):
    return {"number": number}


@app.get("/httpx/{number}")
async def with_httpx(number: int, request: Request):
    return (await request.state.http.get(here(request, f"/item/{number}"))).json()


@app.get("/aiohttp/{number}")
async def with_aiohttp(number: int, request: Request):
    async with request.state.session.get(here(request, f"/item/{number}")) as response:
        return await response.json()


@app.get("/redis/{number}")
async def with_redis(number: int, request: Request):
    store = request.state.store
    async with store.pipeline() as pipe:
        _, value = await pipe.set(f"k{number}", number).get(f"k{number}").execute()
    return {"number": int(value)}


@app.get("/asyncpg/{number}")
async def with_asyncpg(number: int, request: Request):
    async with request.state.pool.acquire() as connection, connection.transaction():
        return {"number": await connection.fetchval("select $1::int", number)}
