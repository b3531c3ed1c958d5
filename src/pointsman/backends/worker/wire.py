"""Bytes ↔ values at a worker's edge: JSON bodies, multipart forms, the OpenAI error object, server-sent events.

Knows: the encodings. Does not know: sockets, engines. A body that does not fit becomes a RequestError that names the
field and the remedy.
"""

import io
from typing import TypeVar

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, create_form_parser

from pointsman.errors import PointsmanError, RequestError
from pointsman.types import Value

T = TypeVar("T")

MAX_FIELDS = 64


class Body(Value, frozen=True):
    """A request's body as it arrived."""

    content_type: str
    data: bytes


class Form(Value, frozen=True):
    """A decoded multipart form: text fields in order, files by field name."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, bytes], ...]

    def get(self, name: str) -> str:
        """The last value of a field, stripped; empty where absent."""
        return next((value.strip() for key, value in reversed(self.fields) if key == name), "")

    def all(self, *names: str) -> tuple[str, ...]:
        """Every value of the fields so named."""
        return tuple(value.strip() for key, value in self.fields if key in names)

    def file(self, name: str) -> bytes:
        """A file's bytes. Raises RequestError where there is none, or an empty one."""
        for key, data in self.files:
            if key == name and data:
                return data
            if key == name:
                raise invalid(name, "is empty; attach a recording", code="invalid_media")
        raise RequestError(
            f"{name}: is missing; attach it as a form file named `{name}`", code="missing_field", param=name
        )


def invalid(param: str, problem: str, code: str = "invalid_value") -> RequestError:
    return RequestError(f"{param}: {problem}", code=code, param=param)


def json_body(body: Body, shape: type[T]) -> T:
    """The body as a typed value. Raises RequestError that names the field."""
    try:
        return msgspec.json.decode(body.data, type=shape)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        path = where.rstrip("`").removeprefix("$").removeprefix(".")
        if "missing required field" in what:
            name = what.rpartition(" field `")[2].rstrip("`")
            path = f"{path}.{name}" if path else name
            raise RequestError(f"{path}: is missing; add it", code="missing_field", param=path) from None
        raise invalid(path or "body", f"{what[:1].lower()}{what[1:]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"The body is not valid JSON: {error}; check quotes", code="invalid_json") from None


def form_body(body: Body) -> Form:
    """The body as a form. Raises RequestError 415 or 400."""
    if not body.content_type.lower().startswith("multipart/form-data"):
        raise RequestError(
            f"content-type: send multipart/form-data, not {body.content_type or 'nothing'}",
            code="unsupported_media_type",
            param="content-type",
        )
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, bytes]] = []

    def on_field(field: Field) -> None:
        if len(fields) >= MAX_FIELDS:
            raise FormParserError(f"more than {MAX_FIELDS} fields")
        fields.append((_text(field.field_name), _text(field.value)))

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        files.append((_text(file.field_name), file.file_object.read()))
        file.close()

    try:
        parser = create_form_parser(
            {"Content-Type": body.content_type.encode("latin-1")},
            on_field,
            on_file,
            config={"MAX_MEMORY_FILE_SIZE": len(body.data) + 1},
        )
        parser.write(body.data)
        parser.finalize()
        parser.close()
    except (FormParserError, ValueError, io.UnsupportedOperation) as error:
        raise RequestError(f"The form is malformed: {error}; check its boundary", code="invalid_value") from None
    return Form(fields=tuple(fields), files=tuple(files))


def _text(raw: bytes | str | None) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""


def event(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


class _Cause(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    error: _Cause

    @classmethod
    def of(cls, error: PointsmanError) -> "ErrorBody":
        return cls(_Cause(error.message, error.row.openai_type, error.param, error.code))
