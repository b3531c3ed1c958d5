"""Attachments out of messages, and an answer back in OpenAI's shapes."""

import base64
from collections.abc import Iterator

import msgspec
import pytest

from pointsman.backends.worker.chat import ChatBody, Teller, attachments, question
from pointsman.backends.worker.server import Stop
from pointsman.backends.worker.wire import json_body
from pointsman.errors import RequestError
from pointsman.testing.samples import chat_body, data_uri
from pointsman.testing.samples import json_body as json
from pointsman.types import Modality

PNG = data_uri(b"png bytes", "image/png")


def ask(*parts: object, **members: object) -> ChatBody:
    return json_body(chat_body(*parts, **members), ChatBody)


@pytest.mark.parametrize(
    ("part", "kind", "data", "where"),
    [
        ({"type": "image_url", "image_url": {"url": PNG}}, Modality.IMAGE, b"png bytes", "image_url.url"),
        ({"type": "image_url", "image_url": PNG}, Modality.IMAGE, b"png bytes", "image_url"),
        (
            {"type": "video_url", "video_url": {"url": data_uri(b"v", "video/mp4")}},
            Modality.VIDEO,
            b"v",
            "video_url.url",
        ),
        (
            {"type": "audio_url", "audio_url": {"url": data_uri(b"a", "audio/wav")}},
            Modality.AUDIO,
            b"a",
            "audio_url.url",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"a").decode(), "format": "wav"}},
            Modality.AUDIO,
            b"a",
            "input_audio.data",
        ),
        (
            {"type": "input_video", "input_video": {"data": base64.b64encode(b"v").decode()}},
            Modality.VIDEO,
            b"v",
            "input_video.data",
        ),
        (
            {"type": "file", "file": {"file_data": data_uri(b"v", "video/webm"), "filename": "x"}},
            Modality.VIDEO,
            b"v",
            "file.file_data",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/gif,GIF%2089"}},
            Modality.IMAGE,
            b"GIF 89",
            "image_url.url",
        ),
    ],
)
def test_every_way_to_attach(part: dict[str, object], kind: Modality, data: bytes, where: str) -> None:
    (found,) = attachments(ask({"type": "text", "text": "see"}, part))
    assert (found.kind, found.data, found.param) == (kind, data, f"messages[1].content[1].{where}")


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@"}}, "image_url.url"),
        ({"type": "input_audio", "input_audio": {"data": ""}}, "input_audio.data"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file"),
    ],
)
def test_what_cannot_be_taken_names_its_member(part: dict[str, object], where: str) -> None:
    with pytest.raises(RequestError) as caught:
        attachments(ask(part))
    assert caught.value.code == "invalid_media"
    assert caught.value.param == f"messages[1].content[0].{where}"


def test_an_unknown_part_is_refused_not_ignored() -> None:
    with pytest.raises(RequestError, match="hologram"):
        attachments(ask({"type": "hologram"}))


def test_only_the_last_message_with_attachments_counts() -> None:
    def message(data: bytes) -> dict[str, object]:
        part = {"type": "image_url", "image_url": {"url": data_uri(data, "image/png")}}
        return {"role": "user", "content": [part]}

    later = {"role": "user", "content": "And what about it?"}
    body = json_body(json(messages=[message(b"old"), message(b"new"), later]), ChatBody)
    assert [found.data for found in attachments(body)] == [b"new"]
    assert question(body) == "And what about it?"


def test_too_many_attachments() -> None:
    part = {"type": "image_url", "image_url": {"url": PNG}}
    with pytest.raises(RequestError, match="17 attachments; send 16"):
        attachments(ask(*[part] * 17))


def pieces(_: Stop) -> Iterator[str]:
    yield "Hello"
    yield ", नमस्ते"


def test_a_whole_answer() -> None:
    answer = Teller("reader", "hand").answer(ask({"type": "text", "text": "x" * 9}), pieces)
    (raw,) = answer.chunks(Stop())
    said = msgspec.json.decode(raw)
    assert said["object"] == "chat.completion"
    assert (said["model"], said["x-made-by"]) == ("reader", "hand")
    assert said["choices"][0]["message"] == {"role": "assistant", "content": "Hello, नमस्ते"}
    assert said["choices"][0]["finish_reason"] == "stop"
    usage = said["usage"]
    assert usage["prompt_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_streamed_answer(wants_usage: bool) -> None:
    body = ask({"type": "text", "text": "x"}, stream=True, stream_options={"include_usage": wants_usage})
    answer = Teller("reader", "hand").answer(body, pieces)
    assert answer.is_stream
    *chunks, done = answer.chunks(Stop())
    assert done == b"data: [DONE]\n\n"
    events = [msgspec.json.decode(chunk.removeprefix(b"data: ")) for chunk in chunks]
    assert len({event["id"] for event in events}) == 1
    choices = [event["choices"][0] for event in events if event["choices"]]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello, नमस्ते"
    assert [choice["delta"].get("role") for choice in choices] == ["assistant", None, None]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert bool(events[-1].get("usage")) is wants_usage
