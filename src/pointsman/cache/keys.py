"""What determines an answer → a key; and whether there is anything to keep. Pure.

1 Inside the key: tenant, endpoint, model as the caller named it, the configuration that the name is read by, the hints
and limits that choose a model, and every member of the body. 2 Outside: who asks on the tenant's behalf (`user`), how
the answer is to be delivered (`stream`, `stream_options`), labels for others' books (`metadata`, …), deadlines.
3 Equal JSON is equal: order of names, white space, escapes, `0` or `0.0` and members that are null make no difference.

`auto` stands for itself: which model it means today is not asked. So the same question gets the same model's answer
for as long as it is kept, and a hit costs neither classification nor routing; a changed configuration changes all keys.
"""

import hashlib

import msgspec

from pointsman.settings import Settings
from pointsman.settings_cache import CacheSettings
from pointsman.types import Hints, JsonPayload, Kind, Limits, Request

VERSION = "1"
KEY_BYTES = 20
KINDS = frozenset({Kind.CHAT, Kind.COMPLETION, Kind.EMBEDDING, Kind.SPEECH})
SAMPLED = frozenset({Kind.CHAT, Kind.COMPLETION})
IRRELEVANT = frozenset(
    {
        "model",  # stands in the head, as the caller named it
        "user",
        "safety_identifier",
        "metadata",
        "stream",
        "stream_options",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
LOOKS_OUTSIDE = frozenset({"web_search_options"})
"""Members that make an answer depend on more than the request."""
LONGEST_CANONICAL_BYTES = 65_536
"""A longer member, such as an image, is taken as it was written: that costs at most a hit."""
NO_MATTER = {"server", "fleet", "retry", "cache", "admission", "log", "cache_dir", "hub_url"}
NO_HINTS, NO_LIMITS = Hints(), Limits()

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def fingerprint_of(settings: Settings) -> str:
    """A word for all settings that an answer may depend on: models, who may use them, how one is chosen, and more."""
    told = settings.model_dump_json(exclude=NO_MATTER)
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def bypass_of(request: Request, settings: CacheSettings) -> str:
    """Why nothing is looked up or kept for this request, in a word; "" where something is.

    1 `off`: the setting or the caller. 2 `kind`: uploads. 3 `tools`: their calls act on the world. 4 `outside`: media
    by URL and web searches, which change without the request. 5 `sampled`: another answer each time may be meant.
    """
    wish = request.limits.cache
    if settings.exact == "off" or wish == "off":
        return "off"
    payload = request.payload
    if request.kind not in KINDS or not isinstance(payload, JsonPayload):
        return "kind"
    if (request.has_tools or payload.get("functions")) and not settings.tools:
        return "tools"
    if any(medium.is_remote for medium in request.media) or any(name in LOOKS_OUTSIDE for name, _ in payload.members):
        return "outside"
    if settings.exact == "all" or wish or request.kind not in SAMPLED or _is_greedy(payload):
        return ""
    return "sampled"


def _is_greedy(payload: JsonPayload) -> bool:
    raw = payload.get("temperature")
    try:
        return raw is not None and float(raw) == 0
    except ValueError:
        return False


def key_of(request: Request, configuration: str, without: str = "", also: tuple[str, ...] = ()) -> bytes:
    """`KEY_BYTES` that stand for all that determines the answer. `without`: one member more that is left out, `also`:
    words that go in instead. The payload must be JSON."""
    digest = hashlib.blake2b(_encode(_head_of(request, configuration, also)), digest_size=KEY_BYTES)
    assert isinstance(request.payload, JsonPayload)  # noqa: S101  # the only kind that is let through
    for name, raw in sorted(request.payload.members):
        if name in IRRELEVANT or name == without:
            continue
        value = canonical(raw)
        if value != b"null":
            digest.update(b"%b:%d:%b" % (_encode(name), len(value), value))
    return digest.digest()


def _head_of(request: Request, configuration: str, also: tuple[str, ...]) -> tuple[object, ...]:
    """What stands before the body's members. Limits that come later are inside until they are said to be irrelevant."""
    hints, limits = request.hints, request.limits
    if limits != NO_LIMITS:
        limits = msgspec.structs.replace(limits, deadline_s=None, continuation=None, cache="", max_age_s=None)
    return (
        VERSION,
        configuration,
        request.tenant,
        request.kind,
        request.model,
        None if hints == NO_HINTS else hints,
        None if limits == NO_LIMITS else limits,
        also,
    )


def canonical(raw: bytes) -> bytes:
    """The one way to write this JSON value; what cannot be read or is very long stays as it was written."""
    if len(raw) > LONGEST_CANONICAL_BYTES:
        return raw
    try:
        value = _decode(raw)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return _encode(value)
    except (msgspec.MsgspecError, UnicodeError, OverflowError, RecursionError):
        return raw
