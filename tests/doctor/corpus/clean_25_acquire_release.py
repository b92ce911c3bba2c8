"""A lock taken and given back by hand."""
import threading

from oarlock import App

app = App()
records = []
mutex = threading.Lock()


@app.post("/record/{value}")
def record(value: str):
    mutex.acquire()
    try:
        new_id = len(records)
        records.append({"id": new_id, "value": value})
    finally:
        mutex.release()
    return {"id": new_id}
