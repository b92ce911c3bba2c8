"""Random pipelines of valid requests against the real server, with 24 clients at once: the end-to-end twin of
tests/unit/test_sequences.c. Bodies of 0 to 70,000 bytes by length and chunked, collected and streamed, cut into
segments anywhere. Each client gets exactly its answers, in order, within 15 seconds a sequence; at the end, with
every client gone, the server stops at once.

usage: pipelined.py [--time SECONDS] [--python gil|ft] [--seed N] [--clients N]
Without --python both builds, one after the other, each for half of the time. A failure prints the seed of its
sequence and ends the run with status 1.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import start

APP = """
import asyncio, hashlib
from oarlock import App, Request, Response, StreamingResponse

app = App()


@app.get("/hello", blocking=False)
def hello(n: int, size: int):
    return Response(b"%d " % n + b"h" * size)


@app.post("/echo")
async def echo(n: int, size: int, request: Request):
    body = await request.body()
    if size % 3 == 0:
        await asyncio.sleep(0.002)
    return Response(b"%d %s " % (n, hashlib.md5(body).hexdigest().encode()) + b"e" * size)


@app.post("/pool", blocking=True)
def pool(n: int, size: int, request: Request):
    return Response(b"%d %s " % (n, hashlib.md5(request.content).hexdigest().encode()) + b"p" * size)


@app.post("/stream", stream=True)
async def stream(n: int, size: int, request: Request):
    seen = hashlib.md5()
    async for piece in request.stream():
        seen.update(piece)
        if size % 5 == 0:
            await asyncio.sleep(0.001)

    async def parts():
        yield b"%d %s " % (n, seen.hexdigest().encode())
        for at in range(0, size, 7000):
            yield b"s" * min(7000, size - at)
    return StreamingResponse(parts())
"""
LIMIT = 15.0  # seconds for one sequence
MOST_BODY = 70_000


@dataclass
class Sequence:
    """What one client sends, and what it must get."""

    data: bytes
    answers: list[tuple[int, bytes]]
    ending: str  # "stays", "half" or "breaks"


def draw_length(rng: random.Random) -> int:
    """Mostly short, sometimes around an input block's end, sometimes anything."""
    return rng.choice(
        [0, rng.randrange(600), rng.randrange(600), 16_300 + rng.randrange(500), rng.randrange(MOST_BODY + 1)]
    )


def framed(rng: random.Random, body: bytes) -> bytes:
    """The field that frames the body, the end of the head, and the body."""
    if rng.random() < 0.5:
        return b"Content-Length: %d\r\n\r\n" % len(body) + body
    out, at = [b"Transfer-Encoding: chunked\r\n\r\n"], 0
    while at < len(body):
        n = rng.choice([1 + rng.randrange(200), 1 + rng.randrange(20_000)])
        piece = body[at : at + n]
        out.append(b"%x\r\n" % len(piece) + piece + b"\r\n")
        at += n
    return b"".join([*out, b"0\r\n\r\n"])


def draw(seed: int) -> Sequence:
    """The sequence of a seed."""
    import hashlib

    rng = random.Random(seed)
    parts, answers = [], []
    for n in range(rng.choice([1, 2, 3, rng.randrange(1, 24)])):
        kind = rng.choice(["hello", "echo", "pool", "stream", "missing"])
        size = rng.choice([rng.randrange(100), rng.randrange(100), rng.randrange(40_000)])
        body = b"" if kind == "hello" else rng.randbytes(draw_length(rng))
        padding = b"X: " + b"y" * rng.choice([0, rng.randrange(50), rng.randrange(3000)]) + b"\r\n"
        head = b"%s /%s?n=%d&size=%d HTTP/1.1\r\nHost: a\r\n" % (
            b"GET" if kind == "hello" else b"POST", kind.encode(), n, size,
        ) + padding  # fmt: skip
        parts.append(head + (b"\r\n" if kind == "hello" else framed(rng, body)))
        digest = hashlib.md5(body).hexdigest().encode() + b" "
        text = b"%d " % n + (b"" if kind == "hello" else digest) + kind[:1].encode() * size
        answers.append((404, b'{"detail":"Not Found"}') if kind == "missing" else (200, text))
    return Sequence(b"".join(parts), answers, rng.choice(["stays", "stays", "half", "breaks"]))


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One response, whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:] if line)
    if "content-length" in fields:
        return int(head[9:12]), await reader.readexactly(int(fields["content-length"]))
    body = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return int(head[9:12]), b"".join(body)


