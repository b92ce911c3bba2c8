"""logging has its own locks."""
import logging

from oarlock import App

app = App()
journal = logging.getLogger("journal")


@app.post("/log/{message}")
def log(message: str):
    journal.info("entry: %s", message)
    return {"ok": True}
