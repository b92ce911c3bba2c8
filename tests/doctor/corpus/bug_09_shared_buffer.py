"""A scratch buffer reused to save allocations."""
from oarlock import App

app = App()
scratch = bytearray(1024)


@app.get("/pad/{text}")
def pad(text: str):
    data = text.encode()
    scratch[: len(data)] = data
    return {"padded": scratch[: len(data)].decode()}
