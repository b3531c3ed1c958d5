"""`python -m train.language --data DATA`: trains the language identifier and writes its weights.

One learned model a shared script (Latin, Devanagari, Bengali, Arabic): rows → samples of words (`samples_of`) → fit →
temperatures and the foreign identifier's worth, both found on a tenth of the rows kept apart → `language.npz`.
`--without` leaves sources out: what is measured on a source comes from a model that never saw it. Seeded.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from train.language_fit import Fitted, Recipe, fit, sharpened
from train.language_rows import all_rows
from train.language_samples import NAMES, Sample, samples_of

from pointsman.signals.identify import cld2
from pointsman.signals.language import LATIN_SCRIPT, SETTLED, WIDESPREAD
from pointsman.signals.ngrams import WordModel
from pointsman.signals.weights_of_language import FILE, FOLDER, Judge, judge_of, voice_of

SEED = 5
KEPT_APART = 10  # one row in so many
WEIGHTS = Path(__file__).parents[1] / "src" / "pointsman" / "signals" / FOLDER / FILE
RECIPES = {
    LATIN_SCRIPT: Recipe((2, 3, 4, 5), 3, 6, 24000, 45000, 60000),
    "Deva": Recipe((1, 2, 3, 4), 2, 4, 9000, 18000, 30000, ridge=5e-6),
    "Beng": Recipe((1, 2, 3), 3, 5, 3000, 4000, 12000, ridge=3e-6),
    "Arab": Recipe((1, 2, 3), 3, 5, 3000, 4000, 12000, ridge=3e-6),
}
# How often a language is met among texts of a script: a caller writes Hindi more often than Konkani.
SHARES: Mapping[str, Mapping[str, float]] = {
    LATIN_SCRIPT: {"en": 0.32, "hi": 0.2, "ta": 0.07, "te": 0.06, "bn": 0.05, "mr": 0.05, "gu": 0.05, "kn": 0.05,
                   "ml": 0.05, "pa": 0.04, "xx": 0.1, "ne": 0.02, "as": 0.01, "or": 0.01},
    "Deva": {"hi": 0.4, "mr": 0.34, "ne": 0.09, "sa": 0.06, "bho": 0.05, "mai": 0.04, "kok": 0.04},
    "Beng": {"bn": 0.8, "as": 0.2},
    "Arab": {"ur": 0.4, "fa": 0.2, "ar": 0.2, "pa": 0.06, "ps": 0.05, "sd": 0.05},
}  # fmt: skip
ENGLISH_MORE = 0.4  # log-odds: English leads by more than its share of the samples
# Log-odds added at the end: an unfamiliar English word is commoner than an unfamiliar language, words that Hindi shares
# with Nepali or Sanskrit are mostly written in Hindi.
PRIORS: Mapping[str, Mapping[str, float]] = {
    LATIN_SCRIPT: {"en": 0.8, "xx": -0.4, "gu": 0.15},
    "Deva": {"hi": 0.6, "ne": -0.7, "sa": -0.4},
    "Beng": {"as": -1.5},  # Assamese writes an r of its own in nearly every sentence
}
UNHEARD = frozenset({"la"})  # Latin is quoted, not written
VOICE_RIDGE = 2.0
BELIEVED = {"sure": 2.5, "unsure": 1.0}  # log-odds


class Trained(NamedTuple):
    """One script's model and what the identifier's voices are worth."""

    fitted: Fitted
    voices: list[str]
    voiced: NDArray[np.float32]

    def judge(self) -> Judge:
        return judge_of(self.fitted.model(), self.voices, self.voiced)


def train(data: Path, without: frozenset[str] = frozenset()) -> dict[str, Trained]:
    """Script → its model, from all sources but those named."""
    rows = all_rows(data, without)
    fitting = [row for row in rows if crc32(row.text.encode()) % KEPT_APART]
    apart = [row for row in rows if not crc32(row.text.encode()) % KEPT_APART]
    samples = samples_of(fitting, np.random.default_rng(SEED))
    held = samples_of(apart, np.random.default_rng(SEED + 1))
    return {script: _trained(script, samples[script], held[script]) for script in RECIPES}


def _trained(script: str, samples: Sequence[Sample], held: Sequence[Sample]) -> Trained:
    samples = [sample for sample in samples if sample.label in SHARES[script]]
    weights = _weighed(samples, SHARES[script])
    fitted = fit([s.words for s in samples], [s.label for s in samples], weights, RECIPES[script])
    if "en" in fitted.labels:
        fitted.bias[fitted.labels.index("en")] += ENGLISH_MORE
    fitted = fitted._replace(silent=NAMES if script == LATIN_SCRIPT else ())
    held = [sample for sample in held if sample.label in fitted.labels]
    fitted = sharpened(fitted, [s.words for s in held], [s.label for s in held], _weighed(held, SHARES[script]))
    voices, voiced = _voices(fitted.model(), held, SHARES[script])
    for label, shift in PRIORS.get(script, {}).items():
        if label in fitted.labels:
            fitted.bias[fitted.labels.index(label)] += shift
    return Trained(fitted, voices, voiced)


def _weighed(samples: Sequence[Sample], shares: Mapping[str, float]) -> list[float]:
    """The samples' weights, so that each label has its share."""
    total: dict[str, float] = {}
    for sample in samples:
        total[sample.label] = total.get(sample.label, 0.0) + sample.weight
    return [sample.weight * shares[sample.label] / total[sample.label] for sample in samples]


