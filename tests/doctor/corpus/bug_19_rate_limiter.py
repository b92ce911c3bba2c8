"""A rate limiter whose window lives in an object shared by all."""
import time

from oarlock import App, HTTPException


class Limiter:
    def __init__(self, limit):
        self.limit = limit
        self.window = 0
        self.used = 0

    def allow(self):
        now = int(time.time())
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
