"""OpenAI's Responses API in words of a chat, and back.

Knows: both wire shapes (https://platform.openai.com/docs/api-reference/responses). Does not know: who answers.
Nothing is stored here: who sends `previous_response_id` is told to send the conversation. Built-in tools would run on
OpenAI's servers, so they are refused. Reasoning items are not handed on.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pointsman.edge.decode import ROUTING, invalid, typed
from pointsman.edge.dialect import Chat, Choice, Speaker, ToolCall, asked_for, event
from pointsman.edge.http import OpenAi
from pointsman.errors import PointsmanError
from pointsman.types import Request, Usage

PASSED_ON = ("temperature", "top_p", "stream", "parallel_tool_calls", "user", "metadata")
ECHOED: dict[str, Any] = {
    "temperature": None,
    "top_p": None,
    "parallel_tool_calls": True,
    "user": None,
    "metadata": {},
}
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Part(msgspec.Struct):
    type: str
    text: str = ""
    image_url: str | None = None
    input_audio: dict[str, str] | None = None
    file_data: str | None = None
    filename: str | None = None
    refusal: str = ""


class Item(msgspec.Struct):
    type: str = "message"
    role: str = "user"
    content: str | list[Part] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str | list[Part] | None = None


class Tool(msgspec.Struct):
    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Format(msgspec.Struct):
    type: str
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Text(msgspec.Struct):
    format: Format | None = None


class ResponsesBody(msgspec.Struct, kw_only=True):
    input: str | list[Item]
    model: str = "auto"
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: Text | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw | None = None
    background: bool | None = None
    routing: msgspec.Raw | None = msgspec.field(default=None, name=ROUTING)


_BODY = msgspec.json.Decoder(ResponsesBody)


class Responses(OpenAi):
    """The dialect of `/v1/responses`."""

    def to_chat(self, body: bytes) -> bytes:
        asked = typed(_BODY, body)
        _refuse_state(asked)
        members: dict[str, Any] = {"model": asked.model, "messages": list(_messages(asked))}
        if not members["messages"]:
            raise invalid("input", "is empty; send a text or at least one item")
        members.update((name, value) for name in PASSED_ON if (value := getattr(asked, name)) is not None)
        if asked.max_output_tokens is not None:
            if asked.max_output_tokens < 1:
                raise invalid("max_output_tokens", f"must be 1 or more, not {asked.max_output_tokens}")
            members["max_tokens"] = asked.max_output_tokens
        if asked.tools:
            members["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(asked.tools)]
            members |= {"tool_choice": _choice(asked.tool_choice)} if asked.tool_choice else {}
        if asked.text and asked.text.format and asked.text.format.type != "text":
            members["response_format"] = _format(asked.text.format)
        if asked.routing is not None:
            members[ROUTING] = asked.routing
        return msgspec.json.encode(members)

    def whole(self, request: Request, chat: Chat, usage: Usage) -> bytes:
        choice = chat.choice or Choice()
        output: list[dict[str, Any]] = []
        if choice.message and choice.message.text:
            output.append(_said(request, 0, choice.message.text, "completed"))
        for call in (choice.message and choice.message.tool_calls) or ():
            output.append(_call(request, len(output), call, call.function.arguments or "", "completed"))
        return msgspec.json.encode(_response(request, chat, output, choice.finish_reason, usage))

    def speaker(self, request: Request) -> Speaker:
        return ResponseEvents(request)

    def error_event(self, error: PointsmanError, delivered: int) -> bytes:
        members = {"code": error.code, "message": error.message, "param": error.param, "sequence_number": delivered}
        return event("error", members)


# ---------------------------------------------------------------- what is asked


def _refuse_state(asked: ResponsesBody) -> None:
    for name in ("previous_response_id", "conversation"):
        if getattr(asked, name) is not None:
            raise invalid(name, "responses are not stored here; send the whole conversation as `input`")
    if asked.background:
        raise invalid("background", "an answer is given at once or streamed; leave it out")


def _messages(asked: ResponsesBody) -> Iterator[dict[str, Any]]:
    if asked.instructions:
        yield {"role": "system", "content": asked.instructions}
    if isinstance(asked.input, str):
        if asked.input:
            yield {"role": "user", "content": asked.input}
        return
    calls: list[dict[str, Any]] = []
    for index, item in enumerate(asked.input):
        if item.type == "function_call":
            function = {"name": item.name, "arguments": item.arguments}
            calls.append({"id": item.call_id, "type": "function", "function": function})
            continue
        if calls:  # calls made at once belong to one message
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            calls = []
        yield from _message(item, f"input[{index}]")
    if calls:
        yield {"role": "assistant", "content": None, "tool_calls": calls}


def _message(item: Item, where: str) -> Iterator[dict[str, Any]]:
    if item.type == "message":
        role = "system" if item.role == "developer" else item.role
        yield {"role": role, "content": _content(item.content, f"{where}.content")}
    elif item.type == "function_call_output":
        yield {"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output, f"{where}.output")}
    elif item.type != "reasoning":
        raise invalid(f"{where}.type", f"`{item.type}` is of a tool that runs elsewhere; send messages and functions")


def _content(content: str | list[Part] | None, where: str) -> Any:  # a string where there is only text, else parts
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_part(part, f"{where}[{position}]") for position, part in enumerate(content)]
    return "\n".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def _part(part: Part, where: str) -> dict[str, Any]:
    if part.type in {"input_text", "output_text", "text", "refusal"}:
        return {"type": "text", "text": part.text or part.refusal}
    if part.type == "input_image" and part.image_url:
        return {"type": "image_url", "image_url": {"url": part.image_url}}
    if part.type == "input_audio" and part.input_audio:
        return {"type": "input_audio", "input_audio": part.input_audio}
    if part.type == "input_file" and part.file_data:
        return {"type": "file", "file": {"file_data": part.file_data, "filename": part.filename or ""}}
    raise invalid(where, f"`{part.type}` cannot be sent on; use text, image_url, input_audio or file_data")


def _tool(tool: Tool, where: str) -> dict[str, Any]:
    if tool.type != "function":
        raise invalid(f"{where}.type", f"`{tool.type}` runs on OpenAI's servers; describe a function of your own")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters or {"type": "object"}}
    given = {"description": tool.description, "strict": tool.strict}
    function.update((name, value) for name, value in given.items() if value is not None)
    return {"type": "function", "function": function}


def _choice(choice: str | dict[str, Any]) -> Any:  # a word or an object, as a chat has it
    if isinstance(choice, str) or choice.get("type") != "function":
        return choice
    return {"type": "function", "function": {"name": choice.get("name", "")}}


def _format(wanted: Format) -> dict[str, Any]:
    if wanted.type != "json_schema":
        return {"type": wanted.type}
    given = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict, "description": wanted.description}
    return {"type": "json_schema", "json_schema": {name: value for name, value in given.items() if value is not None}}


# ---------------------------------------------------------------- what is answered


def _response(
    request: Request, chat: Chat, output: list[dict[str, Any]], finish_reason: str | None, usage: Usage | None
) -> dict[str, Any]:
    """The object; under way where `usage` is None. What the caller asked for is told from the chat it became."""
    why = INCOMPLETE.get(finish_reason or "")
    status = "in_progress" if usage is None else "incomplete" if why else "completed"
    return {
        "id": f"resp_{request.id}",
        "object": "response",
        "created_at": chat.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": why} if why else None,
        "instructions": None,
        "max_output_tokens": request.limits.max_output_tokens,
        "model": chat.model,
        "output": output,
        "previous_response_id": None,
        "store": False,
        "tool_choice": "auto",
        "tools": [{"type": "function", **tool["function"]} for tool in asked_for(request, "tools") or ()],
        "usage": usage and _usage(usage),
        **{name: default if (said := asked_for(request, name)) is None else said for name, default in ECHOED.items()},
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def _said(request: Request, index: int, text: str | None, status: str) -> dict[str, Any]:
    """A message; None: its text is still to come."""
    return {
        "id": f"msg_{request.id}_{index}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [] if text is None else [_text_part(text)],
    }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _call(request: Request, index: int, call: ToolCall, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": f"fc_{request.id}_{index}",
        "type": "function_call",
        "call_id": call.id or "",
        "name": call.function.name or "",
        "arguments": arguments,
        "status": status,
    }


class ResponseEvents:
    """One streamed response: an item is added when its first piece comes and done when another begins."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._first: Chat | None = None
        self._number = 0
        self._finish_reason: str | None = None
        self._output: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._call: ToolCall | None = None  # of the open item; None where that is a message
        self._is_open = False

    def said(self, chunk: Chat) -> bytes:
        out = self._begin(chunk) if self._first is None else b""
        choice = chunk.choice
        if choice is None:
            return out
        self._finish_reason = choice.finish_reason or self._finish_reason
        delta = choice.delta
        if delta is not None and delta.text:
            out += self._open(None) + self._piece("response.output_text.delta", delta.text, {"content_index": 0})
        for call in (delta and delta.tool_calls) or ():
            out += self._open(call)
            if call.function.arguments:
                out += self._piece("response.function_call_arguments.delta", call.function.arguments, {})
        return out

    def ended(self, usage: Usage) -> bytes:
        first = self._first or Chat()
        out = self._close() if self._first else self._begin(first)
        response = _response(self._request, first, self._output, self._finish_reason, usage)
        return out + self._event(f"response.{response['status']}", {"response": response})

    def _begin(self, chunk: Chat) -> bytes:
        self._first = chunk
        begun = {"response": _response(self._request, chunk, [], None, None)}
        return self._event("response.created", begun) + self._event("response.in_progress", begun)

    def _open(self, call: ToolCall | None) -> bytes:
        """The item that this piece belongs to, opened where it is a new one."""
        if self._is_open and (call is None) == (self._call is None) and (not call or not self._is_new(call)):
            return b""
        closed = self._close()
        self._is_open, self._call, index = True, call, len(self._output)
        if call is not None:
            item = _call(self._request, index, call, "", "in_progress")
            return closed + self._event("response.output_item.added", {"output_index": index, "item": item})
        item = _said(self._request, index, None, "in_progress")
        added = self._event("response.output_item.added", {"output_index": index, "item": item})
        return (
            closed + added + self._of_item("response.content_part.added", {"content_index": 0, "part": _text_part("")})
        )

    def _is_new(self, call: ToolCall) -> bool:
        return self._call is None or call.index != self._call.index

    def _piece(self, name: str, piece: str, members: dict[str, Any]) -> bytes:
        self._pieces.append(piece)
        return self._of_item(name, {**members, "delta": piece})

    def _close(self) -> bytes:
        if not self._is_open:
            return b""
        whole, index, self._pieces, self._is_open = "".join(self._pieces), len(self._output), [], False
        if self._call is not None:
            item = _call(self._request, index, self._call, whole, "completed")
            out = self._of_item("response.function_call_arguments.done", {"arguments": whole, "name": item["name"]})
        else:
            item = _said(self._request, index, whole, "completed")
            out = self._of_item("response.output_text.done", {"content_index": 0, "text": whole})
            out += self._of_item("response.content_part.done", {"content_index": 0, "part": _text_part(whole)})
        self._output.append(item)
        return out + self._event("response.output_item.done", {"output_index": index, "item": item})

    def _of_item(self, name: str, members: dict[str, Any]) -> bytes:
        """An event about the open item."""
        index = len(self._output)
        item_id = f"{'fc' if self._call else 'msg'}_{self._request.id}_{index}"
        return self._event(name, {"item_id": item_id, "output_index": index, **members})

    def _event(self, name: str, members: dict[str, Any]) -> bytes:
        self._number += 1
        return event(name, {"sequence_number": self._number - 1, **members})
