"""What the bridge calls: describe the application, load its handlers, run an event loop."""

import asyncio
import sys
import threading
import traceback
from typing import Any

from oarlock import _manifest
from oarlock._errors import own_frames
from oarlock._loop import Loop
from oarlock.exceptions import LoadError


def describe(target: str, factory: bool, threads: int) -> tuple[str, bool]:
    """The manifest and True, or what went wrong and False."""
    del threads
    try:
        app = _manifest.import_app(target, factory)
        return _manifest.dumps(app), True
    except LoadError as exc:
        return str(exc), False
    except SystemExit as exc:
        return f"importing {target} called sys.exit({exc.code!r})\n{own_frames(exc)}", False
    except BaseException as exc:
        return f"importing {target} failed\n{own_frames(exc)}", False


def load(target: str, factory: bool, threads: int) -> tuple[str, list[tuple[Any, ...]]]:
    """The manifest again, to be compared, and the handlers in the order of its routes."""
    del threads
    app = _manifest.import_app(target, factory)
    return _manifest.dumps(app), _manifest.handlers(app)


def thread_start(poller: Any, index: int) -> Loop:
    """Makes the loop of an event-loop thread."""
    if index:
        threading.current_thread().name = f"oarlock-{index}"
    loop = Loop(poller)
    asyncio.set_event_loop(loop)
    return loop


def thread_run(loop: Loop) -> None:
    """Runs until the poller stops the loop. A handler's SystemExit does not end it."""
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            print("a callback on the event loop raised; the loop goes on", file=sys.stderr)
            traceback.print_exc()
        else:
            return


def thread_stop(loop: Loop) -> None:
    """Cancels what is left and closes the loop."""
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    if pending:
        loop.call_later(1.0, loop.stop)
        gathered = asyncio.gather(*pending, return_exceptions=True)
        gathered.add_done_callback(lambda _: loop.stop())
        loop.run_forever()
    asyncio.set_event_loop(None)
    loop.close()
