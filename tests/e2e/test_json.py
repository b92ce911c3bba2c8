"""JSON both ways: what a client may send, what a handler may return."""

import json
import re
from collections.abc import Iterator

import pytest
from conftest import APPS, Server, start


@pytest.fixture(scope="module")
def usual(python, tmp_path_factory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("usual") / "log"
    one = ("--workers", "1", "--threads", "1")  # one process's strings are looked at
    server = start(log, "usual:app", "--app-dir", str(APPS), "--python", python, *one)
    yield server
    assert server.stop() == 0, server.log


def _post(server: Server, path: str, body: bytes) -> tuple[int, object]:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = server.raw(head.encode() + body)
    return int(answer[9:12]), json.loads(answer.partition(b"\r\n\r\n")[2])


def _deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


# (body, "loc", what "ctx" says)
REFUSED = [
    (b"", 0, "Expecting value"),
    (b"{", 1, "Expecting property name enclosed in double quotes"),
    (b'{"a":1}x', 7, "Extra data"),
    ('["é", x]'.encode(), 6, "Expecting value"),
    (b'"\xff"', 1, "The text is not UTF-8"),
    (b'"\xed\xa0\x80"', 1, "The text is not UTF-8"),
    ('{"a":1}'.encode("utf-16"), 0, "The text is not UTF-8"),
    (b'{"a":1,"b":{"x":2,"x":2}}', "x", 'The name "x" stands twice in an object'),
    ('{"é":1,"é":1}'.encode(), "é", 'The name "\\u00e9" stands twice in an object'),
    (b'{"a":NaN}', 5, "NaN and Infinity are not JSON"),
    (b"[Infinity]", 1, "NaN and Infinity are not JSON"),
    (b"[-Infinity]", 2, "NaN and Infinity are not JSON"),
    (b"[1e999]", 1, "Number out of range"),
    (b"[-1" + b"0" * 400 + b".5]", 1, "Number out of range"),
    (b"1" * 5000, 0, "A whole number has too many digits"),
    (rb'["\ud800"]', 2, "Half of a surrogate pair without the other half"),
    (rb'["\udc00\ud800"]', 2, "Half of a surrogate pair without the other half"),
    (rb'["\uD83Dx"]', 2, "Half of a surrogate pair without the other half"),
    (_deep(201), 200, "Nested deeper than 200 levels"),
    (b"[" * 500_000, 200, "Nested deeper than 200 levels"),
    (b'{"a":' * 100_000, 1000, "Nested deeper than 200 levels"),
]


@pytest.mark.parametrize("path", ["/json", "/json/text"])
def test_malformed_body_is_the_clients_mistake(usual, path):
    before = usual.log
    for body, loc, error in REFUSED:
        status, answer = _post(usual, path, body)
        assert status == 422, (body[:50], answer)
        assert answer == {
            "detail": [
                {
                    "type": "json_invalid",
                    "loc": ["body", loc],
                    "msg": "JSON decode error",
                    "input": {},
                    "ctx": {"error": error},
                }
            ]
        }, body[:50]
    assert usual.log == before


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":[1,2.5,null,true],"b":{"a":1},"c":{"a":2}}',
        rb'["\ud83d\ude00", "\\ud800", "NaN", "[[[[", "\"Infinity\""]',
        b"[1e308, -1e-999, 123456789012345678901234567890, 1E2, -0.0]",
        b"9" * 4300,
        _deep(200),
        b"[" + b"[],[]," * 1000 + b"0]",
    ],
)
def test_body_is_answered_back(usual, body):
    assert _post(usual, "/json", body) == (200, {"got": json.loads(body)})


def test_byte_order_mark_is_left_out(usual):
    assert _post(usual, "/json", b"\xef\xbb\xbf[1]") == (200, {"got": [1]})


def test_malformed_body_can_be_caught_and_parsed_once(usual):
    assert _post(usual, "/json/caught", b"[1,]")[1] == {
        "caught": "Illegal trailing comma before end of array",
        "pos": 2,
    }
    assert _post(usual, "/json/twice", b"[1]") == (200, True)


def test_json_that_is_not_the_clients_stays_a_server_error(usual):
    assert usual.get("/json/upstream").status_code == 500
    assert "JSONDecodeError" in usual.log


@pytest.mark.parametrize(("t", "key"), [("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")])
def test_float_that_json_does_not_have_is_null(usual, t, key):
    response = usual.get(f"/float?t={t}")
    assert response.status_code == 200
    assert response.text == f'{{"t":null,"in":[null],"{key}":"key"}}'


def test_answering_leaves_no_copy_in_the_strings(usual):
    size = usual.get("/catalogue/size").json()
    assert len(usual.get("/catalogue").json()) == 4000
    assert usual.get("/catalogue/stream").text.endswith("漢字 1999 😀")
    assert usual.get("/catalogue/size").json() == size


def test_objects_are_answered_as_in_fastapi(usual):
    assert usual.get("/objects").json() == {
        "vars": {"a": 1},
        "pairs": {"a": 1, "b": 2},
        "row": {"x": 9},
        "mapping": {"a": 1},
        "headers": {"a": "b"},
        "url": "http://a/b",
    }


@pytest.mark.parametrize("kind", ["function", "type", "coroutine", "iterator", "keys"])
def test_mistakes_are_no_answers(usual, kind):
    assert usual.get(f"/mistake/{kind}").status_code == 500
    assert re.search(r"TypeError: a value of type \w+ cannot be sent as JSON", usual.log)
