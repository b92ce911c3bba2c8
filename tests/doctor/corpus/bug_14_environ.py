"""Puts the request's locale into the process environment."""
import os

from oarlock import App

app = App()


def render():
    return "Hallo" if os.environ.get("APP_LANG") == "de" else "Hello"


@app.get("/page/{lang}")
def page(lang: str):
    os.environ["APP_LANG"] = lang
    return {"text": render()}
