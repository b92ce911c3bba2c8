"""async, with state of its own."""
import asyncio

from oarlock import App

app = App()


@app.post("/buy/{n}")
async def buy(n: int):
    stock = {"apples": n}
    left = stock["apples"]
    if left > 0:
        await asyncio.sleep(0)
        stock["apples"] = left - 1
    return {"left": stock["apples"]}
