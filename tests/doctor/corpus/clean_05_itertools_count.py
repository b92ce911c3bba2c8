"""itertools.count is the sequence; next() on it is one step in C."""
import itertools

from oarlock import App


class Order:
    ids = itertools.count(1)

    def __init__(self, item):
        self.id = next(Order.ids)
        self.item = item


app = App()


@app.get("/order/{item}")
def order(item: str):
    made = Order(item)
    return {"id": made.id}
