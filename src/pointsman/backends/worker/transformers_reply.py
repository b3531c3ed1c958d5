"""OpenAI's answers: whole and streamed, for chat, completions and embeddings.

Knows: the shapes. Does not know: how an answer came to be.
"""

import array
import base64
import secrets
import time
from collections.abc import Sequence

import msgspec

from pointsman.backends.worker.wire import event
from pointsman.types import Value


class Said(Value, frozen=True):
    """A token with its text, for callers who want probabilities."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _Details | None = None

    @classmethod
    def of(cls, prompt: int, completion: int, reused: int) -> "Usage":
        return cls(prompt, completion, prompt + completion, _Details(reused))


class _Top(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class _Token(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[_Top]


class _ChatLogprobs(msgspec.Struct, frozen=True):
    content: list[_Token]


class _TextLogprobs(msgspec.Struct, frozen=True):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]


_Logprobs = _ChatLogprobs | _TextLogprobs | None


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str


class _Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    role: str | None = None
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Of any of the four shapes: what a shape does not have is unset."""

    index: int = 0
    message: _Message | msgspec.UnsetType = msgspec.UNSET
    delta: _Delta | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    logprobs: _Logprobs = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: Usage | msgspec.UnsetType = msgspec.UNSET


class Reply:
    """One answer's way back."""

    def __init__(self, model_id: str, *, is_chat: bool) -> None:
        self._model_id = model_id
        self._is_chat = is_chat
        self._id = f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._has_begun = False

    def whole(self, text: str, said: Sequence[Said] | None, reason: str, usage: Usage) -> bytes:
        kept = self._logprobs(said)
        if self._is_chat:
            choice = _Choice(message=_Message("assistant", text), logprobs=kept, finish_reason=reason)
        else:
            choice = _Choice(text=text, logprobs=kept, finish_reason=reason)
        return msgspec.json.encode(self._answer("chat.completion", [choice], usage))

    def piece(self, text: str, said: Sequence[Said] | None) -> bytes:
        """One event with text."""
        kept, role = self._logprobs(said), None if self._has_begun else "assistant"
        self._has_begun = True
        if self._is_chat:
            return self._event(_Choice(delta=_Delta(role=role, content=text), logprobs=kept))
        return self._event(_Choice(text=text, logprobs=kept))

    def finish(self, reason: str) -> bytes:
        if self._is_chat:
            return self._event(_Choice(delta=_Delta(), finish_reason=reason))
        return self._event(_Choice(text="", finish_reason=reason))

    def usage(self, usage: Usage) -> bytes:
        """The last event, for those who asked."""
        return event(self._answer("chat.completion.chunk", [], usage))

    def _event(self, choice: _Choice) -> bytes:
        return event(self._answer("chat.completion.chunk", [choice]))

    def _answer(self, kind: str, choices: list[_Choice], usage: Usage | msgspec.UnsetType = msgspec.UNSET) -> _Answer:
        return _Answer(
            id=self._id,
            object=kind if self._is_chat else "text_completion",
            created=self._created,
            model=self._model_id,
            choices=choices,
            usage=usage,
        )

    def _logprobs(self, said: Sequence[Said] | None) -> _Logprobs:
        if said is None:
            return None
        if self._is_chat:
            return _ChatLogprobs(
                [
                    _Token(
                        one.text,
                        one.logprob,
                        list(one.text.encode()),
                        [_Top(text, logprob, list(text.encode())) for text, logprob in one.top],
                    )
                    for one in said
                ]
            )
        return _TextLogprobs(
            [one.text for one in said], [one.logprob for one in said], [dict(reversed(one.top)) for one in said]
        )


class _Embedding(msgspec.Struct, frozen=True):
    embedding: list[float] | str
    index: int
    object: str = "embedding"


class _TokensRead(msgspec.Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class _Embeddings(msgspec.Struct, frozen=True):
    data: list[_Embedding]
    model: str
    usage: _TokensRead
    object: str = "list"


def embeddings(model_id: str, vectors: Sequence[list[float]], tokens: int, *, is_base64: bool) -> bytes:
    data = [
        _Embedding(base64.b64encode(array.array("f", vector).tobytes()).decode() if is_base64 else vector, index)
        for index, vector in enumerate(vectors)
    ]
    return msgspec.json.encode(_Embeddings(data, model_id, _TokensRead(tokens, tokens)))
