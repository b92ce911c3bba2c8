"""Markers and defaults that oarlock does not understand are refused when the application is loaded, never ignored."""

import json
import subprocess

from conftest import ROOT, clean_environment, run_and_fail

SOURCE = """
import enum
from typing import Annotated
from uuid import UUID
from oarlock import App, BackgroundTasks, Path, Query, Request

# What other libraries have under these names.
class Marker:
    def __init__(self, *args, **kwargs): ...
    def __repr__(self): return f"{type(self).__name__}(...)"
class Depends(Marker): __module__ = "fastapi.params"
class Header(Marker): __module__ = "fastapi.params"
class Cookie(Marker): __module__ = "fastapi.params"
class FieldInfo(Marker): __module__ = "pydantic.fields"
class Ge(Marker): __module__ = "annotated_types"
class Body(Marker): __module__ = "fastapi.params"
class Doc(Marker): __module__ = "typing_extensions"
class ForeignQuery(Marker): __module__ = "fastapi.params"
ForeignQuery.__name__ = "Query"
class Missing(Marker): ...
class Unset(enum.Enum):
    UNSET = 1
NOTHING = object()
def f(): ...

app = App()

@app.get("/{a}")
"""

REFUSED = {
    "a: str, user: Annotated[str, Depends(f)]": [
        "'user'",
        "Depends(...) of fastapi",
        "call the function in the handler",
    ],
    "a: str, user: str = Depends(f)": ["'user'", "the default Depends(...) of fastapi", "call the function"],
    "a: str, token: Annotated[str, Header()]": ["'token'", "Header(...) of fastapi", "request.headers"],
    "a: str, token: Annotated[str | None, Cookie()] = None": ["'token'", "Cookie(...)", "request.cookies"],
    "a: Annotated[int, FieldInfo(ge=1)]": ["'a'", "FieldInfo(...) of pydantic", "HTTPException(422"],
    "a: Annotated[int, Path(), Ge(1)]": ["'a'", "Ge(...) of annotated_types", "HTTPException(422"],
    "a: str, b: int = FieldInfo(ge=1)": ["'b'", "the default FieldInfo(...)"],
    "a: str, b: Annotated[int, ForeignQuery()]": ["'b'", "Query(...) of fastapi", "import Query from oarlock"],
    "a: str, b: int = ForeignQuery()": ["'b'", "import Query from oarlock"],
    "a: str, b: Annotated[int, Query]": ["'b'", "Query of oarlock", "with parentheses"],
    "a: str, b: str = Body()": ["'b'", "Body(...) of fastapi", "await request.json()"],
    "a: str, b: Annotated[int, Query(), Path()]": ["'b'", "has 2 markers"],
    "a: str, b: str = Missing()": ["'b'", "the default Missing(...)", "None, or as a sentinel object()"],
    "a: str, b: str = Missing": ["'b'", "the default Missing"],
    "a: str, b: str = f": ["'b'", "which oarlock does not apply"],
    "a: str, r: Annotated[Request, Depends(f)]": ["'r'", "Depends(...)"],
    "a: str, t: BackgroundTasks = Depends(f)": ["'t'", "Depends(...)"],
    "a: list[str]": ["'a'", "has type list[str]"],
    "a: Missing": ["'a'", ".Missing"],
}


# Loads each of the applications as the loader does, in one process.
LOAD_ALL = """
import json, sys
from oarlock._worker import _manifest
from oarlock.exceptions import LoadError
said = []
for name in json.load(sys.stdin):
    try:
        said.append(_manifest.dumps(_manifest.import_app(name + ":app", False)))
    except LoadError as exc:
        said.append(str(exc))
json.dump(said, sys.stdout)
"""


def test_what_is_not_understood_is_refused(python, tmp_path):
    interpreter = (ROOT / "build" / f"python-{python}").read_text().strip()
    names = [f"broken{i}" for i in range(len(REFUSED))]
    for name, parameters in zip(names, REFUSED, strict=True):
        (tmp_path / f"{name}.py").write_text(SOURCE + f"def one({parameters}): ...\n")
    done = subprocess.run(
        [interpreter, "-c", LOAD_ALL],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": f"{ROOT / 'python'}:{tmp_path}"},
    )
    line = SOURCE.count("\n")
    for name, said, (parameters, says) in zip(names, json.loads(done.stdout), REFUSED.items(), strict=True):
        assert said.startswith(f"{name}.py:{line}: handler 'one': parameter "), parameters
        for text in says:
            assert text in said, parameters


def test_the_server_does_not_start_with_a_foreign_marker(python, tmp_path):
    (tmp_path / "broken.py").write_text(SOURCE + "def one(a: str, user: Annotated[str, Depends(f)]): ...\n")
    status, out = run_and_fail(
        "run", "broken:app", "--app-dir", str(tmp_path), "--python", python, "--bind", "127.0.0.1:0"
    )
    assert status == 1
    assert "broken.py" in out
    assert "parameter 'user' is marked with Depends(...) of fastapi, which oarlock does not apply" in out


ACCEPTED = """def one(
    a: Annotated[str, Path(), "what it is", Doc("more")],
    request: Request = None,
    tasks: Annotated[BackgroundTasks, Doc("later")] = None,
    n: Annotated[int, Doc("a number")] = 3,
    s=Unset.UNSET,
    o: str | None = NOTHING,
    u: UUID = UUID(int=0),
    q: Annotated[int, Query(alias="the-q")] = 7,
    t=(),
    d: Annotated[int, Query(5)] = ...,
):
    return [a, n, s is Unset.UNSET, o is NOTHING, u.int, q, t, d]
"""


def test_descriptions_and_values_are_accepted(python, tmp_path, serve):
    (tmp_path / "fine.py").write_text(SOURCE + ACCEPTED)
    server = serve("fine:app", "--app-dir", str(tmp_path), "--python", python)
    assert server.get("/x?d=1").json() == ["x", 3, True, True, 0, 7, [], 1]
    assert server.get("/x").json()["detail"][0]["loc"] == ["query", "d"]  # `...` means required
