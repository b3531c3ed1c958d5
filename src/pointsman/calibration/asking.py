"""A question as an OpenAI request, and a streamed reply as an answer.

Knows: the chat-completions shape, as far as a question needs it. Does not know: who carries the bytes, what is right.
Invariant: questions are put the same way to every model: temperature 0, streamed, usage wanted.
"""

from collections.abc import AsyncIterator

import msgspec

from pointsman.calibration.items import Item
from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.types import Value

DATA, DONE = b"data:", b"[DONE]"


class Answer(Value, frozen=True):
    """What a model said, and at what price. Times count from the question; `first_token_ms` None: it said nothing.

    `completion_tokens` is what the server reports; where it reports nothing, the number of pieces it sent.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    finish_reason: str = ""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None


def body_of(item: Item, model: str, seed: int) -> bytes:
    """The request's body."""
    system = [{"role": "system", "content": item.system}] if item.system else []
    return msgspec.json.encode(
        {
            "model": model,
            "messages": [*system, {"role": "user", "content": item.prompt}],
            "max_tokens": item.max_tokens,
            "temperature": 0,
            "seed": seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


async def listen(events: AsyncIterator[bytes], clock: Clock, asked_s: float) -> Answer:
    """The answer in a stream of whole server-sent events. Raises what the stream raises."""
    pieces: list[str] = []
    first_s: float | None = None
    usage, finish_reason = _Usage(), ""
    async for chunk in events:
        for event in _events(chunk):
            usage = event.usage or usage
            for choice in event.choices or ():
                finish_reason = choice.finish_reason or finish_reason
                if choice.delta is not None and choice.delta.content:
                    first_s = first_s or clock.now()
                    pieces.append(choice.delta.content)
    return Answer(
        text="".join(pieces),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens or len(pieces),
        latency_ms=(clock.now() - asked_s) * 1e3,
        first_token_ms=(first_s - asked_s) * 1e3 if first_s is not None else None,
        finish_reason=finish_reason,
    )


def _events(chunk: bytes) -> list[_Event]:
    lines = (line.removeprefix(DATA).strip() for line in chunk.splitlines() if line.startswith(DATA))
    try:
        return [msgspec.json.decode(line, type=_Event) for line in lines if line and line != DONE]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UpstreamError(f"sent an event that is no chat completion: {error}", code="upstream_protocol") from None
