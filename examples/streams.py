"""Bodies piece by piece: an upload that is hashed while it comes, and a clock as server-sent events.

oarlock run streams:app --app-dir examples
curl -T some-big-file http://127.0.0.1:8000/sha256
curl http://127.0.0.1:8000/clock/3
"""

import asyncio
import hashlib
from datetime import UTC, datetime

from oarlock import App, Request, StreamingResponse

app = App()


@app.put("/sha256", stream=True, max_body=1 << 40)
def sha256(request: Request):
    """A `def` runs in the thread pool, so hashing blocks nobody; the client sends no faster than it is hashed."""
    digest = hashlib.sha256()
    size = 0
    for piece in request.stream():
        digest.update(piece)
        size += len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


@app.get("/clock/{seconds}")
async def clock(seconds: int):
    """Ends when the client leaves."""

    async def ticks():
        for _ in range(seconds):
            yield f"data: {datetime.now(UTC):%H:%M:%S}\n\n"
            await asyncio.sleep(1)

    return StreamingResponse(ticks(), headers={"cache-control": "no-cache"}, media_type="text/event-stream")
