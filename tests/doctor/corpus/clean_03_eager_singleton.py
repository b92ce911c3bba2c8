"""The engine is made at import."""
from oarlock import App

app = App()


def make_engine():
    return {"pool": list(range(10))}


_engine = make_engine()


def get_engine():
    return _engine


@app.get("/query")
def query():
    return get_engine()["pool"]
