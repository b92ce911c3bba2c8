"""A class attribute as a sequence number."""
from oarlock import App


class Order:
    next_id = 1

    def __init__(self, item):
        self.id = Order.next_id
        Order.next_id += 1
        self.item = item


app = App()


@app.get("/order/{item}")
def order(item: str):
    made = Order(item)
    return {"id": made.id}
