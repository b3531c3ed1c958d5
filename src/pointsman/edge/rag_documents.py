"""`/v1/rag/ingest`: words, or a file, become passages that questions are answered from.

Knows: the wire shape, which model reads what. Does not know: how passages are kept or found.
A picture is read by a model that takes images, a recording is transcribed, a film both: what is said and what is seen
keep their times. Each is a request of the caller's own, through the corridor like any other.
"""

import base64
import contextlib
import hashlib
import mimetypes
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import msgspec

from pointsman.edge.audio import form_of
from pointsman.edge.decode import as_json, invalid, members_of, typed
from pointsman.edge.endpoint import Corridor
from pointsman.edge.http import Incoming
from pointsman.edge.openai import decode_chat
from pointsman.errors import RequestError
from pointsman.rag.reduce import passages_of
from pointsman.types import FormPayload, JsonPayload, Kind, Media, Modality, Reply, Request
from pointsman.types_rag import Document, Moment

FIELDS = ("id", "title", "collection", "source", "published_at", "model")
MOST_CHARS = 4_000_000
MOMENT_WORDS = 60
SEEN = "Read all text in this, and say what is to be seen."
TIMED = re.compile(r"^\[(\d+):(\d+\.\d)\N{EN DASH}(\d+):(\d+\.\d)\] (.+)$", re.MULTILINE)
NOTHING_READ = "(no text)"


class IngestBody(msgspec.Struct, kw_only=True):
    text: str
    id: str = ""
    title: str = ""
    collection: str = ""
    source: str = ""
    published_at: str | float | None = None
    model: str = "auto"


_INGEST = msgspec.json.Decoder(IngestBody)


def decode_document(incoming: Incoming) -> Request:
    """JSON with `text`, or a form with a `file`; the other fields are the same."""
    media: tuple[Media, ...] = ()
    payload: JsonPayload | FormPayload
    if incoming.content_type.startswith("multipart/"):
        fields, files = form_of(incoming)
        if "file" not in files or not files["file"].data:
            raise RequestError("file: is missing or empty; attach one", code="missing_field", param="file")
        payload, media = FormPayload(fields=tuple(fields)), (files["file"],)
    else:
        payload = members_of(incoming)
        typed(_INGEST, incoming.body)
    model = dict(payload.fields).get("model", "auto") if isinstance(payload, FormPayload) else "auto"
    return Request(
        id=incoming.request_id,
        kind=Kind.CHAT,
        model=model,
        payload=payload,
        media=media,
        received_s=incoming.received_s,
    )


async def read_document(request: Request, corridor: Corridor) -> tuple[Document, tuple[Moment, ...]]:
    """What the request brings, as passages. Raises RequestError where nothing can be read in it."""
    file = request.media[0] if request.media else None
    said = _fields(request)
    if file is None:
        kind, moments = Modality.TEXT, cut(said["text"])
    else:
        kind, moments = await _from_file(request, file, corridor)
    if not moments:
        raise invalid("file" if file else "text", "holds nothing that could be read", code="invalid_media")
    content = (file.data or b"") if file else said["text"].encode()
    document = Document(
        id=said["id"] or hashlib.sha256(content).hexdigest()[:24],
        title=said["title"] or (file.filename if file else ""),
        collection=said["collection"],
        kind=kind,
        source=said["source"],
        published_unix_s=unix_of(said["published_at"], "published_at") or 0.0,
    )
    return document, moments


def _fields(request: Request) -> dict[str, Any]:
    """What stands beside the text or file, everything present."""
    if isinstance(request.payload, FormPayload):
        given = dict(request.payload.fields)
        return {name: given.get(name, "") for name in FIELDS} | {"published_at": given.get("published_at")}
    return msgspec.structs.asdict(typed(_INGEST, request.payload.encode()))


def unix_of(given: str | float | None, param: str) -> float | None:
    """A date, a time or seconds since 1970, as the latter; a time without a zone is in UTC. Raises RequestError."""
    if given is None or given == "":
        return None
    try:
        if isinstance(given, str):
            moment = datetime.fromisoformat(given)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return float(datetime.fromtimestamp(given, UTC).timestamp())
    except (ValueError, OverflowError, OSError):
        raise invalid(
            param, "must be a date such as 2026-03-01, a time such as 2026-03-01T12:00:00Z, or Unix seconds"
        ) from None


