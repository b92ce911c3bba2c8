"""Runs a tool and tells its errors as one line."""

import signal
import sys
from collections.abc import Sequence
from typing import Any

from oarlock.compare.interpreters import CompareError


def main(tool: str, module: Any, argv: Sequence[str]) -> int:
    """Runs a tool. The exit status: 0, 1 (it could not), 2 (usage), 3 (findings: regressions, doctor's errors)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the servers that it started must not stay
    try:
        return int(module.run(module.parser().parse_args(argv)))
    except CompareError as exc:
        print(f"oarlock {tool}: {exc}", file=sys.stderr)
        return 1
    except OSError as exc:  # a full disk, a folder that can't be written
        print(f"oarlock {tool}: {exc.filename or ''}: {exc.strerror or exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\noarlock {tool}: interrupted", file=sys.stderr)
        return 130
