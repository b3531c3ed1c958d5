"""Impatient callers: one request each over a socket of its own, and how it ended, judged by the bytes alone.

Knows: as much HTTP and server-sent events as it takes to be strict about them. Does not know: what was asked for.
"""

import asyncio
import json
import re
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pointsman.errors import TABLE

CHUNK_BYTES = 65536


class Ending(StrEnum):
    """How a request ended. `cut`: a stream that broke off with its one error event. `wrong`: none of the others."""

    ANSWERED = "answered"
    REFUSED = "refused"
    CUT = "cut"
    LEFT = "left"
    WRONG = "wrong"


@dataclass(frozen=True)
class Question:
    """One request. `leave_s`: its caller hangs up after so long; `leaves_mid_stream`: at the first bytes of a body."""

    model: str
    body: bytes
    is_stream: bool
    limit_s: float
    leave_s: float | None = None
    leaves_mid_stream: bool = False


@dataclass(frozen=True)
class Told:
    """What came of a question. `code`, `why`: the error's code and words, or what is wrong with the bytes."""

    ending: Ending
    code: str = ""
    why: str = ""
    took_s: float = 0.0
    model: str = ""


class WrongAnswerError(Exception):
    """The bytes are neither an answer nor a typed refusal."""


async def ask(port: int, question: Question) -> Told:
    """Ask, listen to the end or leave, judge. Never raises."""
    began_s = time.perf_counter()
    try:
        async with asyncio.timeout(question.limit_s):
            raw = await _exchange(port, question)
        ending, code, why = (Ending.LEFT, "", "") if raw is None else judged(raw, is_stream=question.is_stream)
    except TimeoutError:
        ending, code, why = Ending.WRONG, "", f"no end within {question.limit_s:.0f} s"
    except OSError as error:
        ending, code, why = Ending.WRONG, "", f"connection: {type(error).__name__} {error}"
    took_s = time.perf_counter() - began_s
    return Told(ending=ending, code=code, why=why, took_s=took_s, model=question.model)


async def _exchange(port: int, question: Question) -> bytes | None:
    """All bytes until the server closes; None where the caller left first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: " + str(len(question.body)).encode() + b"\r\n\r\n" + question.body
        )
        return await asyncio.wait_for(_listen(reader, question), question.leave_s)
    except TimeoutError:
        if question.leave_s is None:
            raise
        return None
    finally:
        writer.transport.abort()


async def _listen(reader: asyncio.StreamReader, question: Question) -> bytes | None:
    raw = b""
    while piece := await reader.read(CHUNK_BYTES):
        raw += piece
        if question.leaves_mid_stream and raw.startswith(b"HTTP/1.1 200") and b"data:" in raw:
            return None
    return raw


# ---------------------------------------------------------------- judging


def judged(raw: bytes, *, is_stream: bool) -> tuple[Ending, str, str]:
    """(ending, error code, the error's words or what is wrong with the bytes)."""
    try:
        return _judged(raw, is_stream)
    except (WrongAnswerError, ValueError, KeyError, TypeError) as error:
        said = f"{type(error).__name__}: {error}" if not isinstance(error, WrongAnswerError) else str(error)
        return Ending.WRONG, "", f"{said}; it sent {raw[:200]!r}" + (f" … {raw[-200:]!r}" if len(raw) > 200 else "")


def _judged(raw: bytes, is_stream: bool) -> tuple[Ending, str, str]:
    head, mark, rest = raw.partition(b"\r\n\r\n")
    if not mark:
        raise WrongAnswerError("closed before the end of the headers")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status, body = int(status_line.split()[1]), _body(headers, rest)
    if status != 200:
        return Ending.REFUSED, *_refusal(status, headers, json.loads(body))
    if is_stream:
        return _stream(body)
    if not json.loads(body)["choices"]:
        raise WrongAnswerError("an answer without choices")
    return Ending.ANSWERED, "", ""


def _body(headers: dict[str, str], rest: bytes) -> bytes:
    """Exactly what the framing promises, no byte more or less."""
    if "content-length" in headers:
        if len(rest) != int(headers["content-length"]):
            raise WrongAnswerError(f"{len(rest)} bytes of a body of {headers['content-length']}")
        return rest
    if headers.get("transfer-encoding") != "chunked":
        raise WrongAnswerError("a body without framing")
    body = b""
    while True:
        size_text, mark, rest = rest.partition(b"\r\n")
        if not mark:
            raise WrongAnswerError("closed within a chunked body")
        size = int(size_text, 16)
        if size == 0:
            break
        body, rest = body + rest[:size], rest[size + 2 :]
    if rest != b"\r\n":
        raise WrongAnswerError("bytes after the end of the body")
    return body


def _refusal(status: int, headers: dict[str, str], document: dict[str, Any]) -> tuple[str, str]:
    """Code and words, where everything about it is as the table has it."""
    code, words = _said(document)
    row = TABLE[code]
    if (row.http_status, row.openai_type) != (status, document["error"]["type"]):
        raise WrongAnswerError(f"status {status} and type {document['error']['type']} are not those of {code}")
    if status in {429, 503} and float(headers.get("retry-after", 0)) <= 0:
        raise WrongAnswerError(f"{code} without Retry-After")
    return code, words


def _said(document: dict[str, Any]) -> tuple[str, str]:
    error = document["error"]
    if not isinstance(error["message"], str) or not error["message"] or error["code"] not in TABLE:
        raise WrongAnswerError(f"an error without words or of an unknown code: {error}")
    return str(error["code"]), str(error["message"])


def _stream(body: bytes) -> tuple[Ending, str, str]:
    """Content and one `[DONE]`, or content and one error event."""
    if not body.endswith((b"\n\n", b"\r\n\r\n")):
        raise WrongAnswerError("a stream that ends within an event")
    events = [event for event in re.split(rb"\r?\n\r?\n", body) if event and not event.startswith(b":")]
    data = [event.partition(b"data:")[2].strip() for event in events]
    if data and data[-1] == b"[DONE]":
        documents = [json.loads(piece) for piece in data[:-1]]
        if not documents or any("error" in document for document in documents):
            raise WrongAnswerError("a stream that is done, yet empty or with an error in it")
        return Ending.ANSWERED, "", ""
    documents = [json.loads(piece) for piece in data]
    errors = [document for document in documents if "error" in document]
    if len(errors) != 1 or documents[-1] is not errors[0]:
        raise WrongAnswerError("a stream without [DONE] must end with its one error event")
    return Ending.CUT, *_said(errors[0])
