"""Request and Response under Starlette's names: what a user of FastAPI expects of them."""

import email.utils
import time
from collections.abc import Iterator

import httpx
import pytest
from conftest import APPS, Server, start


@pytest.fixture(scope="module")
def usual(python, tmp_path_factory) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("usual") / "log", "usual:app", "--app-dir", str(APPS), "--python", python)
    yield server
    assert server.stop() == 0, server.log


def test_path_params_are_converted(usual):
    u = "123e4567-e89b-12d3-a456-426614174000"
    assert usual.get(f"/convertors/007/1.5/{u}/8/a/b").json() == {
        "i": ["int", 7],
        "f": ["float", 1.5],
        "u": ["UUID", u],
        "s": ["str", "8"],
        "p": ["str", "a/b"],
    }
    assert usual.get(f"/huge/{'1' * 5000}").json() == "str"  # more digits than int() reads


def test_url_is_decoded(usual):
    got = usual.get("/url/caf%C3%A9%20%3F%23%0A%5C%25?a=%20&b=1").json()
    host = f"127.0.0.1:{usual.port}"
    assert got == {
        "url": f"http://{host}/url/café %3F%23%0A%5C%?a=%20&b=1",
        "path": "/url/café %3F%23%0A%5C%",
        "query": "a=%20&b=1",
        "netloc": host,
        "port": usual.port,
        "secure": False,
        "raw_path": "/url/caf%C3%A9%20%3F%23%0A%5C%25",
        "changed": "http://127.0.0.1:9/x",
        "with": f"http://{host}/url/café %3F%23%0A%5C%?a=+&b=2&n=1",
        "without": f"http://{host}/url/café %3F%23%0A%5C%?a=+",
        "repr": "URL('http://u:********@h/')",
    }


def test_headers(usual):
    got = usual.get("/headers", headers=[("X-A", "1"), ("X-B", "ü".encode("latin-1")), ("x-a", "2")]).json()
    assert got == {
        "items": [["x-a", "1"], ["x-b", "ü"], ["x-a", "2"]],
        "keys": ["x-a", "x-b", "x-a"],
        "getlist": ["1", "2"],
        "first": "1",
        "raw": [["x-a", "1"], ["x-b", "ü"], ["x-a", "2"]],
        "in": [True, False, False],
        "mutable": ["new"],
        "repr": ["Headers({'a': 'b'})", "Headers(raw=[(b'a', b'1'), (b'a', b'2')])", "MutableHeaders({})"],
    }


def test_query_params(usual):
    assert usual.get("/query?a=1&b=&a=%C3%A9").json() == {
        "dict": {"a": "é", "b": ""},
        "multi": [["a", "1"], ["b", ""], ["a", "é"]],
        "getlist": ["1", "é"],
        "str": "a=1&b=&a=%C3%A9",
        "repr": "QueryParams('a=1')",
        "equal": True,
    }


def test_state_and_exceptions(usual):
    assert usual.get("/state").json() == [True, True, True, ["of_loop"], "State({'of_loop': 1})"]
    assert usual.get("/exception").json() == [
        "404: no such thing",
        "HTTPException(status_code=404, detail='no such thing')",
    ]


@pytest.mark.parametrize(("status", "kind"), [(204, None), (304, None), (404, "application/json")])
def test_exception_without_a_body(usual, status, kind):
    response = usual.get(f"/exception/{status}")
    assert (response.status_code, response.headers["etag"], response.headers.get("content-type")) == (
        status,
        '"1"',
        kind,
    )


# ---- cookies ----


@pytest.mark.parametrize("value", ["", "plain", 'say "hi"', "a;b, c\\d", "é ü ÿ", "=", "\\351", '"', "tab\t", "a b"])
def test_cookies_come_back_as_they_were_set(usual, value):
    response = httpx.post(usual.url + "/cookies", json={"k": value, "other": "x"})
    pairs = [f.partition(";")[0] for f in response.headers.get_list("set-cookie")]
    assert usual.get("/cookies", headers={"Cookie": "; ".join(pairs)}).json() == {"k": value, "other": "x"}


def test_cookies_of_several_fields(usual):
    got = usual.get("/cookies", headers=[("Cookie", "a=1; b"), ("Cookie", 'c="x y"; a=2; d="')]).json()
    assert got == {"a": "2", "": "b", "c": "x y", "d": '"'}


def test_cookie_that_no_field_can_hold(usual):
    assert httpx.post(usual.url + "/cookies", json={"k": "€"}).status_code == 500
    assert "the value of cookie 'k' holds '€'" in usual.log


def test_cookie_attributes(usual):
    a, b, c = usual.get("/cookies/all").headers.get_list("set-cookie")
    assert a == (
        "a=1; Domain=example.org; expires=Wed, 02 Jan 2030 03:04:05 GMT; HttpOnly; Max-Age=3600; Path=/p; "
        "SameSite=none; Secure; Partitioned"
    )
    expires = b.removeprefix("b=2; expires=").removesuffix("; Path=/")
    assert 40 < email.utils.parsedate_to_datetime(expires).timestamp() - time.time() < 70
    assert c.startswith('c=""; expires=')
    assert c.endswith(" GMT; HttpOnly; Max-Age=0; Path=/; SameSite=strict; Secure")


# ---- responses ----


def test_response_headers(usual):
    assert usual.get("/response/headers").json() == [
        "application/json",
        ["1", "2"],
        "3",
        [["x-a", "1"], ["content-type", "application/json"], ["x-a", "2"], ["x-b", "3"]],
        4,
    ]
    assert usual.get("/response/type").headers["content-type"] == "text/csv"


def test_length_of_a_stream_is_kept(usual):
    for path in ("/length/100/100?step=7", "/length-def/100/100", "/length/0/0"):
        with httpx.Client() as client:
            for _ in range(2):  # the connection goes on
                response = client.get(usual.url + path)
                length = path.split("/")[2]
                assert response.headers["content-length"] == length
                assert "transfer-encoding" not in response.headers
                assert response.content == b"x" * int(length)
            head = client.head(usual.url + path)
            assert (head.headers["content-length"], head.content) == (length, b"")
    answer = usual.raw(b"GET /length/100/100 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
    assert answer.count(b"content-length: 100\r\n") == 2
    assert answer.count(b"connection: keep-alive\r\n") == 2


@pytest.mark.parametrize("kind", ["length", "length-def"])
@pytest.mark.parametrize(("given", "real", "says"), [(100, 99, "shorter"), (100, 101, "longer"), (0, 1, "longer")])
def test_stream_that_breaks_its_length_is_cut(usual, kind, given, real, says):
    answer = usual.raw(f"GET /{kind}/{given}/{real} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 2)
    assert answer.count(b"HTTP/1.1 ") == 1, "nothing may follow on the connection"
    body = answer.partition(b"\r\n\r\n")[2]
    assert len(body) <= min(given, real)
    assert f"a streamed response is {says} than its Content-Length" in usual.log


@pytest.mark.parametrize("given", ["x", "-1", "1,1", "+1", "99999999999999999999", "%C2%B2"])
def test_length_that_is_no_number(usual, given):
    assert usual.get(f"/length/{given}/1").status_code == 500
    assert "the Content-Length of a streamed response is" in usual.log


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/generator", "text/plain; charset=utf-8"),
        ("/generator/bytes", "application/octet-stream"),
        ("/generator/async-bytes", "application/octet-stream"),
        ("/generator/events", "text/event-stream; charset=utf-8"),
    ],
)
def test_generator_has_a_content_type(usual, path, kind):
    assert usual.get(path).headers["content-type"] == kind
