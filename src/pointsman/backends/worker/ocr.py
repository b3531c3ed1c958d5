"""The reading engine: `/chat/completions` with images or videos attached → what can be read, heard and measured.

Knows: how an answer is worded. Does not know: recognisers (`reading`, `hearing`), files (`pictures`, `film`, `media`).
It understands nothing it sees and says so: every answer begins with how it was made, and holds only what was read,
transcribed or measured. A question gets the same reading, and the answer says so.
"""

from collections.abc import Iterator, Mapping

import msgspec

from pointsman.backends.worker import media
from pointsman.backends.worker.chat import Attachment, ChatBody, Teller, attachments, question
from pointsman.backends.worker.config import OcrConfig, SttConfig
from pointsman.backends.worker.film import Bounds, Film, watch
from pointsman.backends.worker.hearing import Hearing, Wish
from pointsman.backends.worker.pictures import measured, open_picture
from pointsman.backends.worker.reading import Reader
from pointsman.backends.worker.server import Answer, Handler, Stop
from pointsman.backends.worker.wire import Body, invalid, json_body
from pointsman.errors import RequestError
from pointsman.types import Modality

MADE_BY = "RapidOCR and frame sampling; no vision model"
PREFACE = (
    "This was made by text recognition{films}; no vision model looked at {what}, so only text and measurements follow."
)
NO_ANSWER = " A question that asks for more cannot be answered here."
BREAK = "\n"
SCRIPTS = "Latin or Chinese script"


class OcrEngine:
    """RapidOCR, and a Whisper model where one is configured."""

    def __init__(self, config: OcrConfig) -> None:
        self.config = config
        self._reader = Reader(config.threads, config.slots)
        self._bounds = Bounds(
            max_frames=config.max_frames,
            max_pixels=config.max_pixels,
            max_s=config.max_video_s,
            threads=config.threads,
        )
        self._hearing = Hearing(_speech(config)) if config.speech else None

    def __repr__(self) -> str:
        return f"OcrEngine({'with' if self._hearing else 'without'} speech)"

    def routes(self) -> Mapping[str, Handler]:
        return {"/chat/completions": self.chat}

    def chat(self, body: Body) -> Answer:
        """Images and videos in the last user message → a reading, as the assistant's message."""
        ask = json_body(body, ChatBody)
        seen = attachments(ask)
        if not seen:
            raise RequestError(
                "messages: hold no image or video; attach one as an `image_url` or `video_url` part with a data: URI",
                code="missing_field",
                param="messages",
            )
        for attachment in seen:
            if attachment.kind is Modality.AUDIO:
                raise invalid(attachment.param, "is sound, which this model does not take; name `stt`", "invalid_media")
        made_by = f"{MADE_BY}; speech by faster-whisper" if self._hearing else MADE_BY
        return Teller(self.config.model_id, made_by).answer(ask, lambda stop: self._told(ask, seen, stop))

    def _told(self, ask: ChatBody, seen: tuple[Attachment, ...], stop: Stop) -> Iterator[str]:
        """The preface waits for the first reading, so that a bad file is an error and not half an answer."""
        parts = (self._part(attachment, number, stop) for number, attachment in enumerate(seen, 1))
        first = next(parts)
        yield preface(seen, has_question="?" in question(ask))
        for part in (first, *parts):
            stop.check()
            yield f"\n\n{part}"

    def _part(self, attachment: Attachment, number: int, stop: Stop) -> str:
        stop.check()
        if is_film(attachment):
            return self._watched(attachment, number, stop)
        picture = open_picture(attachment.data, attachment.param, self.config.max_pixels)
        text = self._reader.read(picture.pixels)
        still = f", first of {picture.frame_count} frames" if picture.frame_count > 1 else ""
        title = f"Image {number} ({picture.format}, {picture.width}×{picture.height} pixels{still})"
        facts = measured(picture.pixels)
        if not text:
            return f"{title}: no text in {SCRIPTS} was found. The picture is {facts}."
        return f"{title}, {facts}. Text, in reading order:\n{fenced(text)}"

    def _watched(self, attachment: Attachment, number: int, stop: Stop) -> str:
        film = watch(attachment.data, attachment.param, self._bounds, stop)
        rate = f", {film.fps:.3g} frames/s" if film.fps else ""
        title = f"Video {number} ({film.width}×{film.height} pixels, {clock(film.duration_s)}{rate})"
        texts: list[str] = []
        for pixels in film.stills:
            stop.check()
            texts.append(self._reader.read(pixels))
        return f"{title}. {scenes(film, texts)}\n{self._sound(attachment, film, stop)}"

    def _sound(self, attachment: Attachment, film: Film, stop: Stop) -> str:
        if not film.has_sound:
            return "It has no sound track."
        if self._hearing is None:
            return "It has a sound track, which was not transcribed: this model has no `speech` weights."
        pieces = media.pieces(attachment.data, attachment.param, self.config.max_video_s + 1)
        try:
            said = "".join(self._hearing.listen(pieces, Wish(), stop).text()).strip()
        except RequestError:  # the pictures were readable: half an answer is better than none
            return "Its sound could not be decoded."
        if not said:
            return "No speech was found in its sound."
        caveat = "" if self._hearing.is_multilingual else " (by a model that hears everything as English)"
        return f"Spoken words{caveat}: {said}"


