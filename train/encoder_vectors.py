"""The encoder's vectors of the corpus, for training and measuring: each text is encoded once and kept in a folder.

Knows: corpus rows as requests, how people's typing differs from ours (`noisy`). Does not know: labels, heads.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from train.check_corpus import Row, read

from pointsman.encoder.e5 import E5
from pointsman.encoder.recent import key_of
from pointsman.signals.opinion import Floats, words_for
from pointsman.types import JsonPayload, Kind, Media, Modality, Request, Turn

KEPT = "e5.npz"
MIMES = {
    "image": (Modality.IMAGE, "image/png"),
    "audio": (Modality.AUDIO, "audio/wav"),
    "video": (Modality.VIDEO, "video/mp4"),
    "document": (Modality.TEXT, "application/pdf"),
}
TYPOS = 0.05  # of the letters
PUNCTUATION = str.maketrans(dict.fromkeys("?!.,;:।—-'\"", " "))


class Sample(NamedTuple):
    """A row as the gateway would see it, and which of the corpus's rows it came from."""

    request: Request
    row: Row
    group: int


def rows_of(folder: Path, pattern: str = "*.jsonl") -> list[Row]:
    """All rows of the corpus, in the order of files and lines. Raises ValueError where a line cannot be read."""
    rows: list[Row] = []
    for path in sorted(folder.glob(pattern)):
        placed, _ = read(path)
        rows += [row for _, row in placed]
    return rows


def request_of(row: Row, text: str | None = None) -> Request:
    """A chat request that says the row's text, with its attachments."""
    media = tuple(Media(kind=MIMES[name][0], mime=MIMES[name][1]) for name in row.attachments)
    turn = Turn(role="user", text=row.text if text is None else text)
    return Request(id=row.id, kind=Kind.CHAT, model="auto", payload=JsonPayload(members=()), turns=(turn,), media=media)


def samples_of(rows: Sequence[Row], seed: int | None = None) -> list[Sample]:
    """One of each row; where there is a `seed`, a carelessly typed twin of each behind them."""
    plain = [Sample(request_of(row), row, number) for number, row in enumerate(rows)]
    if seed is None:
        return plain
    chance = random.Random(seed)
    return plain + [Sample(request_of(row, noisy(row.text, chance)), row, n) for n, row in enumerate(rows)]


def noisy(text: str, chance: random.Random) -> str:
    """The text without punctuation and with one letter in twenty dropped, doubled or swapped with the next."""
    letters = list(" ".join(text.translate(PUNCTUATION).split()))
    for at in range(len(letters) - 1):
        if letters[at].isalpha() and chance.random() < TYPOS:
            kind = chance.randrange(3)
            if kind == 0:
                letters[at] = ""
            elif kind == 1:
                letters[at] *= 2
            else:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters) or text


def vectors_of(samples: Sequence[Sample], cache: Path) -> Floats:
    """One row each, in their order; what the cache lacks is encoded and kept (30 ms a text on one core)."""
    cache.mkdir(parents=True, exist_ok=True)
    known = _kept(cache / KEPT)
    texts = [words_for(sample.request) for sample in samples]
    keys = [key_of(text).hex() for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing:
        encoder = E5()
        known |= {key: encoder.encode(text) for key, text in missing.items()}
        np.savez(cache / KEPT, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    found: NDArray[np.float32] = np.stack([known[key] for key in keys])
    return found


def _kept(path: Path) -> dict[str, Floats]:
    if not path.exists():
        return {}
    with np.load(path) as kept:
        return dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))