async def send(writer: asyncio.StreamWriter, s: Sequence, rng: random.Random) -> None:
    """The bytes in segments; the client's end of the connection where the sequence says so."""
    stop = rng.randrange(len(s.data)) if s.ending == "breaks" else len(s.data)
    most = rng.choice([len(s.data), 20_000, 3000, max(30, len(s.data) // 300)])
    at = 0
    while at < stop:
        n = min(rng.randrange(1, most + 1), stop - at)
        writer.write(s.data[at : at + n])
        await writer.drain()
        await asyncio.sleep(rng.choice([0, 0, 0, 0.001]))
        at += n
    if s.ending != "stays":
        writer.write_eof()


async def run_sequence(port: int, seed: int) -> None:
    """Fails with what is wrong."""
    rng = random.Random(seed + 1)
    s = draw(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending = asyncio.ensure_future(send(writer, s, rng))
    try:
        for i, expected in enumerate(s.answers):
            try:
                got = await read_answer(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                if s.ending == "breaks":
                    return
                raise AssertionError(f"closed before answer {i} of {len(s.answers)}") from None
            assert got == expected, f"answer {i}: {got[0]}, {got[1][:60]!r} for {expected[1][:60]!r}"
        await sending
        if s.ending != "stays":
            rest = await reader.read()
            assert rest == b"", f"more than was asked for: {rest[:60]!r}"
    finally:
        sending.cancel()
        writer.close()


async def client(port: int, seeds: "SeedSource", end: float) -> None:
    while time.monotonic() < end:
        seed = seeds.take()
        try:
            await asyncio.wait_for(run_sequence(port, seed), LIMIT)
        except TimeoutError:
            raise AssertionError(f"sequence of seed {seed}: silence for {LIMIT} s") from None
        except AssertionError as wrong:
            raise AssertionError(f"sequence of seed {seed}: {wrong}") from None


class SeedSource:
    """Seeds in order, for all clients."""

    def __init__(self, first: int) -> None:
        self.first = self.next = first

    def take(self) -> int:
        self.next += 10
        return self.next


async def run_clients(port: int, seeds: SeedSource, n: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(n):
            group.create_task(client(port, seeds, end))


def soak(kind: str, seconds: float, seed: int, clients: int) -> bool:
    """One build. Returns whether all went well."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "soaked.py").write_text(APP)
        server = start(
            folder / "log", "soaked:app", "--app-dir", name, "--python", kind, "--workers", "1", "--threads", "2"
        )
        seeds = SeedSource(seed)
        wrong = ""
        try:
            asyncio.run(run_clients(server.port, seeds, clients, seconds))
        except* AssertionError as group:
            wrong = str(group.exceptions[0])
        began = time.monotonic()
        status = server.stop()
        stopping = time.monotonic() - began
        if not wrong and (status != 0 or stopping > 5):
            wrong = f"all clients have gone; the stop took {stopping:.1f} s, status {status}"
        count = (seeds.next - seeds.first) // 10
        print(f"{kind}: {count} sequences from seed {seed}, {clients} clients, {seconds:g} s: {wrong or 'no failure'}")
        if wrong:
            print(server.log[-2000:])
        return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=float, default=60, help="seconds in all")
    parser.add_argument("--python", choices=["gil", "ft"], help="one build only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=24)
    args = parser.parse_args()
    kinds = [args.python] if args.python else ["gil", "ft"]
    results = [soak(kind, args.time / len(kinds), args.seed, args.clients) for kind in kinds]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