def load(config: bytes) -> OcrEngine:
    return OcrEngine(msgspec.json.decode(config, type=OcrConfig))


def _speech(config: OcrConfig) -> SttConfig:
    return SttConfig(
        model_id=config.model_id,
        api_key=config.api_key,
        slots=config.slots,
        threads=config.threads,
        path=config.speech,
        label="speech",
    )


def is_film(attachment: Attachment) -> bool:
    """By what the part says, and for a `file` of no stated type by its first bytes."""
    if attachment.mime or attachment.kind is Modality.VIDEO:
        return attachment.kind is Modality.VIDEO
    head = attachment.data[:12]
    return head[4:8] == b"ftyp" or head.startswith((b"\x1a\x45\xdf\xa3", b"FLV", b"OggS")) or head[8:12] == b"AVI "


def preface(seen: tuple[Attachment, ...], *, has_question: bool) -> str:
    films = any(is_film(attachment) for attachment in seen)
    pictures = not all(is_film(attachment) for attachment in seen)
    what = "the pictures or the film" if films and pictures else "the film" if films else "the picture"
    said = PREFACE.format(films=" on sampled frames" if films else "", what=what)
    return said + (NO_ANSWER if has_question else "")


def scenes(film: Film, texts: list[str]) -> str:
    """What was to be read when; neighbours that read alike are one entry."""
    looked = f"{len(texts)} frame{'s' if len(texts) > 1 else ''} looked at"
    if not any(texts):
        return f"No text in {SCRIPTS} was found in {looked}. The first frame is {measured(film.stills[0])}."
    merged: list[tuple[float, float, str]] = []
    for shot in film.shots:
        text = texts[shot.still]
        begin_s = merged.pop()[0] if merged and merged[-1][2] == text else shot.begin_s
        merged.append((begin_s, shot.end_s, text))
    entries = [
        f"[{clock(begin)}–{clock(end)}] {text.replace(BREAK, ' / ') or '(no text)'}" for begin, end, text in merged
    ]
    return f"Text by time, {looked}:\n{fenced(BREAK.join(entries))}"


def clock(at_s: float) -> str:
    """Minutes, seconds and tenths: `0:03.8`."""
    tenths = round(at_s * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def fenced(text: str) -> str:
    """A code block, so that columns stay columns wherever the answer is shown."""
    fence = "```" if "```" not in text else "~~~~"
    return f"{fence}\n{text}\n{fence}"
