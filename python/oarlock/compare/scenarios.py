"""What is asked of the servers: from a TOML file, written from the application's routes, or built in."""

import json
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oarlock.compare.interpreters import CompareError

BUILTIN_APP = "oarlock.compare.builtin:app"


@dataclass(frozen=True)
class Request:
    """One kind of request of a scenario."""

    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    weight: int = 1
    status: int = 0  # 0: any 2xx
    volatile: bool = False  # its body may differ from response to response

    def raw(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        body = self.body.encode()
        if body or self.method in ("POST", "PUT", "PATCH"):
            if not any(name.lower() == "content-type" for name, _ in self.headers):
                lines.append("Content-Type: application/json")
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Scenario:
    """A load: requests in proportion, connections, and the rate at which latency is measured."""

    name: str
    requests: tuple[Request, ...]
    connections: int = 50
    rate: float = 0.0  # requests/s for latency; 0: half of what the slowest deployment can do
    app: str = ""  # "": the application that is compared
    about: str = ""
    closed: bool = True  # False: only at its rate; a closed loop would pile up work without end
    options: tuple[str, ...] = field(default=())  # more options of the server

    def kinds(self) -> bytes:
        """The file that the load generator reads."""
        parts = []
        for i, r in enumerate(self.requests):
            raw = r.raw()
            name = re.sub(r"[^\x21-\x7e]", "_", f"{i}:{r.method}:{r.path}")[:60]
            parts.append(f"{name} {r.weight} {r.status} {int(r.volatile)} {len(raw)}\n".encode() + raw + b"\n")
        return b"".join(parts)


def _one(name: str, path: str, about: str, connections: int = 50, **kwargs: Any) -> Scenario:
    return Scenario(name, (Request(path, **kwargs),), connections, app=BUILTIN_APP, about=about)


_BODY = json.dumps({"name": "oarlock", "tags": ["a", "b", "c"], "price": 9.75, "stock": {"here": 4, "there": 12}})
BUILTIN = {
    s.name: s
    for s in (
        _one("light", "/json", "a small JSON object, 10 connections", 10),
        _one("medium", "/json", "a small JSON object, 50 connections", 50),
        _one("heavy", "/json", "a small JSON object, 200 connections", 200),
        _one("quick-json", "/json", "a def that returns a small dict"),
        _one("async-0", "/async", "an async def that does not wait"),
        _one("async-10ms", "/sleep", "an async def that waits 10 ms", 200),
        _one("blocking-10ms", "/blocking", "a def that blocks 10 ms"),
        _one("cpu-1ms", "/cpu", "about a millisecond of Python", 32),
        _one("state-100m", "/state/77777", "a look-up in 100 MiB of live objects"),
        _one("json-body", "/body", "JSON in and out", method="POST", body=_BODY),
        Scenario(
            "mixed",
            (Request("/json", weight=95), Request("/blocking", weight=5)),
            64,
            app=BUILTIN_APP,
            about="95 % quick, 5 % that block 10 ms",
        ),
        _one("generator", "/five/generator", "20 ms of Python on the event loop, in one expression", 8),
        _one("cycle", "/five/cycle", "20 ms of Python on the event loop, in a loop", 8),
        _one("cycle-sleep", "/five/cycle_sleep", "the same, letting others run every 2 ms", 8),
        _one("thread", "/five/thread", "20 ms of Python in a thread", 8),
        Scenario(
            "background",
            (Request("/five/background"),),
            8,
            rate=20,
            app=BUILTIN_APP,
            about="20 ms of Python after the response, 20 times a second",
            closed=False,
        ),
    )
}
FIVE = ("generator", "cycle", "cycle-sleep", "thread", "background")
DEFAULT = ("quick-json", "async-10ms", "cpu-1ms", "mixed")
QUICK = ("quick-json", "cpu-1ms")


def named(names: list[str]) -> list[Scenario]:
    """Built-in scenarios by name; "five" is the CPU-bound five, "load" light, medium and heavy."""
    groups = {"five": FIVE, "load": ("light", "medium", "heavy"), "all": tuple(BUILTIN)}
    found = []
    for name in names:
        for each in groups.get(name, (name,)):
            if each not in BUILTIN:
                raise CompareError(
                    f"there is no scenario '{each}'; built in: {', '.join(BUILTIN)}, and the groups {', '.join(groups)}"
                )
            found.append(BUILTIN[each])
    return found


# ---- files ----------------------------------------------------------------------------------------

_KEYS = {"name", "connections", "rate", "about", "request"}
_REQUEST_KEYS = {"method", "path", "headers", "body", "json", "weight", "status", "volatile"}


def _request(where: str, table: dict[str, Any]) -> Request:
    unknown = set(table) - _REQUEST_KEYS
    if unknown:
        raise CompareError(f"{where}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(sorted(_REQUEST_KEYS))}")
    path = table.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise CompareError(f"{where}: path must be text that begins with '/', not {path!r}")
    body = json.dumps(table["json"]) if "json" in table else table.get("body", "")
    weight = table.get("weight", 1)
    if not isinstance(weight, int) or weight < 1:
        raise CompareError(f"{where}: weight must be a whole number from 1, not {weight!r}")
    return Request(
        path=path,
        method=str(table.get("method", "GET")).upper(),
        headers=tuple((str(k), str(v)) for k, v in table.get("headers", {}).items()),
        body=body,
        weight=weight,
        status=int(table.get("status", 0)),
        volatile=bool(table.get("volatile", False)),
    )


def read(path: Path) -> list[Scenario]:
    """The scenarios of a TOML file.

    Raises:
        CompareError: with the file, the scenario and the key that is wrong.
    """
    try:
        data = tomllib.loads(path.read_text())
    except OSError as exc:
        raise CompareError(f"{path}: {exc.strerror}") from None
    except tomllib.TOMLDecodeError as exc:
        raise CompareError(f"{path}: {exc}") from None
    tables = data.get("scenario")
    if not isinstance(tables, list) or not tables:
        raise CompareError(f"{path}: has no [[scenario]]")
    found = []
    for i, table in enumerate(tables):
        where = f"{path}: scenario {table.get('name', i + 1)!r}"
        unknown = set(table) - _KEYS
        if unknown:
            raise CompareError(f"{where}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(sorted(_KEYS))}")
        requests = [_request(f"{where}, request {n + 1}", r) for n, r in enumerate(table.get("request", []))]
        if not requests:
            raise CompareError(f"{where}: has no [[scenario.request]]")
        connections = table.get("connections", 50)
        if not isinstance(connections, int) or not 1 <= connections <= 16384:
            raise CompareError(f"{where}: connections must be 1 to 16384, not {connections!r}")
        rate = table.get("rate", 0)
        if not isinstance(rate, int | float) or rate < 0:
            raise CompareError(f"{where}: rate must be requests/s, or 0 for half of the capacity, not {rate!r}")
        name = str(table.get("name", f"scenario-{i + 1}"))
        found.append(Scenario(name, tuple(requests), connections, float(rate), about=str(table.get("about", ""))))
    return found


_EXAMPLES = {"int": "7", "float": "1.5", "bool": "true", "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "str": "x"}


def from_manifest(manifest: dict[str, Any], unsafe: bool = False) -> tuple[list[Scenario], list[str]]:
    """A scenario for each route, with made-up parameters, and the routes that were left out, like "POST /items".

    Left out unless ``unsafe``: what answers neither GET nor HEAD, since such a request may change the application's data.
    """
    left_out = []
    found = []
    for route in manifest["routes"]:
        method = next((m for m in ("GET", "HEAD") if m in route["methods"]), sorted(route["methods"])[0])
        if method not in ("GET", "HEAD") and not unsafe:
            left_out.append(f"{method} {route['path']}")
            continue
        path = route["path"]
        query = []
        for p in route["params"]:
            value = _EXAMPLES.get(p["type"], "x")
            if p["in"] == "path":
                path = re.sub(r"\{" + re.escape(p["segment"]) + r"(:[a-z]+)?\}", value, path)
            elif p["required"]:
                query.append(f"{p['name']}={value}")
        path = re.sub(r"\{[^}]*\}", "1", path)
        request = Request(path + ("?" + "&".join(query) if query else ""), method)
        if method not in ("GET", "HEAD"):
            request = replace(request, body="{}")
        found.append(Scenario(route["name"], (request,), about=f"{method} {route['path']} ({route['source']})"))
    return found, left_out


def write(scenarios: list[Scenario], left_out: list[str]) -> str:
    """A TOML file for a person to edit."""
    lines = [
        "# Scenarios for `oarlock compare APP --scenarios FILE`, first written from the application's routes: edit them.",
        "# Each request is checked: its status (any 2xx unless `status` says otherwise), and that all deployments answer",
        "# with identical bytes, unless `volatile = true`.",
        "",
    ]
    if left_out:
        lines += [
            "# Left out, since a request may change data (--unsafe-methods writes them here, and allows to send them):",
            *(f"#   {route}" for route in left_out),
            "",
        ]
    for s in scenarios:
        lines += ["[[scenario]]", f"name = {json.dumps(s.name)}"]
        if s.about:
            lines.append(f"about = {json.dumps(s.about)}")
        lines += [
            f"connections = {s.connections}",
            "rate = 0            # requests/s at which latency is measured; 0: half of what the slowest deployment can do",
        ]
        for r in s.requests:
            lines += ["", "[[scenario.request]]", f"method = {json.dumps(r.method)}", f"path = {json.dumps(r.path)}"]
            if r.method not in ("GET", "HEAD"):
                lines.append(f"body = {json.dumps(r.body)}   # or: json = {{ ... }}")
            lines += [
                f"weight = {r.weight}",
                "volatile = false    # true: the body may differ from response to response",
            ]
        lines.append("")
    return "\n".join(lines)
