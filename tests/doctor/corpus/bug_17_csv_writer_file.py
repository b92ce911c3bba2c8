"""One open file; two writes make one record."""
from oarlock import App

app = App()
journal = open("/tmp/oarlock-journal.txt", "a")


@app.post("/log/{message}")
def log(message: str):
    journal.write("entry: ")
    journal.write(message + "\n")
    journal.flush()
    return {"ok": True}
