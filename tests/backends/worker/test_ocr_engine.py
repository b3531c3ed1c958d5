"""Reading drawn pictures and little films with the real recogniser."""

import re
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from pointsman.backends.worker.config import OcrConfig
from pointsman.backends.worker.film import Bounds, Glance, difference, telling, watch
from pointsman.backends.worker.ocr import OcrEngine, clock
from pointsman.backends.worker.pictures import measured, open_picture
from pointsman.backends.worker.reading import Box, laid_out, strips
from pointsman.backends.worker.server import Stop, Stopped
from pointsman.backends.worker.tts import TtsEngine
from pointsman.errors import RequestError
from pointsman.testing.samples import chat_body, data_uri, drawn, film, json_body, picture_file, result

pytestmark = pytest.mark.real

LIMIT = 4_000_000


def image(data: bytes, mime: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_uri(data, mime)}}


def video(data: bytes, mime: str = "video/mp4") -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": data_uri(data, mime)}}


def read(reader: OcrEngine, *parts: object) -> str:
    answer = msgspec.json.decode(result(reader.chat(chat_body(*parts))))
    content: str = answer["choices"][0]["message"]["content"]
    return content


def block(text: str) -> list[str]:
    """The lines of the first code block."""
    return text.split("```")[1].strip().splitlines()


TRAIN = drawn([(40, 40, "HELLO WORLD"), (40, 110, "Total 1234.50 USD"), (40, 180, "the quick brown fox")], (640, 260))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_picture_is_read(reader: OcrEngine, kind: str) -> None:
    text = read(reader, image(picture_file(TRAIN, kind), f"image/{kind.lower()}"))
    assert block(text) == ["HELLO WORLD", "Total 1234.50 USD", "the quick brown fox"]
    assert f"({kind}, 640×260 pixels)" in text


def test_it_says_how_it_was_made_and_answers_no_question(reader: OcrEngine) -> None:
    asked = read(reader, {"type": "text", "text": "Who painted this?"}, image(picture_file(TRAIN)))
    plain = read(reader, {"type": "text", "text": "Read this."}, image(picture_file(TRAIN)))
    assert asked.startswith("This was made by text recognition; no vision model looked at the picture")
    assert "cannot be answered" in asked
    assert "cannot be answered" not in plain


def test_columns_stay_columns(reader: OcrEngine) -> None:
    table = [("Item", "Qty", "Price"), ("Apple", "12", "3.50"), ("Green tea", "4", "11.25")]
    cells = [(x, 20 + 50 * row, cell) for row, line in enumerate(table) for x, cell in zip((30, 250, 420), line)]  # noqa: B905  # three of each
    lines = block(read(reader, image(picture_file(drawn(cells, (640, 200), 28)))))
    assert [tuple(re.split(r" {2,}", line)) for line in lines] == table
    assert len({line.index(row[1]) for line, row in zip(lines, table, strict=True)}) == 1


@pytest.mark.parametrize("points", [16, 24, 48])
def test_sizes_of_type(reader: OcrEngine, points: int) -> None:
    words = ["Line number 4 of a document", "Invoice 2024 due on Monday", "please read the manual"]
    page = drawn(
        [(30, 30 + 2 * points * row, text) for row, text in enumerate(words)], (points * 18, points * 9), points
    )
    assert [line.replace(" ", "") for line in block(read(reader, image(picture_file(page))))] == [
        text.replace(" ", "") for text in words
    ]


def test_a_dense_page_is_read_whole(reader: OcrEngine) -> None:
    rows = [f"Paragraph line {row} of a scanned page with words {row * 37}" for row in range(25)]
    page = drawn([(120, 90 + 42 * row, text) for row, text in enumerate(rows)], (1240, 1300), 26)
    lines = block(read(reader, image(picture_file(page))))
    assert sum(row in lines for row in rows) >= 23


def test_upside_down_and_light_on_dark_and_transparent(reader: OcrEngine) -> None:
    clear = Image.new("RGBA", (500, 120), (0, 0, 0, 0))
    clear.paste("white", (0, 0), drawn([(20, 30, "WHITE ON CLEAR")], (500, 120), 40, "black", "white").convert("L"))
    dark = drawn([(20, 30, "LIGHT ON DARK")], (500, 120), 40, "navy", "yellow")
    for picture, text in ((TRAIN.rotate(180), "HELLO WORLD"), (clear, "WHITE ON CLEAR"), (dark, "LIGHT ON DARK")):
        assert block(read(reader, image(picture_file(picture))))[0] == text


