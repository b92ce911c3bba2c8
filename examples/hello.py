"""The smallest application, and what `make run` serves."""

from oarlock import App

app = App(title="hello")


@app.get("/", blocking=False)
def hello():
    return {"message": "hello from oarlock"}


@app.get("/items/{item_id}")
async def read_item(item_id: int, q: str | None = None):
    return {"item_id": item_id, "q": q}
