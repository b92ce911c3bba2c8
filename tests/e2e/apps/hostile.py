"""Handlers whose errors carry what the client sent."""

from oarlock import App, Request

app = App()


@app.get("/say", blocking=False)
def say(text: str):
    raise ValueError(text)


@app.post("/say", blocking=False)
def say_body(request: Request):
    raise ValueError(request.content.decode())


@app.get("/other", blocking=False)
def other():
    return {}["elsewhere"]
