"""One StringIO for every rendering."""
import io

from oarlock import App

app = App()
out = io.StringIO()


@app.get("/render/{name}")
def render(name: str):
    out.seek(0)
    out.truncate()
    out.write("<p>")
    out.write(name)
    out.write("</p>")
    return out.getvalue()
