"""Anthropic's Messages API in words of a chat, and back.

Knows: both wire shapes (https://docs.anthropic.com/en/api/messages). Does not know: who answers.
Left out: `thinking` blocks (no model's reasoning is signed here), `cache_control` (engines cache prefixes unasked),
server tools (they would run elsewhere, so they are refused).
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from pointsman.edge.decode import ROUTING, invalid, typed
from pointsman.edge.dialect import Chat, Choice, Speaker, ToolCall, asked_for, event
from pointsman.errors import NOT_JSON, PointsmanError
from pointsman.signals.tokens import text_tokens
from pointsman.types import Request, Usage

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
PASSED_ON = ("temperature", "top_p", "top_k", "stream")
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class BlockSource(msgspec.Struct):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class Block(msgspec.Struct):
    type: str
    text: str = ""
    source: BlockSource | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Any] | None = None
    tool_use_id: str = ""
    content: "str | list[Block] | None" = None
    is_error: bool = False


class MessageIn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    type: str | None = None


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool = False


class Metadata(msgspec.Struct):
    user_id: str | None = None


class CountBody(msgspec.Struct, kw_only=True):
    """What can be counted: `/v1/messages/count_tokens` takes no more."""

    messages: list[MessageIn]
    model: str = "auto"
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None


class MessagesBody(CountBody, kw_only=True):
    max_tokens: int
    tool_choice: ToolChoice | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    routing: msgspec.Raw | None = msgspec.field(default=None, name=ROUTING)


_BODY = msgspec.json.Decoder(MessagesBody)
_COUNTED = msgspec.json.Decoder(CountBody)


class Anthropic:
    """The dialect of `/v1/messages`."""

    def to_chat(self, body: bytes) -> bytes:
        asked = typed(_BODY, body)
        if asked.max_tokens < 1:
            raise invalid("max_tokens", f"must be 1 or more, not {asked.max_tokens}")
        if not asked.messages:
            raise invalid("messages", "is empty; send at least one message")
        members: dict[str, Any] = {"model": asked.model, "messages": list(_messages(asked))}
        members["max_tokens"] = asked.max_tokens
        members.update((name, value) for name in PASSED_ON if (value := getattr(asked, name)) is not None)
        if asked.stop_sequences:
            members["stop"] = asked.stop_sequences
        if asked.tools:
            members["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked.tools)]
        if asked.tools and asked.tool_choice:
            members["tool_choice"] = _choice(asked.tool_choice)
            members["parallel_tool_calls"] = not asked.tool_choice.disable_parallel_tool_use
        if asked.metadata and asked.metadata.user_id:
            members["user"] = asked.metadata.user_id
        if asked.routing is not None:
            members[ROUTING] = asked.routing
        return msgspec.json.encode(members)

    def whole(self, request: Request, chat: Chat, usage: Usage) -> bytes:
        choice = chat.choice or Choice()
        content: list[dict[str, Any]] = []
        if choice.message and choice.message.text:
            content.append({"type": "text", "text": choice.message.text})
        calls = (choice.message and choice.message.tool_calls) or ()
        content.extend(_tool_use(call) | {"input": _arguments(call.function.arguments)} for call in calls)
        counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
        return msgspec.json.encode(_message(request, chat, counts, content) | _stop(choice))

    def speaker(self, request: Request) -> Speaker:
        return MessageEvents(request)

    def error(self, error: PointsmanError) -> bytes:
        return msgspec.json.encode({"type": "error", "error": _error(error)})

    def error_event(self, error: PointsmanError, delivered: int) -> bytes:
        return event("error", {"error": _error(error) | {"delivered_events": delivered}})


def countable(body: bytes) -> bytes:
    """The chat whose tokens are to be counted. Raises RequestError."""
    asked = typed(_COUNTED, body)
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked.tools or ())]
    return msgspec.json.encode({"model": asked.model, "messages": list(_messages(asked)), "tools": tools})


def token_count(request: Request) -> bytes:
    """About how many tokens a prompt has: an estimate, as no one tokenizer is every model's."""
    tools = asked_for(request, "tools")
    spoken = sum(text_tokens(turn.text) for turn in request.turns)
    return msgspec.json.encode({"input_tokens": round(spoken + (text_tokens(_json(tools)) if tools else 0))})


# ---------------------------------------------------------------- what is asked


def _messages(asked: CountBody) -> Iterator[dict[str, Any]]:
    if asked.system:
        system = asked.system if isinstance(asked.system, str) else "\n".join(block.text for block in asked.system)
        yield {"role": "system", "content": system}
    for index, message in enumerate(asked.messages):
        if isinstance(message.content, str):
            yield {"role": message.role, "content": message.content}
        elif message.role == "assistant":
            yield _assistant(message.content)
        else:
            yield from _user(message, f"messages[{index}].content")