def iso_of(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# ---------------------------------------------------------------- words


def cut(text: str) -> tuple[Moment, ...]:
    if len(text) > MOST_CHARS:
        raise invalid("text", f"has {len(text)} characters; {MOST_CHARS} are allowed, so send it in parts")
    return tuple(Moment(text=passage) for passage in passages_of(text))


class _Words(HTMLParser):
    """A page's words, blocks apart, without scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # the parser's signature
        self._hidden += tag in {"script", "style"}
        self.words.append("\n\n" if tag in {"p", "div", "h1", "h2", "h3", "li", "tr", "section", "article"} else "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if self._hidden <= 0:
            self.words.append(data)


def words_of_page(page: str) -> str:
    parser = _Words()
    parser.feed(page)
    parser.close()
    return "".join(parser.words)


# ---------------------------------------------------------------- files


async def _from_file(request: Request, file: Media, corridor: Corridor) -> tuple[Modality, tuple[Moment, ...]]:
    """1 a picture  2 a recording  3 a film  4 a page  5 any other text."""
    mime = mimetypes.guess_type(file.filename)[0] or ""
    kind = mime.partition("/")[0]
    if kind == "image":  # 1
        return Modality.IMAGE, cut(await _seen(request, file, mime, corridor))
    if kind == "audio":  # 2
        return Modality.AUDIO, await _heard(request, file, corridor)
    if kind == "video":  # 3
        return Modality.VIDEO, await _watched(request, file, mime, corridor)
    try:
        text = (file.data or b"").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(
            f"file: {file.filename or 'the file'} is no text in UTF-8, picture, recording or film; send its text",
            code="unsupported_media_type",
            param="file",
        ) from None
    return Modality.TEXT, cut(words_of_page(text) if mime == "text/html" else text)  # 4, 5


async def _watched(request: Request, file: Media, mime: str, corridor: Corridor) -> tuple[Moment, ...]:
    """What is said in a film and what stands in its pictures, in the order of time; either will do."""
    spoken: tuple[Moment, ...] = ()
    with contextlib.suppress(RequestError):  # a film may have no sound, or no speech model may take it
        spoken = await _heard(request, file, corridor)
    try:
        seen = tuple(timed(await _seen(request, file, mime, corridor)))
    except RequestError:
        if not spoken:
            raise
        seen = ()
    return tuple(sorted((*spoken, *seen), key=lambda moment: moment.start_s or 0.0))


def timed(reading: str) -> Iterator[Moment]:
    """Lines such as `[0:03.5–0:07.0] SALE` as moments; what has no time is one moment without."""
    found = TIMED.findall(reading)
    for begin_min, begin_s, end_min, end_s, text in found:
        if text != NOTHING_READ:
            yield Moment(
                text=text, start_s=int(begin_min) * 60 + float(begin_s), end_s=int(end_min) * 60 + float(end_s)
            )
    if not found:
        yield from cut(reading)


async def _seen(request: Request, file: Media, mime: str, corridor: Corridor) -> str:
    part = "video_url" if mime.startswith("video/") else "image_url"
    url = f"data:{mime};base64,{base64.b64encode(file.data or b'').decode()}"
    content = [{"type": "text", "text": SEEN}, {"type": part, part: {"url": url}}]
    body = as_json({"model": request.model, "messages": [{"role": "user", "content": content}]})
    chat = decode_chat(
        Incoming(request_id=f"{request.id}.seen", content_type="", body=body, received_s=request.received_s)
    )
    answer = await _answered(msgspec.structs.replace(chat, tenant=request.tenant, limits=request.limits), corridor)
    text: str = msgspec.json.decode(answer)["choices"][0]["message"]["content"] or ""
    return text


async def _heard(request: Request, file: Media, corridor: Corridor) -> tuple[Moment, ...]:
    recording = Request(
        id=f"{request.id}.heard",
        kind=Kind.TRANSCRIPTION,
        model=request.model,
        payload=FormPayload(fields=(("response_format", "verbose_json"),)),
        media=(file,),
        tenant=request.tenant,
        limits=request.limits,
        received_s=request.received_s,
    )
    answer: dict[str, Any] = msgspec.json.decode(await _answered(recording, corridor))
    segments = answer.get("segments")
    if not segments:
        return cut(answer.get("text") or "")
    return tuple(_merged((one["text"].strip(), float(one["start"]), float(one["end"])) for one in segments))


def _merged(segments: Iterable[tuple[str, float, float]]) -> Iterator[Moment]:
    """Neighbouring segments together, as long as they are not many words."""
    text, start_s, end_s = "", 0.0, 0.0
    for said, begin_s, until_s in segments:
        if text and len(text.split()) + len(said.split()) > MOMENT_WORDS:
            yield Moment(text=text, start_s=start_s, end_s=end_s)
            text = ""
        start_s = start_s if text else begin_s
        text, end_s = f"{text} {said}".strip(), until_s
    if text:
        yield Moment(text=text, start_s=start_s, end_s=end_s)


async def _answered(request: Request, corridor: Corridor) -> bytes:
    async with corridor.answer(request) as reply:
        return await _whole(reply)


async def _whole(reply: Reply) -> bytes:
    return reply.body if reply.events is None else b"".join([chunk async for chunk in reply.events])
