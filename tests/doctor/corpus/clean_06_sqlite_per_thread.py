"""A connection for each thread."""
import sqlite3
import threading

from oarlock import App

app = App()
local = threading.local()


def connection():
    if not hasattr(local, "db"):
        local.db = sqlite3.connect(":memory:")
        local.db.execute("create table t (n integer)")
    return local.db


@app.post("/add")
def add():
    db = connection()
    db.execute("insert into t values (1)")
    db.commit()
    return {"ok": True}