def test_a_tall_screenshot_is_read_in_strips(reader: OcrEngine) -> None:
    page = drawn([(30, 40 + 100 * row, f"Message number {row} in a chat") for row in range(1, 50)], (600, 5100))
    numbers = re.findall(r"number (\d+)", read(reader, image(picture_file(page))))
    assert numbers == [str(row) for row in range(1, 50)]


def test_no_text_is_said_and_measured(reader: OcrEngine) -> None:
    text = read(reader, image(picture_file(drawn([], (300, 200), paper="navy"))))
    assert "no text in Latin or Chinese script was found" in text
    assert "landscape, dark" in text
    assert "blue" in text
    assert "```" not in text


def test_several_in_one_message(reader: OcrEngine) -> None:
    one, two = (drawn([(20, 20, word)], (300, 90), 40) for word in ("FIRST", "SECOND"))
    text = read(reader, image(picture_file(one)), {"type": "text", "text": "both"}, image(picture_file(two)))
    assert text.index("Image 1") < text.index("FIRST") < text.index("Image 2") < text.index("SECOND")


def test_a_stream_says_the_same(reader: OcrEngine) -> None:
    answer = reader.chat(chat_body(image(picture_file(TRAIN)), stream=True))
    *chunks, done = answer.chunks(Stop())
    assert done == b"data: [DONE]\n\n"
    events = [msgspec.json.decode(chunk.removeprefix(b"data: ")) for chunk in chunks]
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert said == read(reader, image(picture_file(TRAIN)))
    assert "no vision model" in events[0]["x-made-by"]


