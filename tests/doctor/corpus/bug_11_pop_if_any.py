"""A free list: tests that there is one, then takes it."""
from oarlock import App

app = App()
free_slots = list(range(16))


@app.post("/take")
def take():
    if free_slots:
        return {"slot": free_slots.pop()}
    return {"slot": None}
