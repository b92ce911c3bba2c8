"""Evicts the oldest when the cache is full: check, then act."""
from oarlock import App

app = App()
cache = {}
LIMIT = 100


def compute(key):
    return key * 2


@app.get("/compute/{key}")
def get(key: int):
    if key not in cache:
        if len(cache) >= LIMIT:
            oldest = next(iter(cache))
            del cache[oldest]
        cache[key] = compute(key)
    return cache[key]