def _voices(
    model: WordModel, held: Sequence[Sample], shares: Mapping[str, float]
) -> tuple[list[str], NDArray[np.float32]]:
    """What each of the identifier's answers adds to the log-odds, where the model alone is unsure."""
    weights = np.asarray(_weighed(held, shares))
    rows = [
        (voice_of(cld2(sample.text), len(sample.words)), scores, model.labels.index(sample.label), weight)
        for sample, weight, scores in zip(held, weights, _scores(model, held), strict=True)
        if sample.text and _p(scores).max() < SETTLED
    ]
    voices = sorted({voice for voice, *_ in rows})
    at = np.asarray([voices.index(voice) for voice, *_ in rows])
    offsets = np.stack([scores for _, scores, _, _ in rows])
    right = np.asarray([label for _, _, label, _ in rows])
    share = np.asarray([weight for *_, weight in rows])
    share = share / share.mean()
    shape = (len(voices), len(model.labels))
    believed = np.stack([_believed(voice, model.labels) for voice in voices])

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        worth = flat.reshape(shape)
        p = _p(offsets + worth[at])
        error = p * share[:, None]
        error[np.arange(len(right)), right] -= share
        slope = VOICE_RIDGE * 2 * (worth - believed)
        np.add.at(slope, at, error)
        likelihood = float((share * np.log(p[np.arange(len(right)), right] + 1e-12)).sum())
        return VOICE_RIDGE * float(((worth - believed) ** 2).sum()) - likelihood, slope.ravel()

    found = minimize(loss, believed.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    heard = [row for row, voice in enumerate(voices) if voice.split()[0] not in UNHEARD]
    return [voices[row] for row in heard], found.x.reshape(shape)[heard].astype(np.float32)


def _believed(voice: str, labels: Sequence[str]) -> NDArray[np.float64]:
    """What a voice is worth before any row is seen: in a script of its own the identifier is to be believed, the more
    the surer it is; in Latin letters it is, unless it means one of the languages it only knows in native ones."""
    said, tone, size = voice.split()
    worth = BELIEVED[tone] * (1.0 if size == "long" else 0.4)
    label = said if said in labels else "xx" if "xx" in labels and said in WIDESPREAD else ""
    return np.asarray([worth * (name == label) for name in labels])


def _scores(model: WordModel, samples: Sequence[Sample]) -> Iterator[NDArray[np.float32]]:
    return (model.weigh(sample.words).scores for sample in samples)


def _p(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    odds = np.exp(scores - scores.max(axis=-1, keepdims=True)).astype(np.float64)
    return odds / odds.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]  # numpy types the quotient as Any


def write(trained: Mapping[str, Trained], path: Path) -> None:
    """Everything in one compressed file."""

    def lines(items: Sequence[str]) -> NDArray[np.uint8]:
        return np.frombuffer("\n".join(items).encode("utf-8"), np.uint8)

    stored: dict[str, NDArray[np.generic]] = {}
    for script, (fitted, voices, voiced) in trained.items():
        parts: dict[str, NDArray[np.generic]] = {
            "labels": lines(fitted.labels),
            "words": lines(fitted.words),
            "pieces": lines(fitted.pieces),
            "silent": lines(fitted.silent),
            "weights": fitted.weights,
            "steps": fitted.steps,
            "bias": fitted.bias,
            "sizes": np.asarray(fitted.scales.sizes, np.int8),
            "power": np.asarray(fitted.scales.power, np.float32),
            "sharpness": np.asarray(fitted.scales.sharpness, np.float32),
            "voices": lines(voices),
            "voiced": voiced.astype(np.float16),
        }
        stored |= {f"{script}.{name}": part for name, part in parts.items()}
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **stored)  # type: ignore[arg-type]  # numpy's stub reads names as its own flags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the public data")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--without", default="", help="sources to leave out, separated by commas")
    options = parser.parse_args()
    trained = train(options.data, frozenset(filter(None, options.without.split(","))))
    write(trained, options.out)
    for script, one in trained.items():
        print(f"{script}: {one.fitted.model()!r}, sharpness {[round(x, 2) for x in one.fitted.scales.sharpness]}")
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
