"""Installed by pip into a virtual environment of either interpreter, and by `make install`: used as a user would."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, run_and_fail

APPLICATION = """
from oarlock import App
import sys, sysconfig

app = App()

@app.get("/where")
def where():
    return {"prefix": sys.prefix, "ft": bool(sysconfig.get_config_var("Py_GIL_DISABLED"))}
"""


def clean_environment() -> dict[str, str]:
    return {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("OARLOCK_", "PYTHON", "MAKE", "MFLAGS")) and k != "VIRTUAL_ENV"
    }


@pytest.fixture(scope="module")
def venv(python, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(f"venv-{python}")
    interpreter = (ROOT / "build" / f"python-{python}").read_text().strip()
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", str(ROOT)]
    done = subprocess.run(pip, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_tools_find_the_server_that_pip_installed(venv, python):
    from oarlock.compare.interpreters import (
        describe,  # here: sanitized runs collect this file without the package's bridge
    )

    found = describe(str(venv / "bin" / "python"))
    assert found.kind == python
    assert found.server.endswith("/oarlock/_bin/oarlock")
    assert (Path(found.server).parent / "oarlock-load").exists()


def serve_once(command: list, cwd: Path) -> dict:
    """Starts a server, asks it GET /where, stops it."""
    ready_r, ready_w = os.pipe()
    process = subprocess.Popen(
        [*command, "--bind", "127.0.0.1:0", "--ready-fd", str(ready_w)],
        pass_fds=(ready_w,),
        cwd=cwd,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(ready_w)
    with os.fdopen(ready_r) as ready:
        line = ready.readline()
    try:
        assert line, process.communicate()[1]
        port = line.partition("127.0.0.1:")[2].split()[0].strip(",")
        return httpx.get(f"http://127.0.0.1:{port}/where", timeout=30).json()
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stderr.close()


@pytest.mark.parametrize("how", ["command", "module"])
def test_installed_server_runs_with_its_own_interpreter(venv, python, how, tmp_path):
    (tmp_path / "mysite.py").write_text(APPLICATION)
    command = [venv / "bin" / "oarlock"] if how == "command" else [venv / "bin" / "python", "-m", "oarlock"]
    answer = serve_once([*command, "run", "mysite:app"], tmp_path)
    assert answer == {"prefix": str(venv), "ft": python == "ft"}


def test_installed_package_is_imported_and_typed(venv):
    script = "import oarlock, oarlock.responses, pathlib; print(oarlock.JSONResponse({'a': [1.5]}).body.decode());"
    script += "print(pathlib.Path(oarlock.__file__).with_name('py.typed').exists())"
    done = subprocess.run([venv / "bin" / "python", "-c", script], capture_output=True, text=True, cwd="/")
    assert (done.stdout, done.stderr) == ('{"a":[1.5]}\nTrue\n', "")


def test_wrong_interpreter_is_refused(venv, python, tmp_path):
    """The wheel holds one bridge; the other interpreter is named, with the way out."""
    other = "ft" if python == "gil" else "gil"
    environment = clean_environment()
    done = subprocess.run(
        [venv / "bin" / "oarlock", "run", "mysite:app", "--python", other],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode != 0
    assert f"no bridge {other}.so" in done.stderr
    assert "pip" in done.stderr


def test_make_install(python, tmp_path):
    prefix = tmp_path / "prefix"
    chosen = {k: v for k, v in os.environ.items() if k in ("PYTHON", "FT_PYTHON")}
    done = subprocess.run(
        ["make", "-C", ROOT, "install", f"PREFIX={prefix}"],
        env=clean_environment() | chosen,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "mysite.py").write_text(APPLICATION)
    answer = serve_once([prefix / "bin" / "oarlock", "run", "mysite:app", "--python", python], tmp_path)
    assert answer["ft"] == (python == "ft")


def test_not_a_python(tmp_path):
    status, out = run_and_fail("run", "hello:app", "--python", "/bin/true", "--app-dir", str(ROOT / "examples"))
    assert status != 0
    assert "--python /bin/true" in out
