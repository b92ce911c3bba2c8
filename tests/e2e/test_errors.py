"""What goes wrong before serving: the message names the thing, the value and the way out; status is not 0."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap

import pytest
from conftest import APPS, BINARY, KINDS, ROOT, children_of, run_and_fail, wait_until

CASES = {
    "dict_app": (
        "application = __import__('oarlock').App()\napp = {}",
        "broken:app",
        ["attribute 'app' of module 'broken' is a dict, not an App", "did you mean 'application'?"],
    ),
    "no_attribute": (
        "application = __import__('oarlock').App()",
        "broken:app",
        ["module 'broken' has no attribute 'app'", "did you mean 'application'?"],
    ),
    "function": (
        "from oarlock import App\ndef make():\n    return App()",
        "broken:make",
        ["attribute 'make'", "is a function", "--factory"],
    ),
    "no_module": ("", "brokn:app", ["there is no module 'brokn'", "did you mean 'broken'?"]),
    "missing_import": (
        "import surely_not_installed",
        "broken:app",
        ["ModuleNotFoundError", "surely_not_installed", "broken.py", "line 1"],
    ),
    "syntax": ("def f(:\n  pass", "broken:app", ["SyntaxError", "broken.py", "line 1"]),
    "raises": (
        "def f():\n    raise ValueError('at import')\nf()",
        "broken:app",
        ["importing broken:app failed", "ValueError: at import", "line 2, in f"],
    ),
    "exit": ("import sys\nsys.exit(0)", "broken:app", ["importing broken:app called sys.exit(0)"]),
    "conflict": (
        """
        from oarlock import App
        app = App()
        @app.get("/u/{a}")
        def one(a: int): ...
        @app.get("/u/{b}")
        def two(b: int): ...
        """,
        "broken:app",
        ["GET /u/{b} is routed twice", "one (", "broken.py:4", "two (", "broken.py:6", "--allow-duplicate-routes"],
    ),
    "annotation": (
        """
        from oarlock import App
        app = App()
        @app.post("/x")
        def one(item: dict): ...
        """,
        "broken:app",
        ["broken.py:4", "handler 'one'", "parameter 'item' has type dict", "await request.json()"],
    ),
    "unresolved": (
        """
        from oarlock import App
        app = App()
        @app.get("/x")
        def one(item: "Nowhere"): ...
        """,
        "broken:app",
        ["broken.py:4", "annotation cannot be resolved", "Nowhere"],
    ),
    "variadic": (
        """
        from oarlock import App
        app = App()
        @app.get("/x")
        def one(*args): ...
        """,
        "broken:app",
        ["broken.py:4", "'*args'", "name each parameter"],
    ),
    "generator": (
        """
        from oarlock import App
        app = App()
        @app.get("/x", response_class=str)
        def one():
            yield 1
        """,
        "broken:app",
        ["broken.py:4", "is a generator: its response_class must be a StreamingResponse"],
    ),
    "path_param": (
        """
        from oarlock import App, Path
        app = App()
        @app.get("/x/{a}")
        def one(b: int = Path()): ...
        """,
        "broken:app",
        ["parameter 'b' is a Path", "no {b}"],
    ),
    "pattern": (
        """
        from oarlock import App
        app = App()
        @app.get("/x/{a:number}")
        def one(a): ...
        """,
        "broken:app",
        ["broken.py:4", "unknown convertor 'number'", "int, float, uuid, str or path"],
    ),
    "path": (
        """
        from oarlock import App
        app = App()
        @app.get
        def one(): ...
        """,
        "broken:app",
        ["broken.py", "line 4", "a route needs a path, as in @app.get('/path'), not <function one"],
    ),
    "blocking": (
        """
        from oarlock import App
        app = App()
        @app.get("/x", blocking=True)
        async def one(): ...
        """,
        "broken:app",
        ["broken.py:4", "blocking=True is for a `def`", "run_in_threadpool()"],
    ),
    "method": (
        """
        from oarlock import App
        app = App()
        @app.route("/x", methods=["PURGE"])
        def one(): ...
        """,
        "broken:app",
        ["'PURGE' is not one of GET"],
    ),
}


def test_a_crash_in_the_import_is_named(python, tmp_path):
    """Out of memory, or an extension module's fault: the signal is all there is to know."""
    (tmp_path / "crashes.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    arguments = ["crashes:app", "--app-dir", str(tmp_path), "--python", python]
    for command in ("run", "routes"):
        status, out = run_and_fail(command, *arguments, "--bind", "127.0.0.1:0")
        assert status == 1
        assert "it was killed by signal 11 (Segmentation fault)" in out


@pytest.mark.parametrize("name", CASES)
def test_application_errors(name, python, tmp_path):
    source, target, says = CASES[name]
    (tmp_path / "broken.py").write_text(textwrap.dedent(source))
    for command in ("run", "routes"):
        status, out = run_and_fail(
            command, target, "--app-dir", str(tmp_path), "--python", python, "--bind", "127.0.0.1:0"
        )
        assert status == 1, out
        for text in says:
            assert text in out
        assert "oarlock/_" not in out, "the traceback shows frames that are not the application's"


MISTAKES = """
from oarlock import App, BackgroundTasks, HTTPException, Response
app = App()

async def work(): ...

@app.get("/status")
def status(): raise HTTPException(99)

@app.get("/detail")
def detail(): raise HTTPException(400, detail=ValueError("x"))

@app.get("/text")
def text(): return Response("x", status_code="200")

@app.get("/await")
async def forgotten(): return work()

@app.get("/task")
async def task(tasks: BackgroundTasks): tasks.add_task(work())
"""


def test_a_beginners_mistakes_are_500_and_named(python, serve, tmp_path):
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    server = serve("mistakes:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "1")
    for path, says in {
        "/status": "It cannot be an answer: a status_code is a number from 200 to 599, not 99",
        "/detail": "It cannot be an answer: a value of type ValueError cannot be sent as JSON",
        "/text": "a response's status_code must be a number from 200 to 599, not '200'",
        "/await": "a coroutine cannot be sent as JSON: an `await` is missing before work()",
        "/task": "a background task is a function and its arguments (the function itself, without calling it)",
    }.items():
        assert server.get(path).status_code == 500
        wait_until(lambda says=says: says in server.log)
    assert re.search(r"\| +File .*mistakes.py\", line 8, in status", server.log)


def test_factory(python, tmp_path, serve):
    (tmp_path / "made.py").write_text(
        "from oarlock import App\ndef make():\n    return App()\ndef bad():\n    return 3\n"
    )
    server = serve("made:make", "--factory", "--app-dir", str(tmp_path), "--python", python)
    assert server.get("/").status_code == 404
    status, out = run_and_fail("run", "made:bad", "--factory", "--app-dir", str(tmp_path), "--python", python)
    assert status == 1
    assert "made:bad() returned an int, not an App" in out


def test_load_timeout(python, tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    status, out = run_and_fail(
        "run",
        "slow:app",
        "--app-dir",
        str(tmp_path),
        "--python",
        python,
        "--load-timeout",
        "1s",
        "--bind",
        "127.0.0.1:0",
    )
    assert status == 1
    assert "importing slow:app took longer than --load-timeout (1 s)" in out


def test_worker_that_fails_ends_the_start(python, tmp_path):
    (tmp_path / "second.py").write_text(
        "import os, pathlib\nfrom oarlock import App\napp = App()\n"
        "flag = pathlib.Path(__file__).with_name('loaded')\n"
        "if flag.exists():\n    raise RuntimeError('only the loader works')\nflag.touch()\n"
    )
    status, out = run_and_fail(
        "run", "second:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "3", "--bind", "127.0.0.1:0"
    )
    assert status == 1
    assert "only the loader works" in out
    assert "could not load the application" in out


def test_files_that_changed_are_noticed(python, tmp_path):
    (tmp_path / "other.py").write_text(
        "import pathlib\nfrom oarlock import App\napp = App()\n"
        "flag = pathlib.Path(__file__).with_name('loaded')\n"
        "app.get('/second' if flag.exists() else '/first')(lambda: 1)\nflag.touch()\n"
    )
    status, out = run_and_fail(
        "run", "other:app", "--app-dir", str(tmp_path), "--python", python, "--bind", "127.0.0.1:0"
    )
    assert status == 1
    assert "its files have changed" in out


def test_port_in_use_names_the_owner(serve):
    server = serve("--stub")
    status, out = run_and_fail("run", "--stub", "--bind", f"127.0.0.1:{server.port}")
    assert status == 1
    assert f"127.0.0.1:{server.port}" in out
    assert f"in use by process {server.pid};" in out


def test_unix_socket(serve, tmp_path):
    path = tmp_path / "s.sock"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OARLOCK_")}
    ready_r, ready_w = os.pipe()
    process = subprocess.Popen(
        [BINARY, "run", "--stub", "--bind", f"unix:{path}", "--ready-fd", str(ready_w)],
        pass_fds=(ready_w,),
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    os.close(ready_w)
    with os.fdopen(ready_r) as ready:
        assert f"unix:{path}" in ready.readline()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b'{"message":"hello"}' in s.recv(4096)
    status, out = run_and_fail("run", "--stub", "--bind", f"unix:{path}")
    assert status == 1
    assert "another server listens there" in out
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["run", "--stub", "--bind", "nowhere:80"], 1, ["--bind nowhere:80", "no address of this machine"]),
        (["run", "--stub", "--bind", "127.0.0.1:99999"], 1, ["--bind 127.0.0.1:99999", "port 0 to 65535"]),
        (["run", "--stub", "--workers", "0"], 2, ["--workers", "0", "1 to 512"]),
        (["run", "--stub", "--workers", "100", "--threads", "100"], 1, ["--workers 100 x --threads 100", "4096"]),
        (["run", "x:app", "--python", "/no/such/python"], 1, ["--python /no/such/python", "give gil, ft or the path"]),
        (["run", "x:app", "--venv", "/no/such/venv"], 1, ["--venv /no/such/venv", "python3 -m venv"]),
        (
            ["run", "x:app", "--app-dir", "/no/such/folder", "--python", KINDS[0]],
            1,
            ["no module 'x'", "/no/such/folder"],
        ),
        (["run"], 2, ["no application was named", "main:app"]),
        (["serve"], 2, ["no command 'serve'", "--help"]),
        (["run", "src/main.py"], 2, ["'src/main.py' names a file", "such as main:app --app-dir src"]),
        (["run", "--stub", "--no-debug=1"], 2, ["--no-debug takes no value", "--debug"]),
    ],
)
def test_command_line_errors(arguments, status, says):
    got, out = run_and_fail(*arguments)
    assert got == status, out
    for text in says:
        assert text in out


def test_environment(serve):
    """A list is split at its commas; a variable that is no option is named, with the nearest."""
    status, out = run_and_fail("run", "--stub", env={"OARLOCK_BIND": "127.0.0.1:0, 127.0.0.1:99999"})
    assert status == 1
    assert "--bind 127.0.0.1:99999: give HOST:PORT" in out
    server = serve("--stub", env={"OARLOCK_MAX_BODYS": "1", "OARLOCK_SERVICE_HOST": "10.0.0.1"})
    warning = "OARLOCK_MAX_BODYS, which is no option; did you mean OARLOCK_MAX_BODY;"
    assert warning in server.log
    assert server.log.count("which is no option") == 1


def test_venv_of_the_wrong_kind_is_refused(python, tmp_path):
    other = {"gil": "ft", "ft": "gil"}[python]
    interpreter = (ROOT / "build" / f"python-{other}").read_text().strip()
    subprocess.run([interpreter, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    status, out = run_and_fail(
        "run", "full:app", "--app-dir", str(APPS), "--python", python, env={"VIRTUAL_ENV": str(tmp_path / "venv")}
    )
    assert status == 1
    assert "is not one for CPython 3.13" in out
    assert "-m venv" in out


def test_venv_gives_packages_and_executable(python, tmp_path, serve):
    interpreter = (ROOT / "build" / f"python-{python}").read_text().strip()
    venv = tmp_path / "venv"
    subprocess.run([interpreter, "-m", "venv", "--without-pip", venv], check=True)
    (next(venv.glob("lib/python*/site-packages")) / "only_here.py").write_text("VALUE = 42\n")
    (tmp_path / "uses.py").write_text(
        "import sys\nimport only_here\nfrom oarlock import App\napp = App()\n"
        "@app.get('/')\ndef f():\n    return [only_here.VALUE, sys.executable, sys.prefix]\n"
    )
    server = serve("uses:app", "--app-dir", str(tmp_path), "--python", python, "--venv", str(venv))
    assert server.get("/").json() == [42, str(venv / "bin/python"), str(venv)]
    server = serve("uses:app", "--app-dir", str(tmp_path), "--python", str(venv / "bin/python"))
    assert server.get("/").json()[2] == str(venv)


def test_routes_command(python):
    done = subprocess.run(
        [BINARY, "routes", "full:app", "--app-dir", APPS, "--python", python],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["METHODS", "PATH", "KIND", "HANDLER"]
    assert any(
        line.split()[:4] == ["GET", "/items/{item_id}", "async", "item"] and "tests/e2e/apps/full.py:" in line
        for line in lines
    )
    assert any(line.startswith("GET,POST,OPTIONS") and "/many" in line for line in lines)
    assert "routes," in lines[-1]


def test_order_warning(python, tmp_path, serve):
    (tmp_path / "order.py").write_text(
        "from oarlock import App\napp = App()\n@app.get('/u/{x}')\ndef a(x):\n    return 'param'\n@app.get('/u/me')\ndef b():\n    return 'static'\n"
    )
    server = serve("order:app", "--app-dir", str(tmp_path), "--python", python)
    assert "'/u/me'" in server.log
    assert "wins over '/u/{x}'" in server.log
    assert server.get("/u/me").json() == "static"
    server = serve("order:app", "--app-dir", str(tmp_path), "--python", python, "--route-order", "registration")
    assert "wins over" not in server.log
    assert server.get("/u/me").json() == "param"


def test_debug_shows_the_traceback_and_the_log_always_does(python, serve):
    for flags, shown in ((["--debug"], True), ([], False)):
        server = serve("full:app", "--app-dir", str(APPS), "--python", python, *flags)
        response = server.get("/raise/value")
        assert response.status_code == 500
        assert ("a secret that must not leave" in response.text) is shown
        assert "ValueError: a secret that must not leave" in server.log
        assert "/raise/{kind}: the handler raised ValueError" in server.log


@pytest.mark.parametrize("phase", ["loading", "starting"])
def test_stop_before_ready(python, tmp_path, phase):
    condition = "True" if phase == "loading" else "flag.exists()"
    (tmp_path / "stuck.py").write_text(
        "import pathlib, time\nfrom oarlock import App\napp = App()\nhere = pathlib.Path(__file__).parent\n"
        f"flag = here / 'loaded'\nif {condition}:\n    (here / 'stuck').touch()\n    time.sleep(600)\nflag.touch()\n"
    )
    process = subprocess.Popen(
        [BINARY, "run", "stuck:app", "--app-dir", tmp_path, "--python", python, "--bind", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "stuck").exists)
    children = children_of(process.pid)
    assert children
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    assert "out of memory" not in log, "the master has killed them itself"
    for pid in children:
        wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))


CHECK = ROOT / "scripts" / "check_python.py"


def test_interpreter_check(tmp_path):
    gil, ft = ((ROOT / "build" / f"python-{kind}").read_text().strip() for kind in ("gil", "ft"))

    def check(interpreter: str, kind: str) -> tuple[int, str]:
        done = subprocess.run([interpreter, CHECK, kind], capture_output=True, text=True)
        return done.returncode, done.stderr

    assert check(gil, "gil") == (0, "")
    assert check(ft, "ft") == (0, "")
    assert "not a free-threaded build" in check(gil, "ft")[1]
    assert "is a free-threaded build" in check(ft, "gil")[1]
    shim = "import sys, sysconfig, runpy\n{}\nsys.argv = ['check', 'gil']\nrunpy.run_path(" + repr(str(CHECK)) + ")"
    for change, says in [
        ("sys.version_info = (3, 12, 0)", "too old"),
        ("sysconfig.get_config_vars()['Py_ENABLE_SHARED'] = 0", "no shared libpython"),
        ("sysconfig.get_path = lambda name: '/nowhere'", "no headers in /nowhere"),
    ]:
        done = subprocess.run([gil, "-c", shim.format(change)], capture_output=True, text=True)
        assert done.returncode == 1
        assert says in done.stderr
        assert gil in done.stderr


def test_help_and_version():
    out = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout
    for text in ("usage: oarlock run module:attribute", "--workers N|auto", "[127.0.0.1:8000]", "Signals"):
        assert text in out
    assert subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout == "oarlock 0.1.0\n"


def test_options_document_is_current():
    out = subprocess.run([BINARY, "options-doc"], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "options.md").read_text() == out, "run `make docs`"


def test_without_bridge_says_how_to_build(tmp_path):
    shutil.copy(BINARY, tmp_path / "oarlock")
    done = subprocess.run([tmp_path / "oarlock", "run", "x:app"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no bridge gil.so" in done.stderr
    assert "make build" in done.stderr


assert sys.version_info >= (3, 13)
