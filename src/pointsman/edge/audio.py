"""OpenAI's audio endpoints → Request: a multipart upload to transcribe, a text to speak."""

import io
import re
from typing import Literal

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, create_form_parser

from pointsman.edge.decode import NO_ROUTING, OWN_MEMBERS, ROUTING, Routing, invalid, members_of, routing_of, typed
from pointsman.edge.http import Incoming
from pointsman.errors import RequestError
from pointsman.types import FormPayload, Kind, Media, Modality, Request, Turn

MAX_FIELDS = 64
MAX_SPEECH_CHARS = 4096
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)
UNKNOWN_TYPE = "application/octet-stream"


class SpeechBody(msgspec.Struct, kw_only=True):
    input: str
    model: str = "auto"
    voice: str | dict[str, str] | None = None
    language: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    routing: Routing | None = msgspec.field(default=None, name=ROUTING)


NOT_SENT = OWN_MEMBERS | {"model"}
_SPEECH = msgspec.json.Decoder(SpeechBody)


def decode_speech(incoming: Incoming) -> Request:
    payload = members_of(incoming)
    body = typed(_SPEECH, incoming.body)
    if not body.input.strip():
        raise invalid("input", "is empty; send the text to speak")
    if len(body.input) > MAX_SPEECH_CHARS:
        raise invalid("input", f"has {len(body.input)} characters; {MAX_SPEECH_CHARS} are allowed, so split it")
    if not 0.25 <= body.speed <= 4:
        raise invalid("speed", f"must lie between 0.25 and 4, not {body.speed:g}")
    routing = body.routing or NO_ROUTING
    hints = routing.hints()
    return Request(
        id=incoming.request_id,
        kind=Kind.SPEECH,
        model=body.model,
        payload=payload,
        turns=(Turn(role="user", text=body.input),),
        outputs=(Modality.AUDIO,),
        stream=True,
        hints=msgspec.structs.replace(hints, language=body.language) if body.language else hints,
        limits=routing.limits(None, has_tools=False, cache_control=incoming.cache_control),
        received_s=incoming.received_s,
    )


def decode_transcription(incoming: Incoming) -> Request:
    fields, files = form_of(incoming)
    named = dict(fields)
    if "file" not in files:
        raise RequestError(
            "file: is missing; attach the recording as a form file named `file`", code="missing_field", param="file"
        )
    upload = files["file"]
    if not upload.data:
        raise invalid("file", "is empty; attach a recording", code="invalid_media")
    routing = routing_of(fields)
    hints = routing.hints()
    return Request(
        id=incoming.request_id,
        kind=Kind.TRANSCRIPTION,
        model=named.get("model") or "auto",
        payload=FormPayload(fields=tuple(field for field in fields if field[0].partition("[")[0] not in NOT_SENT)),
        media=(upload,),
        stream=named.get("stream", "").lower() == "true",
        hints=msgspec.structs.replace(hints, language=named.get("language") or hints.language),
        limits=routing.limits(None, has_tools=False, cache_control=incoming.cache_control),
        received_s=incoming.received_s,
    )


def form_of(incoming: Incoming) -> tuple[list[tuple[str, str]], dict[str, Media]]:
    """Fields in order, files by name. Raises RequestError where the body is no form."""
    media_type = incoming.content_type.partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise RequestError(
            f"content-type: send multipart/form-data with a part named `file`, not {media_type or 'nothing'}",
            code="unsupported_media_type",
            param="content-type",
        )
    fields: list[tuple[str, str]] = []
    files: dict[str, Media] = {}

    def on_field(field: Field) -> None:
        if len(fields) >= MAX_FIELDS:
            raise FormParserError(f"more than {MAX_FIELDS} fields")
        fields.append((_str(field.field_name), _str(field.value)))

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        data = file.file_object.read()
        files[_str(file.field_name)] = Media(
            kind=Modality.AUDIO,
            mime=given if MEDIA_TYPE.fullmatch(given := file.content_type or "") else UNKNOWN_TYPE,
            size_bytes=len(data),
            filename=_str(file.file_name),
            data=data,
        )
        file.close()

    try:
        parser = create_form_parser(
            {"Content-Type": incoming.content_type.encode("latin-1")},
            on_field,
            on_file,
            config={"MAX_MEMORY_FILE_SIZE": len(incoming.body) + 1},
        )
        parser.write(incoming.body)
        parser.finalize()
        parser.close()
    except (FormParserError, ValueError, io.UnsupportedOperation) as error:
        raise RequestError(
            f"The form is malformed: {error}; check its boundary and parts", code="invalid_value"
        ) from None
    return fields, files


def _str(raw: bytes | str | None) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""
