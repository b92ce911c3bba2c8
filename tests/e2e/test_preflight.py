"""What `compare` and `tune` check before they measure: methods, answers, environments."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import BUILD, ROOT, clean_environment
from oarlock.compare import preflight, scenarios
from oarlock.compare.interpreters import CompareError
from oarlock.compare.scenarios import Request

APP = """
import asyncio
from pathlib import Path
from oarlock import App, HTTPException, Request, StreamingResponse

app = App()
ASKED = Path(__file__).with_name("asked")


def note(method: str) -> dict[str, str]:
    with ASKED.open("a") as f:
        f.write(method + "\\n")
    return {"method": method}


@app.post("/items")
def add():
    return note("POST")


@app.delete("/items/{item}")
def remove(item: int):
    return note("DELETE")


@app.get("/items/{item}")
def item(item: int):
    return note("GET")


@app.get("/missing")
def missing():
    raise HTTPException(404, detail="no such boat")


@app.get("/broken")
def broken():
    raise RuntimeError("the hull leaks")


@app.get("/endless")
async def endless():
    async def ticks():
        while True:
            yield b"tick"
            await asyncio.sleep(0.01)
    return StreamingResponse(ticks())
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "boats.py").write_text(APP)
    return tmp_path


def tool(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oarlock", name, "boats:app", "--app-dir", str(folder), *arguments]
    environment = clean_environment() | {"PYTHONPATH": str(ROOT / "python")}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=folder)


def scenario_file(folder: Path, *requests: str) -> list[str]:
    """Arguments for a file with one scenario for each of the requests, as TOML."""
    tables = [
        f'[[scenario]]\nname = "s{i}"\nconnections = 2\n[[scenario.request]]\n{r}' for i, r in enumerate(requests)
    ]
    (folder / "s.toml").write_text("\n".join(tables))
    return ["--scenarios", str(folder / "s.toml")]


SHORT = ("--time", "500ms", "--deploy", "gil:1x1", "--deploy", "ft:1x1")


# ---- methods --------------------------------------------------------------------------------------


def test_only_get_is_sent_without_being_asked(folder):
    text = (
        APP.replace('@app.get("/missing")', "").replace('@app.get("/broken")', "").replace('@app.get("/endless")', "")
    )
    (folder / "boats.py").write_text(text)
    done = tool("compare", folder, *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set((folder / "asked").read_text().split()) == {"GET"}
    assert "2 routes that answer neither GET nor HEAD are left out" in done.stderr


@pytest.mark.parametrize("name", ["compare", "tune"])
def test_a_scenario_file_with_other_methods_is_refused(folder, name):
    file = scenario_file(folder, 'path = "/items/1"', 'method = "DELETE"\npath = "/items/7"')
    done = tool(name, folder, *file)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "scenario 's1' sends DELETE /items/7" in done.stderr
    assert "--unsafe-methods" in done.stderr
    assert not (folder / "asked").exists()


def test_what_is_asked_for_is_sent_and_what_is_expected_does_not_stop(folder):
    file = scenario_file(folder, 'method = "POST"\npath = "/items"\nbody = "{}"', 'path = "/missing"\nstatus = 404')
    done = tool("compare", folder, *SHORT, *file, "--unsafe-methods")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set((folder / "asked").read_text().split()) == {"POST"}
    assert "ERRORS" not in done.stdout


def test_a_written_file_names_the_routes_that_it_leaves_out(folder):
    done = tool("compare", folder, "--write-scenarios", str(folder / "s.toml"))
    assert done.returncode == 0, done.stderr
    text = (folder / "s.toml").read_text()
    assert {r.method for s in scenarios.read(folder / "s.toml") for r in s.requests} == {"GET"}
    assert "DELETE /items/{item}" in text
    done = tool("compare", folder, "--write-scenarios", str(folder / "s.toml"), "--unsafe-methods")
    found = {r.method for s in scenarios.read(folder / "s.toml") for r in s.requests}
    assert found == {"GET", "POST", "DELETE"}, done.stderr


# ---- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compare", "tune"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/missing", 'GET /missing was answered with 404 Not Found: {"detail":"no such boat"}'),
        ("/broken", "GET /broken was answered with 500 Internal Server Error"),
    ],
)
def test_an_answer_that_was_not_expected_stops_before_measuring(folder, name, path, said):
    began = time.monotonic()
    done = tool(name, folder, *scenario_file(folder, f'path = "/items/1"\n[[scenario.request]]\npath = "{path}"'))
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stderr
    assert "scenario 's0'" in done.stderr
    assert "round 1" not in done.stderr
    assert time.monotonic() - began < 30  # of the 400 seconds that a run measures
    assert (folder / "asked").read_text().split() == ["GET"]  # once
    if path == "/broken":
        log = re.search(r"\S+\.log", done.stderr)
        assert log
        assert "the hull leaks" in Path(log[0]).read_text()


