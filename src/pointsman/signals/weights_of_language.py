"""The learned language models, as they ship (`weights/language.npz`), one a shared script.

Knows: the file's layout, how the foreign identifier's voice is added. Does not know: what a text is.
Layout, for each script S: `S.labels`, `S.words`, `S.pieces`, `S.silent`, `S.voices` (UTF-8, one a line), `S.weights`
(int8, a row of zeros first), `S.steps`, `S.bias`, `S.sizes`, `S.power`, `S.sharpness`, `S.voiced` (a row a voice).
"""

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointsman.signals.identify import Guess
from pointsman.signals.ngrams import Scales, WordModel

FOLDER, FILE = "weights", "language.npz"
SHORT_WORDS = 3


class Judge(NamedTuple):
    """One script's model, and what each voice of the identifier is worth (log-odds, one a label)."""

    model: WordModel
    voices: Mapping[str, NDArray[np.float32]]
    other: int  # where the class of all other languages is; -1 where there is none
    english: int

    def heard(self, scores: NDArray[np.float32], guess: Guess, words: int) -> NDArray[np.float32]:
        """The scores with the identifier's voice added."""
        voice = self.voices.get(voice_of(guess, words))
        return scores if voice is None else scores + voice


def voice_of(guess: Guess, words: int) -> str:
    """What the identifier said, in what tone, on how much text."""
    return f"{guess.language} {'sure' if guess.is_reliable else 'unsure'} {'short' if words <= SHORT_WORDS else 'long'}"


def judge_of(model: WordModel, voices: Sequence[str], voiced: NDArray[np.float32]) -> Judge:
    places = {label: at for at, label in enumerate(model.labels)}
    return Judge(model, dict(zip(voices, voiced, strict=True)), places.get("xx", -1), places.get("en", -1))


def load_judges(path: Path | None = None) -> dict[str, Judge]:
    """Script → its judge, as shipped, or as stored elsewhere."""
    if path is None:
        with as_file(files(__package__).joinpath(FOLDER, FILE)) as shipped:
            return load_judges(shipped)
    with np.load(path) as stored:
        scripts = sorted({name.split(".", 1)[0] for name in stored.files})
        return {script: _judge(script, stored) for script in scripts}


def _judge(script: str, stored: Mapping[str, NDArray[np.generic]]) -> Judge:
    def lines(name: str) -> list[str]:
        text = stored[f"{script}.{name}"].tobytes().decode("utf-8")
        return text.split("\n") if text else []

    def numbers(name: str) -> NDArray[np.float32]:
        return stored[f"{script}.{name}"].astype(np.float32)

    scales = Scales(tuple(map(int, numbers("sizes"))), float(numbers("power")), tuple(numbers("sharpness").tolist()))
    weights = numbers("weights") * numbers("steps")
    model = WordModel(
        lines("labels"), lines("words"), lines("pieces"), weights, numbers("bias"), scales, lines("silent")
    )
    return judge_of(model, lines("voices"), numbers("voiced"))
