"""The service is made for each request."""
from oarlock import App


class Service:
    def __init__(self):
        self.user = None

    def greet(self):
        return f"hello {self.user}"


app = App()


@app.get("/hello/{user}")
def hello(user: str):
    service = Service()
    service.user = user
    return service.greet()
