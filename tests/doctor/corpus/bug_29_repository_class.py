"""A repository with its dict as a class attribute."""
from oarlock import App, HTTPException


class Repository:
    rows = {}

    def save(self, name, value):
        if name in self.rows:
            raise HTTPException(409)
        self.rows[name] = value

    def bump(self, name):
        self.rows[name] += 1
        return self.rows[name]


app = App()


@app.post("/rows/{name}")
def create(name: str):
    Repository().save(name, 0)
    return {"ok": True}


@app.post("/rows/{name}/bump")
def bump(name: str):
    return {"value": Repository().bump(name)}