def test_the_requests_of_routes_are_told_apart_from_those_of_a_file(folder):
    done = tool("compare", folder)
    assert done.returncode == 1
    assert "was answered with 404" in done.stderr
    assert "--write-scenarios" in done.stderr


def test_an_answer_that_never_ends(folder, serve):
    server = serve("boats:app", "--app-dir", str(folder), "--python", "gil", "--workers", "1", "--threads", "1")
    with pytest.raises(CompareError, match=r"GET /endless .* did not end within 0\.3 s"):
        preflight.ask(server.port, Request("/endless"), seconds=0.3)


def test_what_a_head_is_answered_with_has_no_body(folder, serve):
    server = serve("boats:app", "--app-dir", str(folder), "--python", "gil", "--workers", "1", "--threads", "1")
    assert preflight.ask(server.port, Request("/items/1", "HEAD"), seconds=5) == (200, "OK", b"")


@pytest.mark.parametrize("kind", ["gil", "ft"])
def test_a_deployment_that_does_not_start_stops_before_measuring(folder, kind):
    text = (
        APP
        + f"\nimport sys\nif getattr(sys, '_is_gil_enabled', bool)() == {kind == 'gil'}:\n    import no_such_module\n"
    )
    (folder / "boats.py").write_text(text)
    done = tool("compare", folder, *SHORT, *scenario_file(folder, 'path = "/items/1"'))
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{kind.upper()} 1x1 did not start" in done.stderr or kind == "gil"
    assert "no_such_module" in done.stderr
    assert "round 1" not in done.stderr
    assert not (folder / "oarlock-compare").exists()


# ---- environments ---------------------------------------------------------------------------------

EXE = {kind: (BUILD / f"python-{kind}").read_text().strip() for kind in ("gil", "ft")}


@pytest.fixture
def installed(tmp_path):
    """The package as pip installs it for one interpreter: with the server, and with the bridge for that interpreter."""

    def install(kind: str) -> dict[str, str]:
        shutil.copytree(ROOT / "python" / "oarlock", tmp_path / "site" / "oarlock")
        bridges = tmp_path / "site" / "oarlock" / "_bin" / "bridge"
        bridges.mkdir(parents=True)
        shutil.copy(BUILD / "oarlock", bridges.parent)
        shutil.copy(BUILD / "load", bridges.parent / "oarlock-load")
        shutil.copy(BUILD / "bridge" / f"{kind}.so", bridges)
        return clean_environment() | {"PYTHONPATH": str(tmp_path / "site")}

    return install


@pytest.mark.parametrize(
    ("name", "kind", "other"), [("compare", "gil", "ft"), ("tune", "gil", "ft"), ("doctor", "gil", "ft")]
)
def test_an_environment_without_oarlock_is_told_first(installed, tmp_path, name, kind, other):
    command = [sys.executable, "-m", "oarlock", name, "--gil-python", EXE["gil"], "--ft-python", EXE["ft"]]
    command += ["boats:app"] if name == "doctor" else ["--scenario", "quick-json", "--time", "2"]
    env = installed(kind)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{EXE[other]} has no oarlock" in done.stderr
    assert f"{EXE[other]} -m pip install oarlock" in done.stderr
    assert "round 1" not in done.stderr


def test_what_runs_on_the_free_threaded_interpreter_needs_nothing_of_the_extra():
    code = (
        "import sys\nfor name in ('numpy', 'scipy', 'plotly'):\n    sys.modules[name] = None\n"
        "import oarlock.compare.builtin, oarlock.compare.probe, oarlock._manifest"
    )
    env = clean_environment() | {"PYTHONPATH": str(ROOT / "python")}
    subprocess.run([EXE["ft"], "-c", code], check=True, env=env, timeout=60)
