"""A closure that is only read."""
from oarlock import App


def make_app(prefix):
    app = App()
    count = len(prefix)

    @app.get("/n")
    def n():
        total = count
        total += 1
        return {"n": total, "prefix": prefix}

    return app


app = make_app("x")
