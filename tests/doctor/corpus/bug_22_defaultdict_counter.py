"""collections.Counter looks safe and is not."""
from collections import Counter

from oarlock import App

app = App()
words = Counter()


@app.post("/words/{text}")
def count(text: str):
    words.update(text.split("-"))
    return words.most_common(3)
