"""A cut answer taken up by another deployment: what was delivered, and the events that go on from there. Pure.

Knows: chat streams of plain text. Does not know: who goes on, leases, connections (`run`).
Only plain text can be continued: one choice, no tools, no fixed form. The deployment that goes on gets the text so far
as the beginning of its own answer (`Request.prefix`) and writes on; a caller sees one stream under one id, and in the
first event of each continuation `x-routing-continuation`, which says who went on and after how many tokens.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pointsman.types import JsonPayload, Kind, Request, Value

DATA, DONE, END = b"data:", b"[DONE]", b"\n\n"
FIXED_FORM = ("tools", "functions", "response_format", "logprobs", "grammar", "json_schema", "guided_json")
FRAME = ("id", "created", "model", "object", "system_fingerprint")


class _Delta(msgspec.Struct):
    """Nothing is certain of an upstream's events but what `stream.checked` has looked at."""

    content: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Delta | None = None
    finish_reason: Any = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None


_decode = msgspec.json.Decoder(_Event).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def may_continue(request: Request, is_default: bool) -> bool:
    """Whether the caller allows it and the request is of a kind that can be continued."""
    allowed = is_default if request.limits.continuation is None else request.limits.continuation
    payload = request.payload
    if not (allowed and request.stream and request.kind is Kind.CHAT and isinstance(payload, JsonPayload)):
        return False
    return payload.get("n") in {None, b"1", b"null"} and all(
        payload.get(name) in {None, b"null", b"[]", b"false"} for name in FIXED_FORM
    )


class Continuation(Value, frozen=True):
    """Who goes on."""

    model_id: str
    deployment_id: str
    after_tokens: int


class Delivered:
    """What a caller has of an answer so far. `is_whole`: it has ended; `is_plain`: it can be gone on from."""

    def __init__(self) -> None:
        self.tokens = 0
        self.is_plain = True
        self.is_whole = False
        self._pieces: list[str] = []
        self._prefix_tokens = 0
        self._frame: dict[str, msgspec.Raw] = {}

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def can_go_on(self) -> bool:
        return bool(self.tokens) and self.is_plain and not self.is_whole

    def add(self, chunk: bytes) -> None:
        """Whole events on their way to the caller. They are JSON: `stream.checked` has looked."""
        for data in _payloads(chunk):
            if not self._frame:
                members = _members(data)
                self._frame = {name: members[name] for name in FRAME if name in members}
            for choice in _decode(data).choices or ():
                self._hear(choice)

    def _hear(self, choice: _Choice) -> None:
        delta = choice.delta or _Delta()
        content = delta.content or ""
        self.is_plain &= isinstance(content, str) and not (choice.index or delta.tool_calls or delta.reasoning_content)
        self.is_whole |= choice.finish_reason is not None
        if content and isinstance(content, str):
            self._pieces.append(content)
            self.tokens += 1

    def request(self, request: Request) -> Request:
        """What to ask of whoever goes on."""
        self._prefix_tokens = self.tokens
        return msgspec.structs.replace(request, prefix=self.text, prefix_tokens=self.tokens)

    def seamless(self, chunk: bytes, by: Continuation | None) -> bytes:
        """Events of a continuation as the caller shall see them: in the frame of the first stream, no second role, the
        usage of the whole answer. `by`: to be told in the first event."""
        out = []
        for data in _payloads(chunk, with_done=True):
            if data == DONE:
                out.append(b"data: [DONE]\n\n")
                continue
            members = _members(data)
            if not _says_anything(data, members):
                continue
            members |= self._frame
            if "usage" in members:
                members["usage"] = _whole_usage(members["usage"], self._prefix_tokens)
            if by is not None and not out:
                members["x-routing-continuation"] = msgspec.Raw(msgspec.json.encode(by))
            out.append(b"data: " + msgspec.json.encode(members) + END)
        return b"".join(out)

    def __repr__(self) -> str:
        return f"Delivered({self.tokens} tokens{', whole' if self.is_whole else ''})"


def _payloads(chunk: bytes, *, with_done: bool = False) -> Iterator[bytes]:
    for line in chunk.split(b"\n"):
        if line.startswith(DATA) and ((data := line[len(DATA) :].strip()) != DONE or with_done):
            yield data


def _says_anything(data: bytes, members: dict[str, msgspec.Raw]) -> bool:
    choices = _decode(data).choices or ()
    says = any((choice.delta and choice.delta.content) or choice.finish_reason is not None for choice in choices)
    return says or members.get("usage", msgspec.Raw(b"null")) != msgspec.Raw(b"null")


def _whole_usage(usage: msgspec.Raw, prefix_tokens: int) -> msgspec.Raw:
    """The prefix was read as prompt and belongs to the answer."""
    counts = msgspec.json.decode(usage)
    if not isinstance(counts, dict):
        return usage
    prompt, answer = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if not (isinstance(prompt, int) and isinstance(answer, int)):
        return usage
    counts |= {"prompt_tokens": max(0, prompt - prefix_tokens), "completion_tokens": answer + prefix_tokens}
    return msgspec.Raw(msgspec.json.encode(counts))
