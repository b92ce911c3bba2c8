"""A "running" flag as a lock of one's own."""
import time

from oarlock import App

app = App()
running = False


@app.post("/rebuild")
def rebuild():
    global running
    if running:
        return {"started": False}
    running = True
    try:
        time.sleep(0.01)
    finally:
        running = False
    return {"started": True}
