"""What the interoperability tests ask for."""

from oarlock import App, HTMLResponse, PlainTextResponse, Request

app = App()


@app.get("/item/{n}")
async def item(n: int):
    return {"item": n}


@app.post("/echo", response_class=PlainTextResponse)
async def echo(request: Request):
    return (await request.body()).decode()


@app.post("/count", stream=True, max_body=1 << 40)
async def count(request: Request):
    return {"bytes": sum([len(piece) async for piece in request.stream()])}


@app.get("/lines/{n}")
async def lines(n: int):
    for i in range(n):
        yield f"line {i}\n"


@app.get("/who")
async def who(request: Request):
    return {"client": request.client, "url": str(request.url)}


@app.get("/page/{n}", response_class=HTMLResponse)
async def page(n: int):
    return f"""<!doctype html><title>interop</title><p>loading</p><script>
(async () => {{
  let fetched = 0, errors = 0;
  for (let i = 0; i < {n}; i++) {{
    try {{
      const r = i % 2
        ? await fetch('/echo', {{method: 'POST', body: 'b' + i}}).then(r => r.text()) === 'b' + i
        : (await fetch('/item/' + i).then(r => r.json())).item === i;
      r ? fetched++ : errors++;
    }} catch (e) {{ errors++; }}
  }}
  document.querySelector('p').textContent = `${{fetched}} fetched, ${{errors}} errors`;
}})();
</script>"""
