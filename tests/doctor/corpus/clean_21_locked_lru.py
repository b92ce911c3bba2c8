"""The same LRU, in a class with a lock."""
import threading
from collections import OrderedDict

from oarlock import App


class LRU:
    def __init__(self, size):
        self._size = size
        self._data = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key):
        with self._lock:
            if key in self._data:
                self._data.move_to_end(key)
            else:
                self._data[key] = key[::-1]
                if len(self._data) > self._size:
                    self._data.popitem(last=False)
            return self._data[key]


app = App()
lru = LRU(1000)


@app.get("/item/{key}")
def item(key: str):
    return lru.get(key)
