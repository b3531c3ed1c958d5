"""Small things to try workers with: forms, tones, drawn pictures, little films.

Knows: how to make them, with the libraries of the embedded engines. Does not know: engines.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import av
import msgspec
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pointsman.backends.worker.media import Pcm, wav_header
from pointsman.backends.worker.server import Answer, Stop
from pointsman.backends.worker.wire import Body

BOUNDARY = "pointsman-sample"


def json_body(**members: object) -> Body:
    return Body(content_type="application/json", data=msgspec.json.encode(members))


def form_body(
    fields: Sequence[tuple[str, str]] = (), file: bytes | None = None, name: str = "file", filename: str = "sample"
) -> Body:
    """A multipart form with one file, or none."""
    parts = [f'form-data; name="{key}"\r\n\r\n{value}'.encode() for key, value in fields]
    if file is not None:
        head = f'form-data; name="{name}"; filename="{filename}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        parts.append(head.encode() + file)
    edge = f"--{BOUNDARY}".encode()
    data = b"".join(edge + b"\r\nContent-Disposition: " + part + b"\r\n" for part in parts) + edge + b"--\r\n"
    return Body(content_type=f"multipart/form-data; boundary={BOUNDARY}", data=data)


def chat_body(*parts: object, **members: object) -> Body:
    """One user message of these parts after a system message."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": list(parts)}]
    return json_body(messages=messages, **members)


def result(answer: Answer) -> bytes:
    """All that an answer's work yields."""
    return b"".join(answer.chunks(Stop()))


def data_uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def wav(pcm: Pcm, rate_hz: int = 16_000) -> bytes:
    return wav_header(rate_hz, pcm.nbytes) + pcm.tobytes()


def tone(duration_s: float, hertz: float = 220.0, rate_hz: int = 16_000) -> Pcm:
    times = np.arange(int(duration_s * rate_hz)) / rate_hz
    return (np.sin(2 * np.pi * hertz * times) * 8000).astype(np.int16)


Line = tuple[int, int, str]
"""Where a line of text begins, x and y in pixels, and what it says."""


def drawn(
    lines: Sequence[Line],
    size: tuple[int, int],
    points: int = 32,
    paper: str = "white",
    ink: str = "black",
) -> Image.Image:
    picture = Image.new("RGB", size, paper)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(points)
    for x, y, text in lines:
        pen.text((x, y), text, fill=ink, font=font)
    return picture


def picture_file(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def film(captions: Sequence[str], each_s: float = 2.0, fps: int = 25, sound: Pcm | None = None) -> bytes:
    """An mp4 that shows one caption after the other; `sound` at 22.05 kHz, with each_s × captions or less."""
    file = io.BytesIO()
    size = (640, 360)
    with av.open(file, "w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio: Any = None
        if sound is not None:
            audio = container.add_stream("aac", rate=22_050)
            audio.codec_context.layout = "mono"
        for caption in captions:
            still = av.VideoFrame.from_image(drawn([(60, 150, caption)], size, 48, "black", "white"))
            for _ in range(int(each_s * fps)):
                still.pts = None
                container.mux(video.encode(still))
        container.mux(video.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = 22_050
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return file.getvalue()
