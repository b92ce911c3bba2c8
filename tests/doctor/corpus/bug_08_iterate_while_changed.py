"""Walks a set that other requests change."""
from oarlock import App

app = App()
online = set()


@app.post("/join/{user}")
def join(user: str):
    online.add(user)
    return {"ok": True}


@app.get("/online")
def who():
    return [u.upper() for u in online]
