"""Counts hits under a lock."""
import threading

from oarlock import App

app = App()
lock = threading.Lock()
hits = 0


@app.get("/")
def index():
    global hits
    with lock:
        hits += 1
        now = hits
    return {"hits": now}
