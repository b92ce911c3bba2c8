"""The set belongs to the request."""
from oarlock import App

app = App()


@app.get("/unique/{text}")
def unique(text: str):
    online = set()
    for u in text.split("-"):
        online.add(u)
    return [u.upper() for u in online]
