"""The id of a new record is the length of the list before it was added."""
from oarlock import App

app = App()
records = []


@app.post("/record/{value}")
def record(value: str):
    new_id = len(records)
    records.append({"id": new_id, "value": value})
    return {"id": new_id}
