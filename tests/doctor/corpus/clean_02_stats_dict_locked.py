"""Counts by name in a shared dict, under a lock."""
from threading import RLock

from oarlock import App

app = App()
STATS = {}
guard = RLock()


@app.get("/seen/{name}")
def seen(name: str):
    with guard:
        STATS[name] = STATS.get(name, 0) + 1
        return STATS[name]
