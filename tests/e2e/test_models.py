"""Models in answers, with pydantic from a virtual environment of each interpreter; and without it."""

import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import APPS, ROOT, Server, run_and_fail, start


@pytest.fixture(scope="module")
def venv(python) -> Path:
    made = subprocess.run(
        [
            ROOT / "scripts/venv.sh",
            (ROOT / f"build/python-{python}").read_text().strip(),
            ROOT / "tests/requirements-models.txt",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return Path(made.stdout.strip()).parents[1]


@pytest.fixture(scope="module")
def models(python, venv, tmp_path_factory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("models") / "log"
    server = start(log, "models:app", "--app-dir", str(APPS), "--python", python, "--venv", str(venv))
    yield server
    assert server.stop() == 0, server.log


def test_models_are_dumped_by_alias(models):
    hidden = "**********"
    assert models.get("/alias").json() == {
        "one": {"itemId": 1, "inner": {"itemId": 2, "inner": None, "password": hidden}, "password": hidden},
        "many": [{"itemId": 3, "inner": None, "password": hidden}],
    }


def test_types_of_pydantic(models):
    assert models.get("/types").json() == {
        "secrets": ["**********", "b'**********'", "**********"],
        "urls": ["http://a/b", "https://c/"],
        "nan": {"name": "a", "number": None},
    }


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/filtered/model", {"name": "a", "number": 1.5}),
        ("/filtered/dict", {"name": "a", "number": 1.5}),
        ("/filtered/object", {"name": "row", "number": 1.5}),
        ("/filtered/many", {"all": [{"name": "a", "number": 1.5}, {"name": "row", "number": 1.5}]}),
        ("/filtered/dataclass", {"x": 1}),
        ("/filtered/typed-dict", {"name": "a"}),
        ("/filtered/asked", {"name": "a", "number": 1.5}),
        ("/filtered/alias", {"itemId": 1, "inner": None, "password": "**********"}),
        ("/whole", {"name": "a", "number": 1.5, "password": "hidden"}),
        ("/response/yes", {"own": True}),
        ("/response/no", {"name": "a", "number": 1.5}),
        ("/plain", {"a": 1}),
    ],
)
def test_return_annotation_chooses_the_fields(models, path, answer):
    response = models.get(path)
    assert response.json() == answer
    assert response.status_code == (201 if path == "/filtered/alias" else 200)


def test_response_class_gets_the_models_fields(models):
    assert models.get("/only-response").text == "x"
    assert models.get("/filtered/text").status_code == 500  # PlainTextResponse takes text, not 1
    assert "PlainTextResponse takes bytes or str, not int" in models.log


def test_answer_that_does_not_fit_its_model(models):
    assert models.get("/wrong").status_code == 500
    assert "what the handler returned does not fit its response model Public" in models.log
    assert "number" in models.log


REFUSED = {
    "missing": ("def one() -> Point: ...", ["broken.py:7", "the model Point", "pydantic, which is not installed"]),
    "generator": (
        "def one() -> Iterator[Point]:\n    yield 1",
        ["broken.py:7", "is a generator", "response_model=None"],
    ),
    "unknown": ("def one() -> dict[str, Point | Odd]: ...", ["broken.py:7", "pydantic cannot apply", "response_model"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_model_that_cannot_be_applied_is_refused(name, python, venv, tmp_path):
    handler, says = REFUSED[name]
    source = """
    import dataclasses
    from collections.abc import Iterator
    from oarlock import App
    app = App()
    Point = dataclasses.make_dataclass("Point", [("x", int)]); Odd = type("Odd", (), {})
    """
    (tmp_path / "broken.py").write_text(textwrap.dedent(source).strip() + "\n\n@app.get('/')\n" + handler + "\n")
    options = [] if name == "missing" else ["--venv", str(venv)]
    status, out = run_and_fail("routes", "broken:app", "--app-dir", str(tmp_path), "--python", python, *options)
    assert status == 1
    for text in says:
        assert text in out
