"""CPython's own test_asyncio on oarlock's loop; run by the interpreter that is tested.

usage: PYTHON tests/asyncio_suite.py [--stock] [MODULE | MODULE.Class.test ...]
Whatever makes a loop - the policy, asyncio.new_event_loop(), asyncio.SelectorEventLoop(any selector) - makes ours, so
the classes that the suite has for select, poll and epoll are three runs on libev. Tests that build a loop from asyncio's
private base classes run as they are. EXPECTED names each test that is left out, and why.
"""

import argparse
import asyncio
import importlib
import pkgutil
import sys
import unittest
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from oarlock import _loop

# "module.Class.test" or a tail of it -> why it cannot hold here
EXPECTED: dict[str, str] = {}


def use(stock: bool) -> type[asyncio.AbstractEventLoop]:
    """Puts our loop in the place of asyncio's."""
    base = _loop.StockLoop if stock else _loop.Loop

    class SelectorEventLoop(base):  # type: ignore[misc,valid-type]
        """Takes the selector that a test chooses, and polls libev all the same."""

        def __init__(self, selector: object = None) -> None:
            super().__init__()

    class Policy(asyncio.DefaultEventLoopPolicy):
        _loop_factory = SelectorEventLoop

    asyncio.SelectorEventLoop = SelectorEventLoop  # type: ignore[misc]
    asyncio.EventLoop = SelectorEventLoop  # type: ignore[misc]
    asyncio.DefaultEventLoopPolicy = Policy  # type: ignore[misc]
    asyncio.set_event_loop_policy(None)
    assert type(asyncio.new_event_loop()) is SelectorEventLoop
    return SelectorEventLoop


def reason(test: unittest.TestCase) -> str | None:
    name = test.id().removeprefix("test.test_asyncio.")
    return next((why for tail, why in EXPECTED.items() if name.endswith(tail)), None)


def select(suite: unittest.TestSuite, skipped: list[str]) -> unittest.TestSuite:
    chosen = unittest.TestSuite()
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            chosen.addTest(select(item, skipped))
        elif why := reason(item):
            skipped.append(f"{item.id()}: {why}")
        else:
            chosen.addTest(item)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", action="store_true", help="the loop of --loop stock")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    made = use(args.stock)
    package = importlib.import_module("test.test_asyncio")
    if not package.__file__:
        sys.exit("the interpreter has no test.test_asyncio: build it with its test suite")
    from test import support

    support.use_resources = ["network", "cpu", "subprocess"]  # not "walltime": hours of timing loops
    modules = [m.name for m in pkgutil.iter_modules(package.__path__) if m.name.startswith("test_")]
    names = [f"test.test_asyncio.{n}" for n in args.names or modules]
    skipped: list[str] = []
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite()
    for name in names:
        try:
            suite.addTest(select(loader.loadTestsFromName(name), skipped))
        except unittest.SkipTest as why:
            print(f"skipped by CPython: {name}: {why}")
    result = unittest.TextTestRunner(verbosity=1, buffer=True).run(suite)
    for test, why in result.skipped:
        print(f"skipped by CPython: {test.id()}: {why}")
    for line in skipped:
        print(f"left out: {line}")
    kind = "free-threaded" if not getattr(sys, "_is_gil_enabled", lambda: True)() else "GIL"
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(
        f"test_asyncio on {made.__base__.__name__}, {sys.version.split()[0]} {kind}: {result.testsRun} run, {bad} failed, "
        f"{len(result.skipped)} skipped by CPython, {len(skipped)} left out"
    )
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
