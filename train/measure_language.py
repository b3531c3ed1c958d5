"""`python -m train.measure_language --data DATA [--json]`: how well languages are told, beside dumb baselines.

Every learned figure comes from a model trained without the source it is measured on (`--cache` keeps those models);
share-alike rows and `train/heldout` are never trained on. Intervals are 95 % bootstrap. Controls: the script table
alone, pycld2 alone, the rules of the first version.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple
from zlib import crc32

import numpy as np
from train import language
from train.former_language import FormerRules
from train.language_rows import (
    LATIN,
    MIXED,
    NATIVE,
    ODD_PHRASES,
    TARGETS,
    Row,
    heldout,
    hinglish_top,
    is_odd_phrase,
    lid,
    phrases,
)

from pointsman.signals.identify import cld2
from pointsman.signals.language import LanguageTeller, Told
from pointsman.signals.lexis import folded, words_of
from pointsman.signals.reading import read
from pointsman.signals.scripts import COMMON, LANGUAGE_OF, by_script
from pointsman.signals.weights_of_language import load_judges
from pointsman.types import Scored, Turn

RESAMPLES, SEED = 1000, 11
MOST_ROWS = 1000  # of one language in one set
SURE_ENOUGH = 0.5  # a neighbour called a target below this probability does no harm
BINS = 10
Teller = Callable[[str], Told]


class Case(NamedTuple):
    """`without`: the sources whose absence makes the set unseen."""

    what: str
    name: str
    rows: list[Row]
    without: tuple[str, ...]
    right: Callable[[Row, Told], bool]


def is_named(row: Row, told: Told) -> bool:
    return told.language.label == row.language


def is_no_target(row: Row, told: Told) -> bool:
    """What is wanted of a language that is none of the ten."""
    del row
    return told.language.label not in TARGETS or told.language.p < SURE_ENOUGH


def is_script(row: Row, told: Told) -> bool:
    return told.script == row.script


def cases(data: Path) -> Iterator[Case]:
    """All sets, each with the sources it must not have been trained on."""
    voice, udhr = list(lid(data, "common_voice_cc0")), list(lid(data, "udhr2"))
    trees, words = list(lid(data, "universal_dependencies")), list(lid(data, "lingua_single_words"))
    comments, commands = list(lid(data, "dravidian_codemix")), list(hinglish_top(data))
    own, apart = [row for row in phrases() if is_odd_phrase(row)], list(heldout())
    sources = (("Common Voice", voice, "common_voice_cc0"), ("UDHR", udhr, "udhr2"), ("UD", trees, ""))
    for name, rows, source in sources:
        long = [row for row in rows if len(row.text.split()) >= 3]
        yield from _by_language("sentences", name, [row for row in long if row.language in TARGETS], source, is_named)
        strange = [row for row in long if row.language not in TARGETS]
        yield from _by_language("neighbours not called a target", name, strange, source, is_no_target)
        yield from _by_language("neighbours named", name, strange, source, is_named)
    for size, what in ((1, "single words"), (2, "pairs of words")):
        rows = [row for row in _joined(words, size) if row.language in TARGETS]
        yield from _by_language(what, "Lingua", rows, "lingua_single_words", is_named)
    pairs = _adjacent([row for row in (*voice, *udhr) if row.language in ("hi", "mr")])
    for row_source in ("common_voice_cc0", "udhr2"):
        mine = [row for row in pairs if row.source == row_source]
        yield from _by_language("pairs of words", row_source, mine, row_source, is_named)
    for what, label in (("romanised Hindi", "hi"), ("English twins", "en")):
        mine = [row for row in commands if row.language == label]
        yield Case(what, "Hinglish-TOP", mine, ("hinglish_top",), is_named)
    known = [row for row in comments if row.language in TARGETS]
    yield from _by_language("romanised comments", "DravidianCodeMix", known, "dravidian_codemix", is_named)
    yield from _by_language("other languages not called a target", "phrases", _strange(own), ODD_PHRASES, is_no_target)
    yield from _by_language("other languages named", "phrases", _strange(own), ODD_PHRASES, is_named, together=True)
    for script in (NATIVE, LATIN, MIXED):
        mine = [row for row in apart if row.script == script]
        yield from _by_language(f"requests, {script}", "held-out", mine, "", is_named)
    yield Case("script label", "held-out", apart, (), is_script)


def _strange(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.language not in TARGETS]


def _by_language(
    what: str, name: str, rows: Sequence[Row], source: str, right: Callable[[Row, Told], bool], together: bool = False
) -> Iterator[Case]:
    without = (source,) if source else ()
    rows = _thinned(rows)
    if rows:
        yield Case(what, f"{name}, all", list(rows), without, right)
    if together:
        return
    for label in sorted({row.language for row in rows}):
        yield Case(what, f"{name}, {label}", [row for row in rows if row.language == label], without, right)


def _thinned(rows: Sequence[Row]) -> list[Row]:
    """So many of each language, spread over the set."""
    found: list[Row] = []
    for label in sorted({row.language for row in rows}):
        own = [row for row in rows if row.language == label]
        found += own[:: max(1, len(own) // MOST_ROWS)][:MOST_ROWS]
    return found


def _joined(rows: Sequence[Row], size: int) -> list[Row]:
    """Words of one language put together by so many."""
    rng = np.random.default_rng(SEED)
    order = [rows[at] for at in rng.permutation(len(rows))]
    found = []
    for label in sorted({row.language for row in rows}):
        own = [row for row in order if row.language == label]
        groups = zip(*(own[start::size] for start in range(size)), strict=False)
        found += [group[0]._replace(text=" ".join(row.text for row in group)) for group in groups]
    return found


def _adjacent(rows: Sequence[Row]) -> list[Row]:
    """One pair of neighbouring words a sentence."""
    rng = np.random.default_rng(SEED)
    found = []
    for row in rows:
        words = words_of(folded(row.text))
        if len(words) >= 4:
            start = int(rng.integers(len(words) - 1))
            found.append(row._replace(text=" ".join(words[start : start + 2]), kind="pair"))
    return found


# ---------------------------------------------------------------- who is measured


def learned(teller: LanguageTeller) -> Teller:
    @cache
    def tell(text: str) -> Told:
        clean = read((Turn(role="user", text=text),)).ask
        return teller.tell(words_of(clean), clean)

    return tell


def former() -> Teller:
    rules = FormerRules()

    @cache
    def tell(text: str) -> Told:
        clean = read((Turn(role="user", text=text),)).ask
        return rules.tell(words_of(clean), clean)

    return tell


def by_letters(text: str) -> Told:
    """The script table alone; Latin letters are English."""
    counts = {script: size for script, (size, _) in by_script(words_of(folded(text))).items() if script != COMMON}
    script = max(counts, key=lambda name: counts[name]) if any(counts.values()) else ""
    label = "en" if script == "Latn" else LANGUAGE_OF.get(script, "und")
    return Told(Scored(label=label, p=1.0, evidence=("letters",)), MIXED if len(counts) > 1 else NATIVE)


def by_cld2(text: str) -> Told:
    guess = cld2(text)
    return Told(Scored(label=guess.language, p=1.0 if guess.is_reliable else 0.4, evidence=("cld2",)), NATIVE)


# ---------------------------------------------------------------- figures


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of a mean of zeros and ones: resampling those is drawing from a binomial."""
    mean, count = float(np.mean(values)), len(values)
    drawn = np.random.default_rng(SEED).binomial(count, mean, RESAMPLES) / count
    low, high = np.quantile(drawn, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)


