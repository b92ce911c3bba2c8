"""Keeps the last result as an attribute of the function."""
from oarlock import App

app = App()


def parse(text):
    parse.last = text.split(",")
    return len(parse.last)


@app.get("/parse/{text}")
def handler(text: str):
    n = parse(text)
    return {"n": n, "first": parse.last[0]}
