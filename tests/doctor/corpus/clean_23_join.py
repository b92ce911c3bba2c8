"""Renders with a list and join."""
from oarlock import App

app = App()
PARTS = ["<p>", "</p>"]


@app.get("/render/{name}")
def render(name: str):
    out = list(PARTS)
    out.insert(1, name)
    return "".join(out)
