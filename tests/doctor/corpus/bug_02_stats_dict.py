"""Counts by name in a shared dict: read, add, write."""
from oarlock import App

app = App()
STATS = {}


@app.get("/seen/{name}")
def seen(name: str):
    STATS[name] = STATS.get(name, 0) + 1
    return STATS[name]
