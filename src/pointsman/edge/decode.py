"""What all decoders share: JSON members kept as the caller wrote them, errors that name the field and the remedy."""

import re
from typing import Any, Literal, TypeVar

import msgspec

from pointsman.edge.cache_control import wish_of
from pointsman.edge.http import Incoming
from pointsman.errors import NOT_JSON, RequestError
from pointsman.labels import COMPLEXITY_NAMES, ComplexityName
from pointsman.types import Hints, Intent, JsonPayload, Limits, UseCase

T = TypeVar("T")

ROUTING = "x-routing"
OWN_MEMBERS = frozenset({ROUTING, "x-routing-metadata"})

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body member `x-routing`: what the caller knows of the request and what it will accept. All optional."""

    use_case: UseCase | None = None
    intent: Intent | None = None
    language: str | None = None
    complexity: ComplexityName | None = None
    query_type: str | None = None
    entities: tuple[str, ...] = ()
    context_docs: tuple[str, ...] = ()
    context_tokens: int | None = None
    strategy: Literal["balanced", "quality", "cost", "latency", "round_robin", "least_busy", "fixed"] | None = None
    deadline_s: float | None = None
    max_cost_per_mtok: float | None = None
    max_latency_s: float | None = None
    needs_tools: bool = False
    continuation: bool | None = None
    cache: Literal["on", "off", "refresh", "only"] | None = None

    def hints(self) -> Hints:
        return Hints(
            use_case=self.use_case,
            intent=self.intent,
            language=self.language,
            complexity=COMPLEXITY_NAMES[self.complexity] if self.complexity else None,
            query_type=self.query_type,
            entities=self.entities,
            context_docs=self.context_docs,
        )

    def limits(self, max_output_tokens: int | None, has_tools: bool, cache_control: str = "") -> Limits:
        if self.deadline_s is not None and self.deadline_s <= 0:
            raise invalid("x-routing.deadline_s", f"must be more than 0 seconds, not {self.deadline_s:g}")
        wish = wish_of(cache_control)
        return Limits(
            deadline_s=self.deadline_s,
            max_cost_per_mtok=self.max_cost_per_mtok,
            max_latency_s=self.max_latency_s,
            max_output_tokens=max_output_tokens,
            needs_tools=self.needs_tools or has_tools,
            strategy=self.strategy,
            continuation=self.continuation,
            cache=self.cache or wish.cache,
            max_age_s=wish.max_age_s,
        )


class _Routed(msgspec.Struct):
    routing: Routing | None = msgspec.field(default=None, name=ROUTING)


NO_ROUTING = Routing()
_ROUTED = msgspec.json.Decoder(_Routed)
_MEMBER = re.compile(rf"{ROUTING}\[(\w+)\](\[\d*\])?")


def routing_of(fields: list[tuple[str, str]]) -> Routing:
    """A form's `x-routing`: its JSON in one field, or a field `x-routing[NAME]` for each member, as OpenAI's clients
    write what they are given as an object. Raises RequestError."""
    members: dict[str, Any] = {}
    for name, value in fields:
        if name == ROUTING and value.strip():
            return _routing_in(value)
        if found := _MEMBER.fullmatch(name):
            member, is_list = found.groups()
            members[member] = [*members.get(member, ()), value] if is_list else value
        elif name.startswith(f"{ROUTING}["):
            raise invalid(name, f"cannot be read; send all of it as JSON in the field `{ROUTING}`")
    try:
        return msgspec.convert({ROUTING: members}, _Routed, strict=False).routing or NO_ROUTING
    except msgspec.ValidationError as error:
        raise _told(error) from None


def _routing_in(field: str) -> Routing:
    try:
        given = msgspec.json.decode(field, type=msgspec.Raw)
    except NOT_JSON as error:
        raise invalid(ROUTING, f'must be JSON such as {{"deadline_s": 5}}: {error}') from None
    return typed(_ROUTED, msgspec.json.encode({ROUTING: given})).routing or NO_ROUTING


def members_of(incoming: Incoming) -> JsonPayload:
    """The body's members, undecoded, without our own. Raises RequestError 415 or 400."""
    media_type = incoming.content_type.partition(";")[0].strip().lower()
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        raise RequestError(
            f"content-type: this endpoint takes application/json, not {media_type}; send JSON with that header",
            code="unsupported_media_type",
            param="content-type",
        )
    if not incoming.body:
        raise RequestError("The body is empty; send a JSON object", code="invalid_json")
    try:
        members = _decode_members(incoming.body)
    except msgspec.ValidationError:
        raise RequestError(
            'The body must be a JSON object, such as {"model": "auto", …}', code="invalid_json"
        ) from None
    except msgspec.DecodeError as error:
        raise RequestError(
            f"The body is not valid JSON: {error}; check quotes and commas there", code="invalid_json"
        ) from None
    except RecursionError:
        raise RequestError("The body is nested too deeply; flatten it", code="invalid_json") from None
    except UnicodeDecodeError as error:
        raise RequestError(
            f"The body is not UTF-8 at byte {error.start}; encode it as UTF-8", code="invalid_json"
        ) from None
    return JsonPayload(members=tuple((name, bytes(raw)) for name, raw in members.items() if name not in OWN_MEMBERS))


def typed(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """The body as a typed value. Raises RequestError naming the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _told(error) from None
    except NOT_JSON as error:
        raise RequestError(f"The body is not valid JSON: {error}", code="invalid_json") from None


def _told(error: msgspec.ValidationError) -> RequestError:
    """In words that name the field first."""
    what, _, where = str(error).partition(" - at `")
    path = where.rstrip("`").removeprefix("$").removeprefix(".")
    if what.startswith("Object missing required field"):
        name = what.rpartition(" field `")[2].rstrip("`")
        path = f"{path}.{name}" if path else name
        return RequestError(f"{path}: is missing; add it", code="missing_field", param=path)
    return invalid(path, f"{what[0].lower()}{what[1:]}")


def invalid(param: str, problem: str, code: str = "invalid_value") -> RequestError:
    return RequestError(f"{param}: {problem}", code=code, param=param)


def as_json(value: Any) -> bytes:
    return msgspec.json.encode(value)
