"""Computes on copies."""
from oarlock import App

app = App()
ACCOUNTS = {"a": 100, "b": 100}


@app.get("/simulate/{amount}")
def simulate(amount: int):
    accounts = dict(ACCOUNTS)
    if accounts["a"] >= amount:
        accounts["a"] -= amount
        accounts["b"] += amount
    return accounts
