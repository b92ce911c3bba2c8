"""A module-level table that nobody changes after import."""
from oarlock import App

app = App()
PRICES = {}
for i, name in enumerate(["apple", "pear", "plum"]):
    PRICES[name] = 10 + i
PRICES["fig"] = 7
ORDER = sorted(PRICES)


@app.get("/price/{name}")
def price(name: str):
    return {"price": PRICES.get(name), "all": [PRICES[k] for k in ORDER]}
