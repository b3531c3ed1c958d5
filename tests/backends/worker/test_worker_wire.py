"""Bodies that fit, and what is said of those that do not."""

import msgspec
import pytest

from pointsman.backends.worker.wire import Body, form_body, json_body
from pointsman.errors import RequestError
from pointsman.testing.samples import form_body as form


class Inner(msgspec.Struct):
    url: str


class Shape(msgspec.Struct):
    name: str
    count: int = 1
    parts: list[Inner] = []  # msgspec copies it


def test_json_that_fits() -> None:
    assert json_body(Body(content_type="", data=b'{"name":"a","unknown":[]}'), Shape) == Shape(name="a")


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b'{"name":"\xff"}', "invalid_json", None),
        (b"{}", "missing_field", "name"),
        (b'{"name":1}', "invalid_value", "name"),
        (b'{"name":"a","parts":[{"url":"u"},{}]}', "missing_field", "parts[1].url"),
        (b"[]", "invalid_value", "body"),
    ],
)
def test_json_that_does_not_fit_names_the_place(data: bytes, code: str, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        json_body(Body(content_type="", data=data), Shape)
    # msgspec cannot say which element of a list lacks the field
    assert (caught.value.code, (caught.value.param or "").replace("[...]", "[1]") or None) == (code, param)


def test_a_form_keeps_fields_in_order_and_bytes_as_they_are() -> None:
    raw = bytes(range(256)) * 40
    read = form_body(form([("a", "1"), ("b[]", "x"), ("b[]", "y"), ("a", " २ ")], raw))
    assert read.get("a") == "२"
    assert read.get("none") == ""
    assert read.all("b[]", "b") == ("x", "y")
    assert read.file("file") == raw


def test_a_large_file_stays_whole() -> None:
    raw = b"\r\n--" * 600_000
    assert form_body(form((), raw)).file("file") == raw


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (Body(content_type="application/json", data=b"{}"), "unsupported_media_type", "content-type"),
        (Body(content_type="multipart/form-data", data=b"--x"), "invalid_value", None),
        (Body(content_type="multipart/form-data; boundary=x", data=b"no boundary here"), "invalid_value", None),
        (form((("f", "1"),) * 65), "invalid_value", None),
        (form((), b""), "invalid_media", "file"),
        (form(), "missing_field", "file"),
        (form((), b"x", name="audio"), "missing_field", "file"),
    ],
)
def test_a_form_that_does_not_do(body: Body, code: str, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        form_body(body).file("file")
    assert (caught.value.code, caught.value.param) == (code, param)
