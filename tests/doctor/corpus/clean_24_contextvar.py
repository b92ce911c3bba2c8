"""The request's number in a ContextVar."""
from contextvars import ContextVar

from oarlock import App

app = App()
current = ContextVar("current", default=0)


def log_line():
    return f"request {current.get()}"


@app.get("/count/{n}")
def count(n: int):
    current.set(n)
    return {"line": log_line()}
