"""A random generator of the request's own."""
import random

from oarlock import App

app = App()


@app.get("/shuffle/{seed}")
def shuffled(seed: int):
    rng = random.Random(seed)
    cards = list(range(10))
    rng.shuffle(cards)
    return cards
