"""`oarlock doctor`, and what it finds in the server's log and in the comparison too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment
from oarlock.compare import rules

CORPUS = ROOT / "tests" / "doctor" / "corpus"


def tool(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {"PYTHONPATH": str(ROOT / "python")} | env
    return subprocess.run(
        [sys.executable, "-m", "oarlock", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        cwd=ROOT,
    )


def test_precision_and_recall():
    """docs/doctor.md has the figures; a rule that loses any of the corpus is seen here."""
    found = {f.name: rules.check([(f, f.name)]) for f in sorted(CORPUS.glob("*.py"))}
    bugs = [n for n in found if n.startswith("bug")]
    clean = [n for n in found if n.startswith("clean")]
    assert (len(bugs), len(clean)) == (30, 30)
    caught = [n for n in bugs if found[n]]
    wrong = [n for n in clean if found[n]]
    precision, recall = len(caught) / max(1, len(caught) + len(wrong)), len(caught) / len(bugs)
    text = (ROOT / "docs" / "doctor.md").read_text()
    assert f"recall {len(caught)} of 30 ({recall:.0%})" in text
    assert f"precision {len(caught)} of {len(caught) + len(wrong)} ({precision:.0%})" in text


def test_each_finding_says_where_why_and_what_to_do():
    for f in sorted(CORPUS.glob("bug*.py")):
        for finding in rules.check([(f, f.name)]):
            lines = f.read_text().splitlines()
            assert 1 <= finding.line <= len(lines)
            assert all((finding.what, finding.why, finding.fix))


APP = """
import asyncio, socket, threading
{at_import}
from oarlock import App

app = App()
lock = asyncio.Lock()
s = socket.socket()
hits = 0


@app.get("/late")
async def late():
    {in_handler}
    return {{}}


@app.get("/hits", blocking=False)
def count():
    global hits
    hits += 1
    return {{"hits": hits}}
"""


@pytest.fixture
def application(tmp_path, extension):
    def write(at_import: bool) -> Path:
        text = APP.format(
            at_import="import helper" if at_import else "", in_handler="pass" if at_import else "import needsgil"
        )
        (tmp_path / "needs.py").write_text(text)
        (tmp_path / "helper.py").write_text(
            "try:\n    import needsgil\nexcept ImportError:\n    pass  # built for the other interpreter\n"
        )
        return tmp_path

    return write


def test_an_extension_that_turns_the_gil_on_at_start(application, extension):
    folder = application(at_import=True)
    done = tool("doctor", "needs:app", "--app-dir", str(folder), PYTHONPATH=f"{ROOT / 'python'}:{extension}")
    assert done.returncode == 3, done.stdout + done.stderr
    line = next(x for x in done.stdout.splitlines() if "needsgil" in x)
    assert "does not declare" in line
    assert f"{folder}/helper.py:2 <- {folder}/needs.py:3" in line


def test_an_extension_that_a_handler_imports(application, extension, tmp_path):
    folder = application(at_import=False)
    found = tmp_path / "found.json"
    done = tool(
        "doctor",
        "needs:app",
        "--app-dir",
        str(folder),
        "--json",
        str(found),
        PYTHONPATH=f"{ROOT / 'python'}:{extension}",
    )
    assert done.returncode == 3, done.stdout + done.stderr
    finding = next(
        f for f in json.loads(found.read_text())["findings"] if "needsgil" in f["what"] and f["level"] == "error"
    )
    assert "needs.py:14 in late()" in finding["where"]
    assert "imported by" in finding["what"]


def test_what_else_it_finds(application, extension):
    done = tool(
        "doctor",
        "needs:app",
        "--app-dir",
        str(application(at_import=False)),
        PYTHONPATH=f"{ROOT / 'python'}:{extension}",
    )
    assert "asyncio Lock was made at import" in done.stdout
    assert "a socket is open after the import" in done.stdout
    assert "[read-modify-write] hits" in done.stdout


def test_an_application_without_findings(tmp_path):
    (tmp_path / "fine.py").write_text(
        "from oarlock import App\n\napp = App()\n\n\n@app.get('/')\ndef index():\n    return {}\n"
    )
    done = tool("doctor", "fine:app", "--app-dir", str(tmp_path), "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors, 0 warnings" in done.stdout


def test_it_says_what_can_not_be_imported(tmp_path):
    (tmp_path / "broken.py").write_text("import there_is_no_such_module\n")
    done = tool("doctor", "broken:app", "--app-dir", str(tmp_path))
    assert done.returncode == 3
    assert "there_is_no_such_module" in done.stdout


def test_the_comparison_names_it_too(application, extension, tmp_path):
    folder = application(at_import=False)
    (tmp_path / "s.toml").write_text(
        '[[scenario]]\nname = "late"\nconnections = 4\nrate = 200\n[[scenario.request]]\npath = "/late"\n'
    )
    # on the interpreter with the GIL the module is there too, built for it: only FT must be named
    gil_module = tmp_path / "gil"
    gil_module.mkdir()
    (gil_module / "needsgil.py").write_text("")
    out = tmp_path / "out"
    done = tool(
        "compare", "needs:app", "--app-dir", str(folder), "--scenarios", str(tmp_path / "s.toml"), "--time", "1",
        "--deploy", "ft:1x1", "--deploy", "ft:1x2", "--output", str(out), PYTHONPATH=f"{ROOT / 'python'}:{extension}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((out / "result.json").read_text())
    assert all("needsgil" in r["gil_on"] and "in late()" in r["gil_on"] for r in data["results"])
    assert any(w.startswith("GIL ON") and "needsgil" in w for w in data["warnings"])
    assert data["recommendation"]["choice"] is None
    assert any("needsgil turns the GIL on" in reason for reason in data["recommendation"]["reasons"])


def test_environments_from_a_requirements_file(tmp_path):
    (tmp_path / "requirements.txt").write_text("# nothing: no index is asked\n")
    (tmp_path / "fine.py").write_text("from oarlock import App\n\napp = App()\n")
    arguments = ["fine:app", "--app-dir", str(tmp_path), "--requirements", str(tmp_path / "requirements.txt")]
    done = tool("doctor", *arguments, OARLOCK_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    made = sorted(p.parent.name for p in (tmp_path / "cache" / "compare").glob("*/.complete"))
    assert [name.split("-")[2] for name in made] == ["ft", "gil"]
    arguments[-1] = str(tmp_path / "no-such.txt")
    assert "there is no such file" in tool("doctor", *arguments, OARLOCK_CACHE=str(tmp_path / "cache")).stderr


LOCKED = """
import threading
from oarlock import App

