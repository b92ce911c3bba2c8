"""One generator gives numbers to everybody: "generator already executing"."""
from oarlock import App


def numbers():
    n = 0
    while True:
        yield n
        n += 1


app = App()
source = numbers()


@app.get("/number")
def number():
    return {"n": next(source)}
