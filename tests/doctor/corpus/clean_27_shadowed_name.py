"""A local variable with the name of a global one."""
from oarlock import App

app = App()
result = []


@app.get("/parse/{text}")
def handler(text: str):
    result = []
    for part in text.split(","):
        result.append(part)
    return {"n": len(result)}
