"""Runs a tool and tells its errors as one line."""

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from oarlock.compare.interpreters import CompareError


def guard(name: str, work: Callable[[], int | None]) -> int:
    """Runs ``work`` so that its errors are a line each, and SIGTERM ends it as Ctrl-C does. Its exit status, or 1, or 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers that it started must not stay
    try:
        return int(work() or 0)
    except CompareError as exc:
        print(f"{name}: {exc}", file=sys.stderr)
        return 1
    except OSError as exc:  # a full disk, a folder that can't be written
        print(f"{name}: {exc.filename or ''}: {exc.strerror or exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return 130


def main(tool: str, module: Any, argv: Sequence[str]) -> int:
    """Runs a tool. The exit status: 0, 1 (it could not), 2 (usage), 3 (findings: regressions, doctor's errors)."""
    return guard(f"oarlock {tool}", lambda: module.run(module.parser().parse_args(argv)))
