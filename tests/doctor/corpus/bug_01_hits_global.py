"""Counts hits in a module-level number."""
from oarlock import App

app = App()
hits = 0


@app.get("/")
def index():
    global hits
    hits += 1
    return {"hits": hits}
