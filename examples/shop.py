"""A small shop: something quick, something that computes, something that waits. What `make compare` measures.

oarlock run shop:app --app-dir examples
oarlock compare shop:app --app-dir examples --scenarios examples/shop.toml
"""

import asyncio

from oarlock import App, HTTPException

app = App(title="A shop")
WORDS = ("oar", "boat", "lock", "rope", "sail", "anchor", "paddle", "buoy")
# Made at import and never changed after it: threads may read it without a lock.
PRODUCTS = {
    i: {"id": i, "name": f"{WORDS[i % 8]} {WORDS[i // 8 % 8]} {i}", "price": 5 + i % 100, "stock": i % 7}
    for i in range(2000)
}


@app.get("/products/{product_id}")
def product(product_id: int):
    """Quick: a look-up."""
    found = PRODUCTS.get(product_id)
    if found is None:
        raise HTTPException(404, f"there is no product {product_id}")
    return found


@app.get("/search")
def search(q: str, most: int = 5):
    """About a millisecond of Python: a scan that scores every product."""
    scored = []
    for p in PRODUCTS.values():
        name = p["name"]
        score = name.count(q) * 10 - len(name) + (p["stock"] > 0) * 5
        if q in name:
            scored.append((score, p["id"]))
    scored.sort(reverse=True)
    return [PRODUCTS[i] for _, i in scored[:most]]


@app.get("/quote/{product_id}")
async def quote(product_id: int, pieces: int = 1):
    """Waits: two other services are asked at once, 10 ms each."""

    async def rate(name: str) -> float:
        await asyncio.sleep(0.01)
        return {"shipping": 4.5, "tax": 0.2}[name]

    shipping, tax = await asyncio.gather(rate("shipping"), rate("tax"))
    price = product(product_id)["price"] * pieces
    return {"product": product_id, "total": round(price * (1 + tax) + shipping, 2)}
