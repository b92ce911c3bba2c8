"""Moves money between accounts in two steps."""
from oarlock import App

app = App()
accounts = {"a": 100, "b": 100}


@app.post("/move/{amount}")
def move(amount: int):
    if accounts["a"] >= amount:
        accounts["a"] -= amount
        accounts["b"] += amount
    return accounts
