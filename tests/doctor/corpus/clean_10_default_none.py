"""The default argument is None; the list is made in the call."""
from oarlock import App

app = App()


def collect(item, bag=None):
    bag = [] if bag is None else bag
    bag.append(item)
    return sum(len(x) for x in bag)


@app.get("/collect/{item}")
def handler(item: str):
    return {"total": collect(item)}
