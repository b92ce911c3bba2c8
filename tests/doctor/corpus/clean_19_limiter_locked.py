"""The same rate limiter, with a lock of its own."""
import threading
import time

from oarlock import App, HTTPException


class Limiter:
    def __init__(self, limit):
        self.limit = limit
        self.window = 0
        self.used = 0
        self._lock = threading.Lock()

    def allow(self):
        now = int(time.time())
        with self._lock:
            if now != self.window:
                self.window = now
                self.used = 0
            self.used += 1
            return self.used <= self.limit


app = App()
limiter = Limiter(100)


@app.get("/limited")
def limited():
    if not limiter.allow():
        raise HTTPException(429)
    return {"ok": True}
