"""Looks at every name that a client chose: header fields, query, JSON."""

from oarlock import App, Request

app = App()


@app.post("/names")
async def names(request: Request):
    body = await request.json()
    return {"headers": len(request.headers), "query": len(list(request.query_params)), "json": len(body)}
