"""Keeps a number on the application's own object."""
from oarlock import App


class Config:
    pass


app = App()
config = Config()
config.requests = 0


@app.get("/count")
def count():
    config.requests = config.requests + 1
    return {"requests": config.requests}
