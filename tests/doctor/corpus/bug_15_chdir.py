"""Changes the working folder of the whole process."""
import os

from oarlock import App

app = App()


@app.get("/list/{folder}")
def listing(folder: str):
    here = os.getcwd()
    os.chdir("/tmp")
    try:
        return sorted(os.listdir("."))
    finally:
        os.chdir(here)
