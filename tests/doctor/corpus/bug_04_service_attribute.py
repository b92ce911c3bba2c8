"""A service object made once keeps the current user in an attribute."""
from oarlock import App


class Service:
    def __init__(self):
        self.user = None

    def greet(self):
        return f"hello {self.user}"


app = App()
service = Service()


@app.get("/hello/{user}")
def hello(user: str):
    service.user = user
    return service.greet()
