"""Seeds the one random generator of the module, then draws from it."""
import random

from oarlock import App

app = App()


@app.get("/shuffle/{seed}")
def shuffled(seed: int):
    random.seed(seed)
    cards = list(range(10))
    random.shuffle(cards)
    return cards
