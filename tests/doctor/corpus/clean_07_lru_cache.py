"""functools.lru_cache has its own lock."""
import functools

from oarlock import App

app = App()


@functools.lru_cache(maxsize=100)
def compute(key):
    return key * 2


@app.get("/compute/{key}")
def get(key: int):
    return compute(key)
