"""A mutable default argument collects everybody's items."""
from oarlock import App

app = App()


def collect(item, bag=[]):
    bag.append(item)
    total = 0
    for x in bag:
        total += len(x)
    return total


@app.get("/collect/{item}")
def handler(item: str):
    return {"total": collect(item)}
