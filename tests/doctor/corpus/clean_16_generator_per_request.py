"""A generator for each request."""
from oarlock import App


def numbers():
    n = 0
    while True:
        yield n
        n += 1


app = App()


@app.get("/numbers")
def first():
    source = numbers()
    return [next(source) for _ in range(3)]
