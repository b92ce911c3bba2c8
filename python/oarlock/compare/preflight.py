"""What is checked before anything is measured: that no request changes the application's data unless the user allowed it,
and that each request gets the answer that its scenario expects. A mistake ends a run in two seconds, not after all rounds.
"""

import http.client
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from oarlock.compare.interpreters import CompareError
from oarlock.compare.scenarios import Request, Scenario
from oarlock.compare.server import Deployment, start

SAFE_METHODS = ("GET", "HEAD")  # of the safe methods of RFC 9110 section 9.2.1, those that an application answers
PATIENCE = 10.0  # seconds for one response
SHOWN = 300  # characters of a body that are shown
LARGEST = 64 << 20  # bytes: what the load generator takes


def refuse_unsafe(scenarios: Iterable[Scenario], allowed: bool) -> None:
    """Refuses scenarios that send other methods than GET and HEAD to the user's application, unless they are allowed.

    Raises:
        CompareError: with the scenario, the request and the option that allows it.
    """
    for scenario in scenarios:
        for r in scenario.requests:
            if not allowed and not scenario.app and r.method not in SAFE_METHODS:
                raise CompareError(
                    f"scenario '{scenario.name}' sends {r.method} {r.path}, thousands of times, to the application's own data; "
                    "--unsafe-methods allows methods other than GET and HEAD"
                )


def ask(port: int, request: Request, seconds: float = PATIENCE) -> tuple[int, str, bytes]:
    """Sends one request to 127.0.0.1. Status, reason and body of its response.

    Raises:
        CompareError: there is no whole response within that many seconds, or it is not HTTP.
    """
    words = f"{request.method} {request.path}"
    end = time.monotonic() + seconds
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
            s.sendall(request.raw())
            response = http.client.HTTPResponse(s, method=request.method)
            response.begin()
            body = b""
            while len(body) <= LARGEST and (piece := response.read1(65536)):
                body += piece
                s.settimeout(max(0.001, end - time.monotonic()))
                if time.monotonic() > end:
                    raise TimeoutError
            return response.status, response.reason, body
    except TimeoutError:
        raise CompareError(
            f"{words} has a response that did not end within {seconds:g} s, so it cannot be measured; leave it out of the scenarios"
        ) from None
    except (OSError, http.client.HTTPException) as exc:
        raise CompareError(f"{words} was not answered: {type(exc).__name__}: {exc}") from None


def _shown(body: bytes) -> str:
    text = body[: 4 * SHOWN].decode(errors="replace")
    text = "".join(c if c.isprintable() else " " for c in text).strip()
    return (text[:SHOWN] + " [cut]" if len(text) > SHOWN else text) or "(no body)"


def _probe(scenario: Scenario, request: Request, deployment: Deployment, port: int, log: Path) -> None:
    status, reason, body = ask(port, request)
    if status == request.status or (not request.status and 200 <= status < 300):
        return
    raise CompareError(
        f"{request.method} {request.path} was answered with {status} {reason}: {_shown(body)}\n"
        f"  (scenario '{scenario.name}' on {deployment.name} expects {request.status or 'a 2xx status'}; log: {log}.\n"
        "  --write-scenarios FILE writes the requests to a file, where path, body, headers and `status` can be changed)"
    )


def probe(
    deployments: Iterable[Deployment],
    scenarios: Iterable[Scenario],
    app: str,
    app_dir: str,
    cores: str,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Sends each request of the application's scenarios once to the first deployment of each interpreter.

    Raises:
        CompareError: the server does not start, or a response has another status than its scenario expects.
    """
    asked = [s for s in scenarios if not s.app]
    firsts: dict[str, Deployment] = {}
    for d in deployments:
        firsts.setdefault(d.kind, d)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, deployment in firsts.items() if asked else ():
        say(f"asking {deployment.name} once for each request")
        log = folder / f"probe-{kind}.log"
        server = start(deployment, app, app_dir, cores, log)
        try:
            for scenario in asked:
                for request in scenario.requests:
                    _probe(scenario, request, deployment, server.port, log)
        finally:
            server.stop()
