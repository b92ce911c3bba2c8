"""oarlock's event loop in an ordinary Python program, on both interpreters: what test_asyncio does not ask."""

import os
import subprocess
import textwrap

import pytest
from conftest import BUILD, ROOT, clean_environment

pytestmark = pytest.mark.skipif(BUILD != ROOT / "build", reason="outside of a server the bridge has no sanitizer")


@pytest.fixture
def program(python):
    """Runs a program's text; what it printed."""
    interpreter = (ROOT / "build" / f"python-{python}").read_text().strip()

    def run(text: str) -> str:
        source = "import asyncio, gc, os, signal, socket, threading\nfrom oarlock._loop import Loop, StockLoop\n"
        done = subprocess.run(
            [interpreter, "-W", "ignore", "-c", source + textwrap.dedent(text)],
            env=clean_environment()
            | {"PYTHONPATH": os.environ.get("OARLOCK_TEST_PACKAGE", str(ROOT / "python")), "PYTHONMALLOC": "debug"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.mark.parametrize("kind", ["Loop", "StockLoop"])
def test_an_unclosed_loop_is_collected(program, kind):
    assert (
        program(f"""
        def make():
            loop = {kind}()
            a, b = socket.socketpair()
            a.setblocking(False)
            loop.add_reader(a.fileno(), print, a, b, loop)
        make(); gc.collect(); gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            make()
        for _ in range(3):
            gc.collect()
        print(len(os.listdir("/proc/self/fd")) - before)
    """)
        == "0"
    )


def test_arguments_by_name(program):
    assert (
        program("""
        loop, seen = Loop(), []
        loop.call_later(delay=0.001, callback=lambda: seen.append("later"))
        loop.call_at(loop.time() + 0.002, callback=lambda: seen.append("at"))
        loop.call_at(when=loop.time() + 0.003, callback=loop.stop)
        loop.call_soon(callback=lambda: seen.append("soon"), context=None)
        loop.call_soon_threadsafe(callback=lambda: seen.append("threadsafe"))
        for call in (
            lambda: loop.call_later(1, print, delay=2),
            lambda: loop.call_later(delay=2),
            lambda: loop.call_soon(),
            lambda: loop.call_soon(print, callback=print),
            lambda: loop.call_soon(print, what=1),
            lambda: loop.call_at(callback=print),
        ):
            try:
                call()
            except TypeError:
                seen.append("TypeError")
        loop.run_forever()
        loop.close()
        print(*seen)
    """)
        == "TypeError " * 6 + "soon threadsafe later at"
    )


def test_a_signal_handler_may_unregister_what_has_fired(program):
    """The key of the descriptor is nobody else's; the handler runs between the wait and its result."""
    assert (
        program("""
        loop = Loop()
        selector = loop._selector
        r, w = socket.socketpair()
        selector.register(r, 1, data="data")
        def handler(number, frame):
            selector.unregister(r)
            gc.collect()
        signal.signal(signal.SIGUSR1, handler)
        def later():
            signal.raise_signal(signal.SIGUSR1)  # the flag is set; the handler waits for the main thread
            w.send(b"x")
        threading.Timer(0.1, later).start()
        [(key, events)] = selector.select(10)
        print(key.fileobj is r, key.data, events)
    """)
        == "True data 1"
    )


def test_nan_is_no_timeout(program):
    assert program("""
        for make in (Loop, StockLoop):
            loop = make()
            for call in (loop.call_later, loop.call_at, lambda t, f: loop._selector.select(t)):
                try:
                    call(float("nan"), print)
                except ValueError as exc:
                    print("NaN" in str(exc), end=" ")
            loop.call_at(float("inf"), print)
            loop.call_later(0, loop.stop)
            loop.run_forever()
            loop.close()
    """) == " ".join(["True"] * 6)


def test_a_round_that_is_not_the_loops_own(program):
    """Somebody replaces _run_once, as nest_asyncio does: timers and callbacks reach it."""
    assert (
        program("""
        import asyncio.base_events, heapq
        def run_once(self):
            timeout = 0 if self._ready or self._stopping else None
            self._process_events(self._selector.select(timeout))
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle._cancelled:
                    handle._run()
        Loop._run_once = run_once
        async def main():
            loop = asyncio.get_running_loop()
            cancelled = loop.call_later(0.001, print, "never")
            cancelled.cancel()
            await asyncio.sleep(0.01)
            threading.Timer(0.01, lambda: loop.call_soon_threadsafe(event.set)).start()
            event = asyncio.Event()
            await event.wait()
            print(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0.01, 2)))
        asyncio.run(main(), loop_factory=Loop)
    """)
        == "[1, 2]"
    )
