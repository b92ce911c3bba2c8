"""async, but with an await between the reading and the writing."""
import asyncio

from oarlock import App

app = App()
stock = {"apples": 10}


@app.post("/buy")
async def buy():
    left = stock["apples"]
    if left > 0:
        await asyncio.sleep(0)
        stock["apples"] = left - 1
    return {"left": stock["apples"]}
