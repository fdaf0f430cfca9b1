"""Requests from files, documents and links; bad input is told with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from nogilserve.errors import ConfigError
from nogilserve.stress.answers import Answer
from nogilserve.stress.asks import Ask
from nogilserve.stress.inputs import crawl, from_openapi, read_har, read_list

HTTP = """\
# a comment
@host = example.com
@token = abc

GET http://{{host}}/items?page=2 HTTP/1.1
Authorization: Bearer {{token}}
Connection: close

### the second one
// another comment
post /items
  ?draft=1
  &user={{marker}}
Content-Type: application/json

{"name": "x",

 "price": 1}

###

###
/bare
"""


def test_http_file(tmp_path: Path) -> None:
    """Comments, variables, continued queries, bodies with empty lines, entries without anything."""
    path = tmp_path / "requests.http"
    path.write_text(HTTP)
    first, second, third = read_list(str(path))
    assert (first.method, first.target) == ("GET", "/items?page=2")
    assert first.headers == (("Host", "example.com"), ("Authorization", "Bearer abc"))
    assert first.origin == f"{path}:5"
    assert (second.method, second.target) == ("POST", "/items?draft=1&user={marker}")
    assert json.loads(second.body) == {"name": "x", "price": 1}
    assert second.marked("m1").target == "/items?draft=1&user=m1"
    assert (third.method, third.target, third.headers) == ("GET", "/bare", ())


def test_json_lines(tmp_path: Path) -> None:
    """Bodies of three kinds; a body makes it a POST; a list of objects is read as well."""
    path = tmp_path / "requests.jsonl"
    path.write_text(
        '{"path": "/a", "headers": {"X-A": "1"}}\n\n'
        '{"url": "http://h:1/b", "json": {"x": [1]}}\n'
        '{"path": "/c", "method": "put", "form": {"a": "b c"}}\n'
    )
    one, two, three = read_list(str(path))
    assert one == Ask("GET", "/a", (("X-A", "1"),), b"", f"{path}:1")
    assert two.headers == (("Host", "h:1"), ("Content-Type", "application/json"))
    assert (two.method, two.body) == ("POST", b'{"x": [1]}')
    assert (three.method, three.body, three.origin) == ("PUT", b"a=b+c", f"{path}:4")
    listed = tmp_path / "requests.json"
    listed.write_text('[{"path": "/a"}]')
    assert [ask.target for ask in read_list(str(listed))] == ["/a"]


BAD = [
    ("a.http", "GET /\nno colon\n", ":2: 'no colon' should be like \"Name: value\""),
    ("a.http", "GET items\n", ":1: 'items' should be a path"),
    ("a.http", "\n\nGET /a b c\n", ":3: 'GET /a b c' should be like \"GET /path\""),
    ("a.http", "GET /{{who}}\n", ":1: {{who}} is not defined"),
    ("a.http", "GET /ü\n", ":1: '/ü': 'ü' must be percent-encoded"),
    ("a.http", "GET /\nX y: z\n", "'X y' is no name of a header field"),
    ("a.http", "POST /\n\n< body.json\n", "bodies from other files are not read"),
    ("a.http", "# nothing\n", "there is no request in it"),
    ("a.txt", "GET /\n", "should end in .http or .jsonl"),
    ("a.jsonl", '{"path": "/"}\n{"path": \n', ":2: this is no JSON"),
    ("a.jsonl", '{"pth": "/"}\n', ":1: 'pth' is not known; body, form, headers"),
    ("a.jsonl", '["/"]\n', "entry 1: an object is wanted"),
    ("a.jsonl", "{}\n", ':1: "path" is missing'),
    ("a.jsonl", '{"path": "/", "body": 1}\n', '"body" should be a text'),
    ("a.jsonl", '{"path": "/", "body": "", "json": 1}\n', "only one of body and json"),
    ("a.jsonl", '{"path": "/", "headers": {"A": 1}}\n', '"headers" should be an object'),
    ("a.jsonl", '{"path": "/", "headers": {"A": "\\n"}}\n', "has a control character"),
    ("a.jsonl", '{"path": "/", "method": "G T"}\n', "'G T' is no method"),
    ("a.jsonl", '{"path": "ftp://h/"}\n', "should be a path"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD, ids=[row[2][:30] for row in BAD])
def test_bad_file_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    """With file, line and what would be right."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_list(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """Absent, or no text."""
    with pytest.raises(ConfigError, match="No such file"):
        read_list(str(tmp_path / "absent.http"))
    (tmp_path / "bytes.http").write_bytes(b"GET /\xff")
    with pytest.raises(ConfigError, match="no UTF-8 text, byte 5"):
        read_list(str(tmp_path / "bytes.http"))


def entry(url: str, **more: Any) -> dict[str, Any]:
    """An entry of an archive."""
    return {"request": {"method": "GET", "url": url, "headers": [], **more}}


def archive(path: Path, *entries: Any) -> str:
    """Write an archive; its path."""
    path.write_text(json.dumps({"log": {"entries": entries}}))
    return str(path)


def test_har(tmp_path: Path) -> None:
    """The requests to one host, each once, without fields of the connection they were made on."""
    fields = [
        {"name": ":method", "value": "POST"},
        {"name": "Host", "value": "app:1"},
        {"name": "Cookie", "value": "a=b"},
        {"name": "Content-Length", "value": "3"},
        {"name": "Accept-Encoding", "value": "br"},
    ]
    path = archive(
        tmp_path / "a.har",
        entry("http://app:1/x?y=1"),
        entry("http://app:1/x?y=1"),
        entry("http://app:1/", method="POST", headers=fields, postData={"text": "abc"}),
        entry("http://app:1/f", method="POST", postData={"params": [{"name": "a", "value": "ü"}]}),
        entry("http://app:1/g", method="POST", postData={"text": "YQ==", "encoding": "base64"}),
        entry("https://elsewhere/"),
        entry("data:text/plain,x"),
    )
    asks, others = read_har(path)
    assert [ask.target for ask in asks] == ["/x?y=1", "/", "/f", "/g"]
    assert (asks[1].headers, asks[1].body) == ((("Cookie", "a=b"),), b"abc")
    assert [ask.body for ask in asks[2:]] == [b"a=%C3%BC", b"a"]
    assert others == 2
    assert [ask.target for ask in read_har(path, "elsewhere")[0]] == ["/"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a.har:1: this is no JSON"),
        ("[]", "no log.entries"),
        ('{"log": {"entries": [1]}}', "entries[0]: it has no request with a url"),
        ('{"log": {"entries": []}}', "there is no request to"),
        (
            '{"log": {"entries": [{"request": {"url": "http://a/", "headers": [1]}}]}}',
            "no list of names and values",
        ),
        (
            '{"log": {"entries": [{"request": {"url": "http://a/", "postData": 1}}]}}',
            "postData is no object",
        ),
    ],
)
def test_bad_har_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With the entry it is about."""
    path = tmp_path / "a.har"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_har(str(path))
    assert message in str(caught.value)


OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "servers": [{"url": "https://example.com/api/"}],
    "paths": {
        "/items/{id}": {
            "parameters": [{"name": "id", "in": "path", "schema": {"type": "integer"}}],
            "get": {
                "parameters": [
                    {"name": "q", "in": "query", "schema": {"type": "string"}},
                    {"name": "sort", "in": "query", "schema": {"default": "name"}},
                    {"name": "X-Key", "in": "header", "required": True, "example": "k 1"},
                    {"name": "s", "in": "cookie", "required": True, "example": "c"},
                ]
            },
            "put": {
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Item"}}
                    }
                }
            },
        },
        "/form": {
            "post": {
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {"properties": {"a": {"enum": ["x y"]}}}
                        }
                    }
                }
            }
        },
        "/file": {
            "post": {
                "requestBody": {
                    "content": {
                        "multipart/form-data": {
                            "schema": {"properties": {"f": {"format": "binary"}}}
                        }
                    }
                }
            }
        },
        "/odd": {"post": {"requestBody": {"content": {"image/png": {}}}}},
        "/lost/{what}": {"get": {}},
    },
    "components": {
        "schemas": {
            "Item": {
                "type": "object",
                "required": ["name", "size", "price", "tags", "kind", "parent"],
                "properties": {
                    "name": {"type": "string", "minLength": 6, "maxLength": 8},
                    "size": {"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5},
                    "price": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                    "tags": {"type": "array", "items": {"type": ["null", "boolean"]}},
                    "kind": {"anyOf": [{"const": "big"}, {"type": "null"}]},
                    "parent": {"allOf": [{"$ref": "#/components/schemas/Base"}]},
                    "left_out": {"type": "string"},
                },
            },
            "Base": {"type": "object", "properties": {"id": {"format": "uuid"}}},
        }
    },
}


def test_openapi() -> None:
    """Examples and defaults first; what is required is made up to fit; the rest is left out."""
    asks, left_out = from_openapi(OPENAPI, "doc")
    get, put, form, file = asks
    assert get.target == "/api/items/1?sort=name"
    assert get.headers == (("X-Key", "k 1"), ("Cookie", "s=c"))
    assert json.loads(put.body) == {
        "name": "textxx",
        "size": 5,
        "price": 0.5,
        "tags": [True],
        "kind": "big",
        "parent": {"id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"},
    }
    assert form.body == b"a=x+y"
    assert b'name="f"; filename="f.bin"' in file.body
    assert left_out == [
        "POST /odd is left out: no body of type image/png can be made up",
        "GET /lost/{what} is left out: the document does not describe {what}",
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "no OpenAPI document"),
        ({"swagger": "2.0", "paths": {}}, "version 2.0; OpenAPI 3 is read"),
        (
            {"openapi": "3.0.0", "paths": {"/": {"get": {"parameters": [{"$ref": "#/no"}]}}}},
            "#/no leads nowhere",
        ),
    ],
)
def test_bad_openapi_is_refused(document: object, message: str) -> None:
    """With what is wrong."""
    with pytest.raises(ConfigError, match=message):
        from_openapi(document, "doc")


PAGES = {
    "/": '<a href="a">A</a> <a href="/b?x=1#top">B</a> <a href="http://other/">no</a>'
    '<a href="http://app/self">self</a> <a href="mailto:x@y">mail</a> <a href="/gone">gone</a>'
    '<form action="/search"><input name="q" value="tea"><input type="checkbox" name="c">'
    '<input type="submit" name="s"></form><form method="post" action="/no"><input name="x"></form>',
    "/b?x=1": "".join(f'<a href="/page/{number}">n</a>' for number in range(9)),
    "/a": '<a href="/ü y">umlaut</a><a href="//[">broken</a>',
}


def test_crawl() -> None:
    """Links and GET forms of the same host, breadth first, few of those that look alike."""

    def send(ask: Ask) -> Answer:
        html = (("content-type", "text/html"),)
        if ask.target == "/self":
            return Answer(302, (("location", "/moved"),))
        if ask.target == "/gone":
            return Answer(404, html)
        return Answer(200, html, PAGES.get(ask.target, "").encode())

    found = [ask.target for ask in crawl(send, "/", 50, frozenset({"app"}))]
    assert found == [
        *("/", "/a", "/b?x=1", "/self", "/search?q=tea", "/%C3%BC%20y"),
        *("/page/0", "/page/1", "/page/2", "/moved"),
    ]
    assert len(crawl(send, "/", 2, frozenset())) == 2
