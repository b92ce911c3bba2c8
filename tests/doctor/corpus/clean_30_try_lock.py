"""A lock that is only tried."""
import threading
import time

from oarlock import App

app = App()
running = threading.Lock()


@app.post("/rebuild")
def rebuild():
    if not running.acquire(blocking=False):
        return {"started": False}
    try:
        time.sleep(0.01)
    finally:
        running.release()
    return {"started": True}
