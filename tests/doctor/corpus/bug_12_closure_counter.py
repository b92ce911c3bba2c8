"""A counter in a closure."""
from oarlock import App


def make_app():
    app = App()
    count = 0

    @app.get("/n")
    def n():
        nonlocal count
        count += 1
        return {"n": count}

    return app


app = make_app()
