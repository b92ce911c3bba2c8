"""A queue.Queue as the free list."""
import queue

from oarlock import App

app = App()
free_slots = queue.Queue()
for n in range(16):
    free_slots.put(n)


@app.post("/take")
def take():
    try:
        return {"slot": free_slots.get_nowait()}
    except queue.Empty:
        return {"slot": None}
