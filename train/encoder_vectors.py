"""The encoder's vectors of requests, for training and measuring: each text is encoded once and kept in a folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointsman.encoder.e5 import E5
from pointsman.encoder.recent import key_of
from pointsman.signals.opinion import Floats, words_for
from pointsman.types import Request

KEPT = "e5.npz"


def vectors_of(requests: Sequence[Request], cache: Path) -> Floats:
    """One row each, in their order; what the cache lacks is encoded and kept (30 ms a text on one core)."""
    cache.mkdir(parents=True, exist_ok=True)
    known = _kept(cache / KEPT)
    texts = [words_for(request) for request in requests]
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
