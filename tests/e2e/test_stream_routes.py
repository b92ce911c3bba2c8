"""Routes that cannot stream as they are declared: refused when the application is loaded, with file and line."""

import pytest
from conftest import run_and_fail


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("@app.post('/', stream=True)\nasync def h(): ...", "stream=True needs a parameter `request: Request`"),
        (
            "@app.post('/', stream=True, blocking=False)\ndef h(request: Request): ...",
            "would block the event loop",
        ),
        ("@app.post('/', max_body=-1)\ndef h(): ...", "max_body is a number of bytes"),
        ("@app.get('/', response_class=Response)\ndef h(): yield 1", "must be a StreamingResponse"),
    ],
)
def test_routes_that_cannot_stream(python, tmp_path, code, message):
    (tmp_path / "bad.py").write_text(f"from oarlock import App, Request, Response\napp = App()\n{code}\n")
    status, out = run_and_fail(
        "run", "bad:app", "--app-dir", str(tmp_path), "--python", python, "--bind", "127.0.0.1:0"
    )
    assert status != 0
    assert message in out
    assert "bad.py:3" in out