def figure(case: Case, teller: Teller, controls: dict[str, Teller]) -> dict[str, object]:
    hits = [float(case.right(row, teller(row.text))) for row in case.rows]
    low, high = interval(hits)
    return {
        "what": case.what,
        "set": case.name,
        "n": len(hits),
        "value": round(float(np.mean(hits)), 4),
        "low": low,
        "high": high,
        "controls": {
            name: round(float(np.mean([case.right(row, tell(row.text)) for row in case.rows])), 4)
            for name, tell in controls.items()
        },
    }


def calibration(rows: Sequence[Row], teller: Teller) -> float:
    """Expected calibration error over ten equal bins of probability."""
    told = [(row, teller(row.text).language) for row in rows]
    p = np.asarray([one.p for _, one in told])
    right = np.asarray([float(row.language == one.label) for row, one in told])
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    chosen = [bins == one for one in set(bins.tolist())]
    return float(sum(abs(p[own].mean() - right[own].mean()) * own.mean() for own in chosen))


def speed(teller: LanguageTeller, texts: Sequence[str]) -> tuple[float, float]:
    """Microseconds a call (p50, p99), each text's best of five: nothing is remembered between calls."""
    asked = [(words_of(clean), clean) for clean in map(folded, texts)]
    taken = []
    for words, text in asked:
        taken.append(min(_nanoseconds(teller, words, text) for _ in range(5)) / 1000)
    return float(np.quantile(taken, 0.5)), float(np.quantile(taken, 0.99))