def _assistant(blocks: list[Block]) -> dict[str, Any]:
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": _json(block.input or {})}}
        for block in blocks
        if block.type == "tool_use"
    ]
    text = "".join(block.text for block in blocks if block.type == "text")
    return {"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {})


def _user(message: MessageIn, where: str) -> Iterator[dict[str, Any]]:
    """Results of tools are messages of their own, before what the user says beside them; their pictures, which a chat's
    tool cannot show, stand with the latter."""
    parts: list[dict[str, Any]] = []
    for position, block in enumerate(message.content):
        assert isinstance(block, Block)  # noqa: S101  # the caller looked; this is for the type checker
        if block.type == "tool_result":
            said, pictures = _result(block, f"{where}[{position}].content")
            parts += pictures
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": said}
        else:
            parts.append(_part(block, f"{where}[{position}]"))
    if parts:
        yield {"role": message.role, "content": _plain(parts)}


def _result(block: Block, where: str) -> tuple[str, list[dict[str, Any]]]:
    """What a tool said, and what it showed. Only the text can say that it failed, or that there are pictures."""
    content = [Block(type="text", text=block.content)] if isinstance(block.content, str) else block.content or []
    parts = [_part(one, f"{where}[{index}]") for index, one in enumerate(content)]
    pictures = [part for part in parts if part["type"] != "text"]
    said = [part["text"] for part in parts if part["type"] == "text" and part["text"]]
    if pictures:
        said.append(f"[pictures in the next message: {len(pictures)}]")
    return ("Error: " if block.is_error else "") + "\n".join(said), pictures


def _part(block: Block, where: str) -> dict[str, Any]:
    if block.type == "text":
        return {"type": "text", "text": block.text}
    source = block.source
    if block.type == "image" and source is not None and source.type in {"base64", "url"}:
        url = source.url if source.type == "url" else f"data:{source.media_type};base64,{source.data}"
        return {"type": "image_url", "image_url": {"url": url}}
    if block.type == "document" and source is not None and source.type == "text":
        return {"type": "text", "text": source.data}
    raise invalid(where, f"`{block.type}` cannot be sent on; use text, image (base64, url) or document (text)")


def _plain(parts: list[dict[str, Any]]) -> Any:  # a string where there is only text, else content parts
    return "\n".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def _tool(tool: Tool, where: str) -> dict[str, Any]:
    if tool.type not in {None, "custom"}:
        raise invalid(f"{where}.type", f"`{tool.type}` runs on Anthropic's servers; describe a tool of your own")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema or {"type": "object"}}
    return {"type": "function", "function": function | ({"description": tool.description} if tool.description else {})}


def _choice(choice: ToolChoice) -> Any:  # a word or an object, as OpenAI has it
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.type == "any" else choice.type


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# ---------------------------------------------------------------- what is answered


def _message(request: Request, chat: Chat, usage: dict[str, int], content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{request.id}",
        "type": "message",
        "role": "assistant",
        "model": chat.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop(choice: Choice) -> dict[str, str | None]:
    """Why it ended; some engines tell which sequence ended it."""
    if choice.finish_reason == "stop" and isinstance(choice.stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop_reason}
    return {"stop_reason": STOP_REASONS.get(choice.finish_reason or "stop", "end_turn"), "stop_sequence": None}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id or "", "name": call.function.name or "", "input": {}}


def _arguments(written: str | None) -> Any:
    """The arguments as a value; what is no JSON object is handed on as the model wrote it."""
    try:
        return msgspec.json.decode(written or "{}")
    except NOT_JSON:
        return {"_unparsed": written}


def _error(error: PointsmanError) -> dict[str, Any]:
    status = error.http_status
    kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": kind, "message": error.message, "code": error.code}


class MessageEvents:
    """One streamed message: a block is opened when its first piece comes and closed when another begins."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._last = Choice(finish_reason="stop")
        self._is_begun = False
        self._blocks = 0
        self._open = ""  # "" none, "text", or the index of a tool call

    def said(self, chunk: Chat) -> bytes:
        out = b"" if self._is_begun else self._begin(chunk)
        choice = chunk.choice
        if choice is None:
            return out
        if choice.finish_reason:
            self._last = choice
        delta = choice.delta
        if delta is not None and delta.text:
            out += self._block("text", {"type": "text", "text": ""})
            out += self._delta({"type": "text_delta", "text": delta.text})
        for call in (delta and delta.tool_calls) or ():
            out += self._block(f"tool {call.index}", _tool_use(call))
            if call.function.arguments:
                out += self._delta({"type": "input_json_delta", "partial_json": call.function.arguments})
        return out

    def ended(self, usage: Usage) -> bytes:
        counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
        begun = b"" if self._is_begun else self._begin(Chat())
        end = event("message_delta", {"delta": _stop(self._last), "usage": counts}) + event("message_stop", {})
        return begun + self._close() + end

    def _begin(self, chunk: Chat) -> bytes:
        self._is_begun = True
        about = round(sum(text_tokens(turn.text) for turn in self._request.turns))
        counts = {"input_tokens": about, "output_tokens": 0}
        return event("message_start", {"message": _message(self._request, chunk, counts, [])})

    def _block(self, name: str, block: dict[str, Any]) -> bytes:
        if name == self._open:
            return b""
        closed, self._open = self._close(), name
        self._blocks += 1
        return closed + event("content_block_start", {"index": self._blocks - 1, "content_block": block})

    def _delta(self, delta: dict[str, str]) -> bytes:
        return event("content_block_delta", {"index": self._blocks - 1, "delta": delta})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return event("content_block_stop", {"index": self._blocks - 1})
