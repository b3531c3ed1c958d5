"""What pydantic found wrong, in the operator's words: what is wrong, what stands there, what to write instead.

Knows: pydantic's error types, and how to find the keys of a section. Does not know: any particular setting.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import ErrorDetails, PydanticCustomError

from pointsman.settings_file import KeyPath, plain, shown

_KEY = "[key]"  # pydantic's last step where a key is at fault, not its value
_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping of `key: value` lines",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "model_type": "must be a mapping of `key: value` lines",
    "string_type": "must be text",
    "tuple_type": "must be a list, such as [a, b]",
}


def said(text: str) -> PydanticCustomError:
    """The error a validator of our own raises: `text` says what is wrong and what to do."""
    return PydanticCustomError("said", "{text}", {"text": text})


def matching(pattern: str, words: str, *, is_secret: bool = False) -> tuple[Any, Any]:
    """Metadata of a text that must have this shape. `words` end the sentence "must …"; a secret is never repeated."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise said(f"must {words}" if is_secret else f"must {words}, not {quoted(value)}")
        return value

    return AfterValidator(check), Field(json_schema_extra={"pattern": f"^({pattern})$"})


def one_of(names: Iterable[str]) -> tuple[Any, Any]:
    """Metadata of a text that must be one of these names."""
    known: list[Any] = [str(name) for name in names]

    def check(value: str) -> str:
        if value not in known:
            raise said(f"must be one of {', '.join(known)}, not {quoted(value)}{did_you_mean(value, known)}")
        return value

    return AfterValidator(check), Field(json_schema_extra={"enum": known})


def without_tag(entry: ErrorDetails, root: type[BaseModel]) -> KeyPath:
    """The error's path as the file has it: pydantic adds a union's tag and a mark for keys."""
    path: list[str | int] = []
    for step, is_tag in _walk(entry["loc"], root):
        if not is_tag and step != _KEY:
            path.append(step)
    if entry["type"].startswith("union_tag"):
        path.append("backend")
    return tuple(path)


def words_of(entry: ErrorDetails, root: type[BaseModel]) -> str:
    """One pydantic error as "must be …, not …"."""
    if entry["input"] is None and entry["type"] != "extra_forbidden":
        return "is empty; give it a value or remove the key"
    match entry["type"]:
        case "said" | "missing":
            return entry["msg"] if entry["type"] == "said" else "is missing; add it"
        case "extra_forbidden":
            return _unknown(entry, root)
        case "union_tag_invalid" | "union_tag_not_found":
            return _wrong_tag(entry, root)
        case "enum" | "literal_error":
            return _no_choice(entry)
        case kind:
            return _wrong_value(kind, entry)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def quoted(text: str) -> str:
    return f"`{shown(text)}`" if len(text) <= 60 else f"{len(text)} characters of text"


def _unknown(entry: ErrorDetails, root: type[BaseModel]) -> str:
    """An unknown key: a slip of the pen, or a key of another backend."""
    name, here = str(entry["loc"][-1]), _sections(entry["loc"][:-1], root)
    known = [field for section in here for field in section.model_fields]
    others = [
        tag
        for section in _sections(entry["loc"][:-2], root)
        if name in section.model_fields and section not in here and (tag := _tag(section))
    ]
    if others:
        return f"is a key of backend {' and '.join(others)}, not of this one; remove it"
    return f"unknown key{did_you_mean(name, known)}; remove it or correct its name"


def _wrong_value(kind: str, entry: ErrorDetails) -> str:
    value = entry["input"]
    rule = (
        _WORDS[kind].format(**entry.get("ctx", {})) if kind in _WORDS else entry["msg"][:1].lower() + entry["msg"][1:]
    )
    return f"{rule}, not {_shown_input(value)}{_hint(kind, value)}"


def _no_choice(entry: ErrorDetails) -> str:
    known = re.findall(r"'([^']*)'", entry.get("ctx", {}).get("expected", ""))
    value = entry["input"]
    near = did_you_mean(value, known) if isinstance(value, str) else ""
    return f"must be one of {', '.join(known)}, not {_shown_input(value)}{near}"


def _wrong_tag(entry: ErrorDetails, root: type[BaseModel]) -> str:
    tags = [tag for section in _sections(entry["loc"], root) if (tag := _tag(section))]
    if entry["type"] == "union_tag_not_found":
        return f"is missing; say which engine runs this model: {', '.join(tags)}"
    value = str(entry.get("ctx", {}).get("tag", ""))
    return f"must be one of {', '.join(tags)}, not {quoted(value)}{did_you_mean(value, tags)}"


def _hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if kind in {"int_type", "float_type", "bool_type"} and isinstance(value, str) and not isinstance(plain(value), str):
        return "; remove the quotes"
    return ""


def _shown_input(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"the text {quoted(value)}" if isinstance(value, str) else f"`{value}`"


def _sections(path: tuple[str | int, ...], root: type[BaseModel]) -> list[type[BaseModel]]:
    """The sections that may stand at a pydantic error path; several where a union's tag is not in it."""
    here = [root]
    for step in path:
        here = _step(here, step)
    return here


def _walk(path: tuple[str | int, ...], root: type[BaseModel]) -> Iterator[tuple[str | int, bool]]:
    """Each step, and whether it is a union's tag."""
    here = [root]
    for step in path:
        yield step, _is_tag(step, here)
        here = _step(here, step)


def _step(here: list[type[BaseModel]], step: str | int) -> list[type[BaseModel]]:
    if isinstance(step, int):
        return here
    if _is_tag(step, here):
        return [section for section in here if _tag(section) == step]
    fields = [section.model_fields[step] for section in here if step in section.model_fields]
    return [inner for field in fields for inner in _inside(field.annotation)] if fields else here


def _is_tag(step: str | int, here: list[type[BaseModel]]) -> bool:
    return len(here) > 1 and step in [_tag(section) for section in here]


def _tag(section: type[BaseModel]) -> str:
    field = section.model_fields.get("backend")
    return str(get_args(field.annotation)[0]) if field else ""


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _inside(inner)