def _nanoseconds(teller: LanguageTeller, words: Sequence[str], text: str) -> int:
    start = time.perf_counter_ns()
    teller.tell(words, text)
    return time.perf_counter_ns() - start


class Bench:
    """Tellers by what they were trained without, made when first asked for."""

    def __init__(self, data: Path, cache: Path) -> None:
        self._data, self._cache = data, cache
        self._tellers: dict[tuple[str, ...], Teller] = {}

    def without(self, sources: tuple[str, ...]) -> Teller:
        if sources not in self._tellers:
            self._tellers[sources] = learned(LanguageTeller(load_judges(self._path(sources)) if sources else None))
        return self._tellers[sources]

    def _path(self, sources: tuple[str, ...]) -> Path:
        path = self._cache / f"language-{_method()}-without-{'-'.join(sources)}.npz"
        if not path.exists():
            language.write(language.train(self._data, frozenset(sources)), path)
        return path


def _method() -> str:
    """A mark of how models are made: one that was kept from before a change is not measured."""
    return f"{crc32(b''.join(path.read_bytes() for path in sorted(Path(__file__).parent.glob('language*.py')))):08x}"


def measured(data: Path, cache: Path, chosen: str = "") -> Iterator[dict[str, object]]:
    bench = Bench(data, cache)
    controls: dict[str, Teller] = {"script table": by_letters, "pycld2": by_cld2, "former rules": former()}
    pooled: list[tuple[Row, tuple[str, ...]]] = []
    for case in cases(data):
        if chosen in f"{case.what}: {case.name}":
            yield figure(case, bench.without(case.without), controls)
            if case.right is is_named and case.name.endswith(("all", "TOP")):
                pooled += [(row, case.without) for row in case.rows[:: max(1, len(case.rows) // 1000)]]
    for sources in sorted({sources for _, sources in pooled}):
        rows = [row for row, theirs in pooled if theirs == sources]
        error = calibration(rows, bench.without(sources))
        name = f"sets unseen without {', '.join(sources) or 'nothing'}"
        yield {"what": "calibration error", "set": name, "n": len(rows), "value": round(error, 4)} | _plain()
    texts = [row.text for row in heldout() if 60 <= len(row.text) <= 150]
    for name, value in zip(("p50", "p99"), speed(LanguageTeller(), texts), strict=True):
        yield {
            "what": f"{name} in µs",
            "set": "held-out, 60–150 characters",
            "n": len(texts),
            "value": value,
        } | _plain()


def _plain() -> dict[str, object]:
    return {"low": None, "high": None, "controls": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the public data")
    parser.add_argument("--cache", type=Path, default=Path(gettempdir()), help="where models without a source are kept")
    parser.add_argument("--only", default="", help="measure the sets whose name has this in it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = []
    for one in measured(options.data, options.cache, options.only):
        figures.append(one)
        if not options.json:
            beside = f"{one['low']} {one['high']} {one['controls']}"
            print(f"{one['what']:36} {one['set']:34} {one['n']:6} {one['value']:8.4f} {beside}", flush=True)
    if options.json:
        print(json.dumps(figures, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
