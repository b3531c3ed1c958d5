"""Image files → pixels, and what can be measured of them without understanding them.

Knows: image formats, size limits, colours. Does not know: text, video.
Invariants: the size is checked before a pixel is decoded; pixels are RGB, upright, without transparency.
"""

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from pointsman.backends.worker.wire import invalid
from pointsman.types import Value

Pixels = npt.NDArray[np.uint8]
"""Height × width × 3, RGB."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
NAMED_COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (220, 30, 30),
    "orange": (255, 150, 30),
    "yellow": (250, 230, 50),
    "green": (40, 160, 60),
    "cyan": (60, 200, 220),
    "blue": (40, 80, 210),
    "purple": (130, 60, 170),
    "pink": (250, 150, 190),
    "brown": (120, 75, 40),
}
SWATCH = 48
MAX_SIDE = 2000
"""The recogniser shrinks what is larger anyhow; done here, it costs less memory."""
SHRINK_RATIO = 2


class Picture(Value, frozen=True):
    """An opened image: its own size, and its pixels, shrunk where they are more than can be read.

    `frame_count` is more than 1 for an animation, of which `pixels` is the first frame.
    """

    format: str
    width: int
    height: int
    pixels: Pixels
    frame_count: int = 1

    def __repr__(self) -> str:
        return f"Picture({self.format}, {self.width}×{self.height})"


def open_picture(data: bytes, param: str, max_pixels: int) -> Picture:
    """The image in these bytes. Raises RequestError `invalid_media`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise invalid(
                param, f"has {image.width}×{image.height} pixels; {max_pixels:,} are allowed", "invalid_media"
            )
        frame_count = int(getattr(image, "n_frames", 1))
        kind = image.format or "image"
        upright = ImageOps.exif_transpose(image)
        width, height = upright.size
        if max(width, height) < SHRINK_RATIO * min(width, height):  # a tall screenshot is read in strips, at full size
            upright.thumbnail((MAX_SIDE, MAX_SIDE))
        pixels = np.asarray(flat(upright))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise invalid(param, f"has too many pixels; {max_pixels:,} are allowed", "invalid_media") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError):
        raise invalid(param, f"is not a readable image; send {', '.join(FORMATS)}", "invalid_media") from None
    return Picture(format=kind, width=width, height=height, pixels=pixels, frame_count=frame_count)


def flat(image: Image.Image) -> Image.Image:
    """RGB. What was transparent becomes white, or black where the drawing itself is light."""
    if image.mode in {"RGB", "L", "1", "CMYK", "I;16", "F", "I"} and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    levels = np.asarray(rgba).astype(np.float32)
    weight = levels[..., 3].sum()
    is_light = weight > 0 and (levels[..., :3].mean(axis=2) * levels[..., 3]).sum() / weight > 170
    behind = Image.new("RGBA", rgba.size, "black" if is_light and levels[..., 3].min() < 255 else "white")
    return Image.alpha_composite(behind, rgba).convert("RGB")


def measured(pixels: Pixels) -> str:
    """Orientation, brightness and main colours, in words: what can be said of a picture without text."""
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // SWATCH)
    sample = pixels[::step, ::step].reshape(-1, 3).astype(np.float32)
    shape = "square" if height == width else "landscape" if width > height else "portrait"
    luminance = float((sample @ np.array([0.2126, 0.7152, 0.0722], np.float32)).mean() / 255)
    light = "dark" if luminance < 0.3 else "bright" if luminance > 0.7 else "of medium brightness"
    return f"{shape}, {light} ({luminance:.0%}), mainly {', '.join(main_colours(sample))}"


def main_colours(sample: npt.NDArray[np.float32]) -> tuple[str, ...]:
    """The commonest named colours, at most three, each with its share where it is 5 % or more."""
    names = tuple(NAMED_COLOURS)
    table = np.array(tuple(NAMED_COLOURS.values()), np.float32)
    nearest = np.square(sample[:, None, :] - table[None, :, :]).sum(axis=2).argmin(axis=1)
    shares = np.bincount(nearest, minlength=len(names)) / len(sample)
    best = sorted(range(len(names)), key=lambda index: -shares[index])[:3]
    return tuple(f"{names[index]} {shares[index]:.0%}" for index in best if shares[index] >= 0.05)
