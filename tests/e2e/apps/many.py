"""10,000 routes, as a large service has them."""

from oarlock import App

app = App()


def handler(id: int):
    return {"id": id}


for i in range(10_000):
    app.add_api_route(f"/api/v{i % 3}/area-{i % 40}/resource{i}/{{id}}", handler, methods=["GET"])
