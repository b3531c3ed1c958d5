"""Requests for text, as they arrive: checked members → what the batch needs to know.

Knows: OpenAI's bodies for chat, completions and embeddings, and the members llama.cpp and vLLM added. Does not know:
models, tokens. What a request may not ask here is refused by name; what means nothing here is left alone.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pointsman.backends.worker.transformers_sampling import Sampling
from pointsman.backends.worker.wire import invalid
from pointsman.types import Value

MAX_STOPS = 16
MAX_TOP_LOGPROBS = 20

Temperature = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1)]
Stop = (
    Annotated[str, Meta(min_length=1)] | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=MAX_STOPS)]
)


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    type: str = "text"


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and completions have alike. None: left open."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    stop: Stop | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Meta(gt=0)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    ignore_eos: bool | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None

    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class Part(msgspec.Struct, frozen=True):
    type: str = "text"
    text: str | None = None


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """`tool_calls` and what comes with them belong to the model's own template."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class ChatBody(Generation, frozen=True, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None


class CompletionBody(Generation, frozen=True, kw_only=True):
    prompt: str | list[int | str]
    logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class Defaults(msgspec.Struct, frozen=True):
    """What a model's makers recommend, in its `generation_config.json`; `eos_token_id`: what ends an answer."""

    eos_token_id: int | list[int] | None = None

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class Turn(Value, frozen=True):
    """One message as a chat template reads it, still to be made a mapping."""

    message: Message
    text: str | None

    def mapping(self) -> dict[str, Any]:
        """For the template. What a caller wrote as JSON text inside a tool call, it reads as a value."""
        said: dict[str, Any] = msgspec.to_builtins(self.message)
        said["content"] = self.text or ""
        for call in said.get("tool_calls") or ():
            function = call.get("function")
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                try:
                    function["arguments"] = msgspec.json.decode(function["arguments"])
                except msgspec.DecodeError:
                    raise invalid("messages", "has a tool call whose `arguments` are not JSON; mend them") from None
        return said


def turns(body: ChatBody) -> tuple[Turn, ...]:
    """The messages as text. Raises RequestError where one holds anything else."""
    return tuple(Turn(message=message, text=_text(message, index)) for index, message in enumerate(body.messages))


def tools(body: ChatBody) -> list[dict[str, Any]] | None:
    if body.tool_choice == "none":
        return None
    if body.tool_choice not in (None, "auto"):  # it may be an object, which no set takes
        raise invalid("tool_choice", "cannot be forced on this engine; send `auto` or `none`")
    return body.tools or None


def sampling(body: Generation, top_logprobs: int | None, defaults: Defaults, n_vocabulary: int) -> Sampling:
    """What the caller said, then what the model's makers recommend, then OpenAI's defaults."""
    top_k = _first(body.top_k, defaults.top_k, 0)
    return Sampling(
        temperature=_first(body.temperature, defaults.temperature, 1.0),
        top_p=_first(body.top_p, defaults.top_p, 1.0),
        top_k=max(0, top_k),
        min_p=_first(body.min_p, defaults.min_p, 0.0),
        repeat_penalty=_first(
            body.repeat_penalty, _first(body.repetition_penalty, defaults.repetition_penalty, 1.0), 1.0
        ),
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        seed=body.seed,
        logit_bias=_biases(body, n_vocabulary),
        top_logprobs=top_logprobs,
    )


def check(body: Generation) -> None:
    """Refuse what this engine does not do. Raises RequestError."""
    if body.n not in {None, 1}:
        raise invalid("n", "gives one answer on this engine; ask again for another")
    if body.response_format is not None and body.response_format.type != "text":
        raise invalid("response_format", "cannot be enforced on this engine; send `text`, or name another model")
    if isinstance(body, CompletionBody):
        if body.echo or body.suffix or body.best_of not in {None, 1}:
            name = "echo" if body.echo else "suffix" if body.suffix else "best_of"
            raise invalid(name, "is not done by this engine; leave it out")
        if isinstance(body.prompt, list) and len(body.prompt) > 1 and isinstance(body.prompt[0], str):
            raise invalid("prompt", "takes one prompt a request on this engine; send them one by one")


def _first(said: Any, recommended: Any, default: Any) -> Any:
    return next(value for value in (said, recommended, default) if value is not None)


def _biases(body: Generation, n_vocabulary: int) -> tuple[tuple[int, float], ...]:
    found = []
    for name, bias in (body.logit_bias or {}).items():
        if not name.isdecimal() or int(name) >= n_vocabulary:
            raise invalid("logit_bias", f"has `{name[:20]}`, which is no token: they are 0 to {n_vocabulary - 1}")
        found.append((int(name), bias))
    return tuple(found)


def _text(message: Message, index: int) -> str | None:
    if not isinstance(message.content, list):
        return message.content
    for position, part in enumerate(message.content):
        if part.text is None:
            where = f"messages[{index}].content[{position}]"
            raise invalid(where, f"is `{part.type}`, and this model reads text only", "invalid_media")
    return "".join(part.text or "" for part in message.content)
