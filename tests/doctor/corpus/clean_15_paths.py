"""Joins paths instead of changing the folder."""
import os
from pathlib import Path

from oarlock import App

app = App()
ROOT = Path("/tmp")


@app.get("/list")
def listing():
    here = ROOT / "."
    names = []
    for entry in os.scandir(here):
        names.append(entry.name)
    names.sort()
    return names
