"""What is measured: the same answer as the stub's, from Python."""

from oarlock import App

app = App()


@app.get("/hello", blocking=False)
def hello():
    return {"message": "hello"}


@app.get("/async")
async def hello_async():
    return {"message": "hello"}


@app.get("/pool", blocking=True)
def hello_pool():
    return {"message": "hello"}


@app.get("/items/{item_id}", blocking=False)
def item(item_id: int, q: str | None = None):
    return {"item_id": item_id, "q": q}
