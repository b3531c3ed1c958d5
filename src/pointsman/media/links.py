"""Where a chat body links to media, and the same body with the media in it. Pure.

Knows: OpenAI's content parts. Does not know: how a link is fetched.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

PARTS = ("image_url", "video_url", "audio_url")
MAYBE = tuple(f'"{name}"'.encode() for name in PARTS)


def may_link(body: bytes) -> bool:
    """Cheap: False means that there surely is no link."""
    return any(name in body for name in MAYBE) and b"http" in body


def links_of(document: Any) -> tuple[tuple[str, str], ...]:
    """(field, URL) of each http link, the same URL once."""
    found: dict[str, str] = {}
    for where, holder, key in _slots(document):
        found.setdefault(holder[key], where)
    return tuple((where, url) for url, where in found.items())


def with_data(document: Any, data: Mapping[str, str]) -> bytes:
    """The body with each of these links replaced by its data: URI. `document` is changed."""
    for _, holder, key in _slots(document):
        holder[key] = data.get(holder[key], holder[key])
    return msgspec.json.encode(document)


def data_uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def _slots(document: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Where a link stands: its path in the body, the object that holds it, the member."""
    messages = document.get("messages") if isinstance(document, dict) else None
    for at, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for number, part in enumerate(content if isinstance(content, list) else ()):
            for name in PARTS if isinstance(part, dict) else ():
                holder, key = (part[name], "url") if isinstance(part.get(name), dict) else (part, name)
                url = holder.get(key)
                if isinstance(url, str) and url[:8].lower().startswith(("http://", "https://")):
                    yield f"messages[{at}].content[{number}].{name}", holder, key
