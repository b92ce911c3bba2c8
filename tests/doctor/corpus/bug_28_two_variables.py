"""Two globals that belong together, written one after the other."""
from oarlock import App

app = App()
current_rate = 1.0
current_currency = "EUR"


@app.post("/set/{currency}/{rate}")
def set_rate(currency: str, rate: float):
    global current_rate, current_currency
    current_currency = currency
    current_rate = rate
    return {"ok": True}


@app.get("/convert/{amount}")
def convert(amount: float):
    return {"currency": current_currency, "amount": amount * current_rate}
