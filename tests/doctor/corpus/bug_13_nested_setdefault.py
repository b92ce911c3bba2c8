"""Appends to lists inside of a dict and sorts them in place while others read."""
from oarlock import App

app = App()
scores = {}


@app.post("/score/{player}/{points}")
def score(player: str, points: int):
    scores.setdefault(player, []).append(points)
    scores[player].sort(reverse=True)
    del scores[player][10:]
    return scores[player]
