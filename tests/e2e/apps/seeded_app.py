"""Serves the faults of tests/seeded/seeded.c; its folder, by kind of interpreter, comes in SEEDED."""

import os
import sys

sys.path.insert(0, os.environ["SEEDED"])
import seeded
from oarlock import App

app = App()


@app.get("/overflow", blocking=False)
def overflow():
    return seeded.overflow()


@app.get("/race", blocking=False)
def race():
    return seeded.race()
