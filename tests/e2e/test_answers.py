"""The same bytes from every deployment: GIL 2x1, FT 1x2, FT 2x2."""

import re
import subprocess

import pytest
from conftest import APPS, KINDS, start

GET = "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n"


def _requests() -> list[bytes]:
    paths = [
        "/",
        "/async",
        "/pool",
        "/wait/1",
        "/block/1",
        "/items/5",
        "/items/5?q=x&short=yes",
        "/items/-7?q=a%20b+c",
        "/items/99999999999999999999999?q=%C3%A9",
        "/items/x",
        "/items/1.5",
        "/items/1_000?short=off",
        "/items/5?short=maybe",
        "/items/5?q=",
        "/items/%35",
        "/types/1.5/123e4567-e89b-12d3-a456-426614174000?b=1",
        "/types/x/y",
        "/types/1e5/%7B123e4567-e89b-12d3-a456-426614174000%7D?b=off&s=&n=3",
        "/types/nan/x?b=2",
        "/alias?from=3",
        "/alias",
        "/alias?from=1&to=x",
        "/alias?from=1&from=2",
        "/users/me",
        "/users/you",
        "/users/",
        "/users/%2F",
        "/users/%zz",
        "/users/%ff",
        "/users/a%00b",
        "/users/..",
        "/users/.",
        "/numbers/12",
        "/numbers/x",
        "/files/a/b/c",
        "/files/",
        "/files/a//b",
        "/files/../x",
        "/caf%C3%A9",
        "/caf%c3%a9",
        "/nope",
        "/nope?x",
        "/items",
        "/items/",
        "/v1/sub",
        "/v1/sub/",
        "/v1/sub/x",
        "/v1/sub/x/",
        "//",
        "/text",
        "/html",
        "/response",
        "/redirect",
        "/null",
        "/not-modified",
        "/encode",
        "/nan",
        "/cycle",
        "/object",
        "/raise/http",
        "/raise/http-default",
        "/raise/value",
        "/raise/exit",
        "/raise/interrupt",
        "/raise/header",
        "/raise/status",
        "/raise/body",
        "/raise-async/value",
        "/raise-async/late-value",
        "/raise-async/late-http",
        "/raise-async/exit",
        "/raise-pool/value",
        "/raise-pool/http",
        "/raise-pool/exit",
        "/request/x/y/z?a=1&a=2&b=",
        "/context/v",
        "/context-def/v",
        "/semantics",
        "/sockets",
        "/subprocess",
        "/subprocess-async",
    ]
    requests = [GET.format(p, 'X-Header: v\r\nCookie: a=b; c="d"\r\n').encode() for p in paths]
    for method, path in [
        ("HEAD", "/"),
        ("HEAD", "/encode"),
        ("HEAD", "/items/x"),
        ("HEAD", "/nope"),
        ("HEAD", "/head-only"),
        ("GET", "/head-only"),
        ("POST", "/"),
        ("PUT", "/put"),
        ("PATCH", "/patch"),
        ("DELETE", "/delete"),
        ("OPTIONS", "/"),
        ("OPTIONS", "/many"),
        ("POST", "/many"),
        ("PUT", "/many"),
        ("TRACE", "/trace"),
        ("TRACE", "/"),
        ("OPTIONS", "/nope"),
        ("BREW", "/"),
    ]:
        requests.append(f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    for headers, body in [
        ("Content-Length: 5", b"hello"),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        ("Content-Length: 0", b""),
        ("Content-Length: 70000", b"z" * 70000),
    ]:
        requests.append(f"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n\r\n".encode() + body)
    for body in [b'{"a": [1, 2.5, null, "\\u00e9"]}', b"not json", b'"\xff"']:
        requests.append(
            b"POST /json HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
    requests.append(b"GET / HTTP/1.0\r\n\r\n")
    requests.append(b"GET http://a/items/3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return requests


REQUESTS = _requests()


def _answers(tmp_path, *flags: str) -> list[bytes]:
    server = start(tmp_path / f"{'-'.join(flags)}.log", "full:app", "--app-dir", str(APPS), *flags)
    try:
        return [re.sub(rb"\r\ndate: [^\r]*", b"", server.raw(r)) for r in REQUESTS]
    finally:
        assert server.stop() == 0


@pytest.mark.skipif("gil" not in KINDS, reason="this run has one interpreter; the test compares both")
def test_same_bytes_from_every_deployment(tmp_path):
    assert len(REQUESTS) >= 60
    gil = _answers(tmp_path, "--python", "gil", "--workers", "2", "--threads", "1")
    threads = _answers(tmp_path, "--python", "ft", "--workers", "1", "--threads", "2")
    hybrid = _answers(tmp_path, "--python", "ft", "--workers", "2", "--threads", "2")
    for request, a, b, c in zip(REQUESTS, gil, threads, hybrid, strict=True):
        assert a == b == c, request
        assert a.startswith(b"HTTP/1.1 "), request
    statuses = {int(a[9:12]) for a in gil}
    assert {200, 201, 202, 204, 304, 307, 404, 405, 418, 422, 500, 501} <= statuses


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/items/5?q=a%20b&short=on", 200, '{"item_id":5,"q":"a b","short":true}'),
        (
            "/types/1e2/{12345678-1234-5678-1234-567812345678}?b=n",
            200,
            '{"f":100.0,"u":"12345678-1234-5678-1234-567812345678","b":false,"s":"standard","n":7}',
        ),
        ("/alias?from=3", 200, '{"from":3,"to":5}'),
        ("/users/%2F", 200, '"%2F"'),
        ("/text", 200, "text, ü"),
        ("/null", 200, "null"),
        ("/nope", 404, '{"detail":"Not Found"}'),
        ("/raise/http", 418, '{"detail":{"short":"stout"}}'),
        ("/raise/value", 500, '{"detail":"Internal Server Error"}'),
        ("/raise-async/exit", 500, '{"detail":"Internal Server Error"}'),
        ("/raise-async/interrupt", 500, '{"detail":"Internal Server Error"}'),
        ("/semantics", 200, '{"task":true,"children":[0,1,2],"thread":true}'),
        ("/context/v", 200, '{"before":"unset","after":"v"}'),
        ("/context-def/v", 200, '{"before":"unset"}'),
        ("/processes/spawn", 200, "[4,9]"),
        ("/processes/forkserver", 200, "[4,9]"),
        ("/subprocess", 200, '{"out":"out\\n","status":3}'),
        ("/subprocess-async", 200, '{"out":"out\\n","status":4}'),
        ("/sockets", 200, '"ping\\n"'),
    ],
)
def test_answer(full, path, status, body):
    for _ in range(2):
        response = full.get(path)
        assert (response.status_code, response.text) == (status, body)


def test_validation_errors_are_fastapis(full):
    assert full.get("/types/x/nope").json()["detail"] == [
        {
            "type": "float_parsing",
            "loc": ["path", "f"],
            "input": "x",
            "msg": "Input should be a valid number, unable to parse string as a number",
        },
        {"type": "uuid_parsing", "loc": ["path", "u"], "input": "nope", "msg": "Input should be a valid UUID"},
        {"type": "missing", "loc": ["query", "b"], "input": None, "msg": "Field required"},
    ]


def test_encoded_types(full):
    body = full.get("/encode").json()
    assert body == {
        "datetime": "2026-01-02T03:04:05.000006+00:00",
        "date": "2026-01-02",
        "time": "01:02:03",
        "delta": 86400.005,
        "uuid": "00000000-0000-0000-0000-000000000001",
        "decimal": [1.5, 7, 100],
        "enum": ["red", 3],
        "point": {"x": 1, "y": 2.5},
        "tuple": [1, "a", None, True, 1e100, -0.0],
        "set": [3],
        "frozen": ["x"],
        "bytes": "bytes",
        "path": "/a",
        "big": 2**100,
        "generator": [0, 1, 2],
        "1": "int key",
        "null": "null key",
        "false": "bool key",
        "escapes": '"\\/\b\f\n\r\t\x00\x1f\x7f\u2028',
        "surrogate": "\ud800x",
    }


def test_response_headers(full):
    response = full.get("/response")
    assert response.status_code == 202
    assert response.headers["x-one"] == "1"
    assert response.headers["x-two"] == "2"
    assert response.headers["set-cookie"] == "k=v; HttpOnly; Path=/; SameSite=lax"
    assert response.headers["content-type"] == "application/json"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", response.headers["date"])
    assert full.get("/redirect").headers["location"] == "/a%20b?c=%C3%BC"
    assert full.get("/html").headers["content-type"] == "text/html; charset=utf-8"


def test_allow_and_redirect(full):
    assert full.get("/put").headers["allow"] == "PUT, OPTIONS"
    response = full.get("/v1/sub/x?y=1")
    assert (response.status_code, response.headers["location"]) == (307, "/v1/sub/x/?y=1")
    assert b" 404 " in full.raw(b"GET //v1/sub HTTP/1.1\r\nHost: a\r\n\r\n")


def test_request_view(full):
    got = full.get("/request/x/y/z?q=1&q=2", headers={"X-Header": "v"}, cookies={"a": "b"}).json()
    assert got == {
        "method": "GET",
        "path": "/request/x/y/z",
        "params": {"a": "x", "b": "y/z"},
        "query": [["q", "1"], ["q", "2"]],
        "header": "v",
        "cookies": {"a": "b"},
        "host": "127.0.0.1",
        "version": "1.1",
        "a": "x",
        "b": "y/z",
    }


def test_interpreter(full, python):
    got = full.get("/gil").json()
    assert got["gil"] is (python == "gil")
    assert ("3.13t" in got["executable"]) is (python == "ft")


def test_floats_whatever_locale_the_application_sets(serve, python, tmp_path):
    """C's strtod follows the locale: with a decimal comma, 1.5 in a query was 422, and 1,5 was taken."""
    source = tmp_path / "comma.locale"
    source.write_text(
        'comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point ","\nthousands_sep "."\ngrouping 3\nEND LC_NUMERIC\n'
    )
    made = tmp_path / "comma"
    subprocess.run(
        ["localedef", "-c", "-i", source, "-f", "ANSI_X3.4-1968", made],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,  # it warns of the categories that are not there
    )
    if not (made / "LC_NUMERIC").exists():
        pytest.skip("localedef made no locale with a decimal comma")
    (tmp_path / "comma_app.py").write_text(
        "import locale\n\nfrom oarlock import App\n\nlocale.setlocale(locale.LC_NUMERIC, 'comma')\n"
        "assert locale.str(1.5) == '1,5'\napp = App()\n\n\n"
        "@app.get('/f', blocking=False)\ndef f(x: float):\n    return x\n"
    )
    s = serve("comma_app:app", "--app-dir", str(tmp_path), "--python", python, env={"LOCPATH": str(tmp_path)})
    assert s.get("/f?x=1.5").text == "1.5"
    assert s.get("/f?x=1,5").status_code == 422