@pytest.mark.parametrize(
    ("part", "member"),
    [
        (image(b"not a picture"), "image_url.url"),
        (image(picture_file(TRAIN)[:200]), "image_url.url"),
        (image(picture_file(Image.new("1", (2001, 2000)))), "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, "image_url.url"),
        (video(b"not a film" * 100), "video_url.url"),
        ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}, "input_audio.data"),
    ],
    ids=["no picture", "cut short", "a bomb", "a link", "no film", "sound"],
)
def test_what_is_refused(reader: OcrEngine, part: dict[str, Any], member: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(reader, {"type": "text", "text": "see"}, part)
    assert (caught.value.code, caught.value.param) == ("invalid_media", f"messages[1].content[1].{member}")


def test_a_bad_file_after_a_good_one_is_still_an_error(reader: OcrEngine) -> None:
    with pytest.raises(RequestError):
        read(reader, image(picture_file(TRAIN)), image(b"not a picture"))


def test_no_attachment(reader: OcrEngine) -> None:
    with pytest.raises(RequestError) as caught:
        reader.chat(json_body(messages=[{"role": "user", "content": "hello"}]))
    assert (caught.value.code, caught.value.param) == ("missing_field", "messages")


# ---------------------------------------------------------------- films

CAPTIONS = ["FIRST", "SECOND 42", "THE END", "FIRST"]


def test_captions_are_read_when_they_were_shown(reader: OcrEngine) -> None:
    text = read(reader, video(film(CAPTIONS)))
    assert "no vision model looked at the film" in text
    assert "640×360 pixels, 0:08.0, 25 frames/s" in text
    entries = [re.fullmatch(r"\[(.+?)–(.+?)\] (.+)", line) for line in block(text)]
    times = [(entry[1], entry[2], entry[3].replace(" ", "")) for entry in entries if entry]
    shown = zip(range(0, 8, 2), CAPTIONS, strict=True)
    assert times == [(clock(at), clock(at + 2), caption.replace(" ", "")) for at, caption in shown]
    assert "3 frames looked at" in text
    assert "no sound track" in text


def test_a_film_as_a_plain_file(reader: OcrEngine) -> None:
    part = {"type": "file", "file": {"file_data": data_uri(film(["HELLO"], 0.4), "").replace("data:;", "data:;")}}
    assert "HELLO" in read(reader, part)


def test_a_film_without_text(reader: OcrEngine) -> None:
    text = read(reader, video(film(["", ""], 0.4)))
    assert "No text in Latin or Chinese script was found in 1 frame looked at" in text
    assert "dark" in text


def test_a_film_too_long(reader: OcrEngine) -> None:
    with pytest.raises(RequestError, match=r"longer than 0\.5 minutes"):
        read(reader, video(film(["X"], 31, fps=2)))


def test_sound_that_nobody_transcribes_is_mentioned(reader: OcrEngine) -> None:
    text = read(reader, video(film(["HELLO"], 0.4, sound=np.zeros(8_000, np.int16))))
    assert "has a sound track, which was not transcribed" in text


def test_the_spoken_words_of_a_film(speaker: TtsEngine, fetched: Any) -> None:
    said = result(speaker.speech(json_body(input="Welcome to the railway museum.", response_format="wav")))
    listener = OcrEngine(OcrConfig(model_id="ocr", api_key="", speech=str(fetched("whisper-tiny-en-int8"))))
    spoken = read(listener, video(film(["MUSEUM"], sound=np.frombuffer(said[44:], np.int16))))
    assert "MUSEUM" in spoken
    assert "welcome to the railway museum" in spoken.lower()
    assert "hears everything as English" in spoken
    silent = read(listener, video(film(["MUSEUM"], 0.4, sound=np.zeros(8_000, np.int16))))
    assert "No speech was found" in silent


def test_watching_stops_when_asked() -> None:
    stop = Stop()
    stop.ask()
    bounds = Bounds(max_frames=4, max_pixels=LIMIT, max_s=60, threads=1)
    with pytest.raises(Stopped):
        watch(film(["A"], 0.4), "video", bounds, stop)


def glance(number: int, level: float) -> Glance:
    return Glance(number, float(number), np.full((90, 160), level, np.float32))


def test_every_scene_gets_a_frame_before_any_gets_two() -> None:
    levels = [0.0] * 10 + [0.5] * 2 + [1.0] * 10
    chosen = telling([glance(number, level) for number, level in enumerate(levels)], 3)
    assert sorted(float(one.looks[0, 0]) for one in chosen) == [0.0, 0.5, 1.0]


def test_a_still_film_gets_one_frame_and_a_moving_one_is_sampled_evenly() -> None:
    assert len(telling([glance(number, 0.3) for number in range(50)], 8)) == 1
    moving = telling([glance(number, number / 99) for number in range(100)], 5)
    gaps = np.diff([one.number for one in moving])
    assert gaps.max() <= 2 * gaps.min()


def test_one_digit_is_a_difference() -> None:
    def looks(text: str) -> Any:
        grey = drawn([(60, 150, text)], (640, 360), 48, "black", "white").convert("L").resize((160, 90))
        return np.asarray(grey, np.float32) / 255

    assert difference(looks("SLIDE 1"), looks("SLIDE 2")) > 0.03
    assert difference(looks("SLIDE 1"), looks("SLIDE 1")) == 0


# ---------------------------------------------------------------- without the recogniser


def box(text: str, left: float, top: float, height: float = 20) -> Box:
    return Box(text=text, left=left, top=top, right=left + 10 * len(text), bottom=top + height)


def test_layout() -> None:
    boxes = [box("World", 70, 12), box("Hello", 10, 10), box("Below", 10, 50), box("far", 210, 52), box("", 0, 0)]
    assert laid_out(boxes) == "Hello World\nBelow               far"
    assert laid_out([]) == ""


def test_strips_are_cut_between_lines() -> None:
    page = np.full((5000, 400, 3), 255, np.uint8)
    for top in range(0, 5000, 50):
        page[top : top + 30, ::3] = 0
    tops = [top for top, _ in strips(page)]
    assert len(tops) > 1
    assert sum(len(strip) for _, strip in strips(page)) == 5000
    assert all(top % 50 == 0 or top % 50 >= 30 for top in tops)
    assert [len(strip) for _, strip in strips(page[:1500])] == [1500]


def test_measurements() -> None:
    assert measured(np.full((10, 10, 3), 255, np.uint8)) == "square, bright (100%), mainly white 100%"
    half = np.zeros((20, 10, 3), np.uint8)
    half[:10] = (220, 30, 30)
    assert measured(half) == "portrait, dark (14%), mainly black 50%, red 50%"


def test_a_picture_is_upright_and_no_larger_than_can_be_read() -> None:
    tilted = Image.new("RGB", (3000, 1600), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    file = picture_file(tilted, "JPEG")
    assert open_picture(file, "p", 10_000_000).pixels.shape == (1067, 2000, 3)
    import io

    turned = io.BytesIO()
    tilted.save(turned, "JPEG", exif=exif)
    picture = open_picture(turned.getvalue(), "p", 10_000_000)
    assert (picture.width, picture.height) == (1600, 3000)


@pytest.mark.parametrize(("at_s", "said"), [(0, "0:00.0"), (59.96, "1:00.0"), (61.25, "1:01.2"), (600, "10:00.0")])
def test_clock(at_s: float, said: str) -> None:
    assert clock(at_s) == said
