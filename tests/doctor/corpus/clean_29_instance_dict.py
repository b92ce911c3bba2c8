"""A repository with its dict as an instance attribute, made for each request."""
from oarlock import App


class Repository:
    def __init__(self):
        self.rows = {}

    def save(self, name, value):
        self.rows[name] = value

    def bump(self, name):
        self.rows[name] += 1
        return self.rows[name]


app = App()


@app.post("/rows/{name}")
def create(name: str):
    repository = Repository()
    repository.save(name, 0)
    return {"value": repository.bump(name)}
