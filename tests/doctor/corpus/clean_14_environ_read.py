"""Reads the environment."""
import os

from oarlock import App

app = App()
os.environ.setdefault("APP_LANG", "de")


def render(lang):
    return "Hallo" if lang == "de" else "Hello"


@app.get("/page")
def page():
    return {"text": render(os.environ.get("APP_LANG"))}
