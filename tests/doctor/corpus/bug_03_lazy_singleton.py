"""Two first requests make two engines; one of them leaks."""
from oarlock import App

app = App()
_engine = None


def make_engine():
    return {"pool": list(range(10))}


def get_engine():
    global _engine
    if _engine is None:
        _engine = make_engine()
    return _engine


@app.get("/query")
def query():
    return get_engine()["pool"]
