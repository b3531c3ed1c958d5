"""Pixels → text in reading order, by RapidOCR (PP-OCRv4: Latin and Chinese script).

Knows: the recogniser, where boxes of text stand. Does not know: files, answers.
Positions are kept roughly: boxes on one line stay on one line, apart by as many spaces as their distance asks for, so
that the columns of a table stay columns.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from queue import SimpleQueue
from statistics import median
from typing import Any

import cv2
import numpy as np
from msgspec.structs import replace

from pointsman.backends.worker.pictures import MAX_SIDE, SHRINK_RATIO, Pixels
from pointsman.types import Value

UNCLIP = 2.2
"""How far boxes are widened. Measured on drawn text of 16–60 px and two A4 pages, with the shorter-side rule off, which
blows small pictures up: by default (1.6) two lines in three lose the spaces between words, with 2.2 one in twelve, in a
quarter of the time on small pictures. The library's own direction classifier turned one clean line in four of a dense
page upside down and is left out; instead a picture that reads badly is turned as a whole and read again."""
SURE = 0.75

SAME_LINE = 0.5
"""Boxes whose heights overlap by this part of the smaller one are on one line."""


class Box(Value, frozen=True):
    """One stretch of text and where it stands, in pixels; `score` is the recogniser's confidence, 0 to 1."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    @property
    def height(self) -> float:
        return self.bottom - self.top


class Reader:
    """As many recognisers as may read at a time, for one keeps notes between its steps; each holds about 60 MB."""

    def __init__(self, threads: int, slots: int) -> None:
        from rapidocr_onnxruntime import RapidOCR

        cv2.setNumThreads(threads)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(slots):
            recogniser = RapidOCR(
                intra_op_num_threads=threads,
                inter_op_num_threads=1,
                use_cls=False,
                rec_batch_num=1,  # lines padded to the longest of six take longer than one by one
                det_limit_type="max",
                det_unclip_ratio=UNCLIP,
            )
            self._idle.put(recogniser)

    def read(self, pixels: Pixels) -> str:
        """The text, lines apart by newlines; empty where there is none."""
        boxes: list[Box] = []
        for top, strip in strips(pixels):
            boxes += [replace(box, top=box.top + top, bottom=box.bottom + top) for box in self._boxes(strip)]
        return laid_out(boxes)

    def _boxes(self, pixels: Pixels) -> list[Box]:
        upright = self._found(pixels)
        if upright and _sureness(upright) >= SURE:
            return upright
        turned = self._found(pixels[::-1, ::-1])
        return max(upright, turned, key=_sureness)

    def _found(self, pixels: Pixels) -> list[Box]:
        recogniser = self._idle.get()
        try:
            found, _ = recogniser(np.ascontiguousarray(pixels[:, :, ::-1]))  # it wants BGR
        finally:
            self._idle.put(recogniser)
        return [_box(corners, text, float(score)) for corners, text, score in found or ()]


def _sureness(boxes: list[Box]) -> float:
    """Mean confidence by character."""
    characters = sum(len(box.text) for box in boxes)
    return sum(box.score * len(box.text) for box in boxes) / characters if characters else 0.0


def strips(pixels: Pixels) -> Iterator[tuple[int, Pixels]]:
    """A tall picture in strips, each with its top edge, cut along its plainest rows; any other as it is."""
    height, width = pixels.shape[:2]
    if height <= max(MAX_SIDE, SHRINK_RATIO * width):
        yield 0, pixels
        return
    top = 0
    size = max(MAX_SIDE, width)
    while height - top > size:
        band = pixels[top + size * 3 // 4 : top + size]
        cut = top + size * 3 // 4 + int(np.ptp(band.mean(axis=2), axis=1).argmin())
        yield top, pixels[top:cut]
        top = cut
    yield top, pixels[top:]


def _box(corners: list[list[float]], text: str, score: float) -> Box:
    across, down = zip(*corners, strict=True)
    return Box(text=text.strip(), left=min(across), top=min(down), right=max(across), bottom=max(down), score=score)


def laid_out(boxes: Iterable[Box]) -> str:
    """Boxes as lines of text, top to bottom, left to right."""
    lines: list[list[Box]] = []
    for box in sorted((box for box in boxes if box.text), key=lambda box: (box.top + box.bottom) / 2):
        if lines and any(_same_line(box, other) for other in lines[-1]):
            lines[-1].append(box)
        else:
            lines.append([box])
    if not lines:
        return ""
    everything = [box for line in lines for box in line]
    margin = min(box.left for box in everything)
    character = median((box.right - box.left) / len(box.text) for box in everything) or 1.0
    return "\n".join(_spaced(line, margin, character) for line in lines)


def _same_line(one: Box, other: Box) -> bool:
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    return overlap > SAME_LINE * min(one.height, other.height)


def _spaced(line: list[Box], margin: float, character: float) -> str:
    line.sort(key=lambda box: box.left)
    said = line[0].text
    for before, box in pairwise(line):
        column = round((box.left - margin) / character)
        is_apart = box.left - before.right > character
        said = said.ljust(column) if is_apart else said
        said += ("" if said.endswith("  ") else "  " if is_apart else " ") + box.text
    return said
