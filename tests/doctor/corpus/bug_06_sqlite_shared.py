"""One sqlite3 connection for all threads."""
import sqlite3

from oarlock import App

app = App()
db = sqlite3.connect(":memory:", check_same_thread=False)
db.execute("create table t (n integer)")


@app.post("/add")
def add():
    cur = db.cursor()
    cur.execute("insert into t values (1)")
    db.commit()
    return {"ok": True}
