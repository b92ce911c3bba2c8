"""One reference to an immutable pair is swapped; a reader takes it once."""
from oarlock import App

app = App()
current = (1.0, "EUR")


@app.post("/set/{currency}/{rate}")
def set_rate(currency: str, rate: float):
    global current
    current = (rate, currency)
    return {"ok": True}


@app.get("/convert/{amount}")
def convert(amount: float):
    rate, currency = current
    return {"currency": currency, "amount": amount * rate}