app = App()
hits = 0
{made}


@app.get("/")
def index():
    global hits
    with {name}:
        hits += 1
    return {{}}
"""


@pytest.mark.parametrize("name", ["block", "clock", "flock_of_birds", "blocker", "unlocked_door", "Blocks", "locket"])
def test_a_name_with_lock_somewhere_in_it_is_no_lock(tmp_path, name):
    (tmp_path / "m.py").write_text(LOCKED.format(made="from elsewhere import " + name, name=name))
    assert [f.rule for f in rules.check([(tmp_path / "m.py", "m.py")])] == ["read-modify-write"]


@pytest.mark.parametrize(
    "name",
    ["lock", "_lock", "LOCK", "write_lock", "cacheLock", "rlock", "lock2", "HitsLock", "rw_lock", "mutex", "locks"],
)
def test_a_name_with_the_word_lock_is_one(tmp_path, name):
    (tmp_path / "m.py").write_text(LOCKED.format(made="from elsewhere import " + name, name=name))
    assert rules.check([(tmp_path / "m.py", "m.py")]) == []


def test_one_of_several_locks_is_one(tmp_path):
    (tmp_path / "m.py").write_text(LOCKED.format(made="from elsewhere import locks, blocks", name="locks['hits']"))
    assert rules.check([(tmp_path / "m.py", "m.py")]) == []
    (tmp_path / "m.py").write_text(LOCKED.format(made="from elsewhere import locks, blocks", name="blocks['hits']"))
    assert [f.rule for f in rules.check([(tmp_path / "m.py", "m.py")])] == ["read-modify-write"]


def test_a_lock_of_any_name_is_known_by_what_made_it(tmp_path):
    (tmp_path / "m.py").write_text(LOCKED.format(made="block = threading.Lock()", name="block"))
    assert rules.check([(tmp_path / "m.py", "m.py")]) == []


AT_IMPORT = """
import os, socket, threading, time
from pathlib import Path
from oarlock import App

app = App()
s = socket.socket()
t = threading.Thread(target=time.sleep, args=(1,), daemon=True, name="ticker")
t.start()
with Path(__file__).with_name("imported").open("a") as f:
    f.write(f"{os.getpid()}\\n")


@app.get("/")
def index():
    return {"threads": [t.name for t in threading.enumerate()], "pid": os.getpid()}
"""


def test_the_reason_for_what_is_open_at_import_is_true(tmp_path, serve, python):
    """The loader and each worker import the application, so each has its own threads, sockets and files."""
    (tmp_path / "opens.py").write_text(AT_IMPORT)
    server = serve("opens:app", "--app-dir", str(tmp_path), "--python", python, "--workers", "2", "--threads", "1")
    importers = (tmp_path / "imported").read_text().split()
    assert len(set(importers)) == 3
    assert set(map(str, server.workers())) < set(importers)
    assert "ticker" in server.get("/").json()["threads"]


def test_threads_and_descriptors_at_import_are_told_as_they_are(tmp_path):
    (tmp_path / "opens.py").write_text(AT_IMPORT)
    done = tool("doctor", "opens:app", "--app-dir", str(tmp_path))
    assert "the thread 'ticker' runs after the import" in done.stdout
    assert "a socket is open after the import" in done.stdout
    assert done.stdout.count("the loader and each worker import the application") >= 2
    assert "--preload" not in done.stdout
    assert "inherit" not in done.stdout
