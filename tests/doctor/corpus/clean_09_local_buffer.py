"""The buffer is made for each request."""
from oarlock import App

app = App()
SIZE = 1024


@app.get("/pad/{text}")
def pad(text: str):
    scratch = bytearray(SIZE)
    data = text.encode()
    scratch[: len(data)] = data
    return {"padded": scratch[: len(data)].decode()}
