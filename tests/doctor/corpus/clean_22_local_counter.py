"""A Counter of the request's words."""
from collections import Counter

from oarlock import App

app = App()


@app.post("/words/{text}")
def count(text: str):
    words = Counter()
    words.update(text.split("-"))
    return words.most_common(3)
