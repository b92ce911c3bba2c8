"""An LRU made of an OrderedDict, without a lock."""
from collections import OrderedDict

from oarlock import App

app = App()
lru = OrderedDict()


@app.get("/item/{key}")
def item(key: str):
    try:
        lru.move_to_end(key)
        return lru[key]
    except KeyError:
        lru[key] = key[::-1]
        if len(lru) > 1000:
            lru.popitem(last=False)
        return lru[key]
