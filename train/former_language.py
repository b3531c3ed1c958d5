"""The rules that told languages apart before they were learned: a control to measure against, nothing more.

Knows: script → language, the lexicons, how their log-odds become a probability. Does not know: what text counts
(`reading`), nor how the foreign identifier works (`identify`).

1 Letters of a script with one language settle it. 2 Devanagari, Bengali, Arabic and Cyrillic: marker words and letters,
with the identifier. 3 Latin letters: English against the nine romanised languages by lexicon, other languages by the
identifier, which knows none of the nine in Latin letters. 4 Two scripts in one text: the language of the words that
carry the grammar; English content words in an Indian sentence are no English.
A single ambiguous word gets a low probability and its alternatives; no letters at all is `und`.
"""

import math
from collections.abc import Sequence

from train.former_lexicon import Lexicon, Tally, load_lexicon

from pointsman.signals.evidence import ranked
from pointsman.signals.identify import Guess, Identifier, cld2
from pointsman.signals.language import Told
from pointsman.signals.scripts import LANGUAGE_OF, LATIN, script_of, scripts_of
from pointsman.types import Scored

NATIVE, ROMANISED, MIXED = "native", "latin", "mixed"
UNDETERMINED = Scored(label="und", p=0.0, evidence=("no letters to go by",))
ENGLISH = "en"
INDIAN = frozenset({"hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa"})

# Log-odds before any evidence, among texts in Latin letters, and among those of a shared script.
_PRIOR = {
    "en": 2.7,
    "hi": 0.6,
    "ta": 0.2,
    "te": 0.1,
    "bn": 0.1,
    "mr": 0.0,
    "gu": -0.1,
    "kn": 0.0,
    "ml": 0.0,
    "pa": -0.2,
}
_NATIVE_PRIOR = {
    "Deva": {"hi": 1.0, "mr": 0.4, "ne": -0.6, "sa": -1.6, "bho": -2.5, "mai": -2.5},
    "Beng": {"bn": 1.5, "as": -1.0},
    "Arab": {"ar": 0.5, "ur": 0.6, "fa": 0.3, "pa": -0.3, "ps": -2.0, "sd": -2.0},
    "Cyrl": {"ru": 1.0},
}
MIXED_SHARE = 0.15  # of the words in the rarer script, from which a text is called mixed
DIGITS_ALONE = 0.4
SURE = 0.97  # what the letters of a script with one language are worth, alone
# Latin-script languages the identifier is trusted on for short texts; its rarer ones (Manx, Quechua …) need a long one.
_WIDESPREAD = frozenset(
    "fr es pt de it nl sv da nb nn fi pl cs sk hu ro hr bs sl et lv lt tr az vi id ms tl sw af sq ca eu gl cy ga is so "
    "ha yo zu uz ht jv su eo la mt".split()
)
FEWEST_WORDS_RARE = 8
_NEVER_LATIN = INDIAN | {"und", "sa", "ne", "ur", "bho", "or", "as", "si", "om", "lg"}
LEAST_ROMANISED, STRANGE, MOST_STRANGE, USUAL_UNKNOWN = 1.5, 0.6, 4.0, 0.3
_LOANED, _GRAMMAR = 0.15, 1.0  # what an English word is worth beside native letters: content word, function word


class FormerRules:
    """Compiled once; `tell` is pure."""

    def __init__(self, lexicon: Lexicon | None = None, identifier: Identifier = cld2) -> None:
        self._lexicon = lexicon or load_lexicon()
        self._identify = identifier

    def __repr__(self) -> str:
        return f"FormerRules({self._lexicon.latin!r})"

    def tell(self, words: Sequence[str], text: str) -> Told:
        """`words`: of `text`, folded. Numbers, code and links are expected to be gone, but do no harm."""
        if text.isascii() and any(map(str.isalpha, words)):
            return self._latin([word for word in words if word[0].isalpha()], text)
        counts = scripts_of([word for word in words if not word[0].isdigit()])
        if not counts:
            return Told(_by_digits(words), NATIVE)
        words = [word for word in words if not word[0].isdigit()]
        if "Kana" in counts:  # Japanese mixes three scripts
            counts["Kana"] += counts.pop("Hani", 0.0)
        latin = counts.pop(LATIN, 0.0)
        if not counts:
            return self._latin(words, text)
        script = max(counts, key=lambda name: counts[name])
        own = [word for word in words if script_of(word[0]) == script] if latin else words
        native = self._native(script, own, " ".join(own) if latin else text)
        total = latin + sum(counts.values())
        written = MIXED if min(latin, counts[script]) >= MIXED_SHARE * total else NATIVE
        share = counts[script] / (total - latin)
        if latin == 0:
            return Told(_scaled(native, share), NATIVE)
        return self._beside_latin(Told(native, written), [word for word in words if word.isascii()], counts[script])

    # ------------------------------------------------------------ one script

    def _native(self, script: str, words: Sequence[str], text: str) -> Scored:
        language = LANGUAGE_OF.get(script, "und")
        if script not in _NATIVE_PRIOR:
            return Scored(label=language, p=SURE, evidence=(f"{script} letters",))
        scores = dict(_NATIVE_PRIOR[script])
        if script in self._lexicon.native:
            for name, score in self._lexicon.native[script].tally(words, text).items():
                scores[name] = scores.get(name, -1.0) + score
        guess = self._identify(text)
        if guess.language != "und" and script != "Beng":
            weight = (3.0 if guess.is_reliable else 1.2) * min(1.0, len(words) / 4)
            scores[guess.language] = scores.get(guess.language, 0.0) + weight
        return _softmax(scores, f"{script} letters, words and letter pairs")

    def _latin(self, words: Sequence[str], text: str) -> Told:
        tally = self._lexicon.latin.tally(words)
        scores = {name: score + _PRIOR[name] for name, score in tally.scores.items()}
        scores[ENGLISH] -= _strangeness(tally, len(words))
        why = f"{tally.english} English function words, {tally.romanised} romanised words of {len(words)}"
        if self._is_foreign_to_us(tally, len(words), text):
            guess = self._identify(text)
            if guess.language == ENGLISH or guess.language in _WIDESPREAD or _is_long(guess, len(words)):
                scores[guess.language] = scores.get(guess.language, 0.0) + _worth(guess, len(words), text)
                why += f"; letter pairs of {guess.language}"
        language = _softmax(scores, why)
        return Told(language, ROMANISED if language.label in INDIAN else NATIVE)

    def _is_foreign_to_us(self, tally: Tally, words: int, text: str) -> bool:
        """Whether neither English nor a romanised language accounts for these words."""
        if not text.isascii():
            return True
        known = tally.english + 2 * tally.romanised
        return known < 0.3 * words

    # ------------------------------------------------------------ two scripts

    def _beside_latin(self, told: Told, latin_words: Sequence[str], native: float) -> Told:
        """Native letters and Latin ones in one text: whose grammar is it?"""
        tally = self._lexicon.latin.tally(latin_words)
        label = told.language.label
        romanised = tally.romanised if label in INDIAN else 0
        loaned = len(latin_words) - tally.english - tally.romanised
        ours = native + romanised
        odds = {label: ours, ENGLISH: _GRAMMAR * tally.english + _LOANED * loaned + 0.05}
        why = f"{native:g} words in native letters, {tally.english} English function words"
        mix = ranked(odds, lambda _: (why,))
        if mix.label == ENGLISH:
            return Told(mix, MIXED if told.script == MIXED else NATIVE)
        return Told(_scaled(told.language, mix.p, mix.alternatives), told.script)


def _by_digits(words: Sequence[str]) -> Scored:
    """Where there is no letter, the digits may be of a script ("१७ × ६")."""
    counts = scripts_of(list(words))
    if not counts:
        return UNDETERMINED
    script = max(counts, key=lambda name: counts[name])
    return Scored(label=LANGUAGE_OF.get(script, "und"), p=DIGITS_ALONE, evidence=(f"{script} digits",))


def _strangeness(tally: Tally, words: int) -> float:
    """What unknown words take from English, where something romanised is about; English prompts have a quarter."""
    if max(score for name, score in tally.scores.items() if name != ENGLISH) < LEAST_ROMANISED:
        return 0.0
    return min(MOST_STRANGE, STRANGE * max(0.0, tally.unknown - USUAL_UNKNOWN * words))


def _is_long(guess: Guess, words: int) -> bool:
    """Whether a guess at a rare language deserves belief. Indian languages in Latin letters it does not know at all."""
    return guess.is_reliable and words >= FEWEST_WORDS_RARE and guess.language not in _NEVER_LATIN


def _worth(guess: Guess, words: int, text: str) -> float:
    """Log-odds of the identifier's guess: it is good on sentences, poor on a word or two."""
    if guess.language == ENGLISH:
        return 1.5 if guess.is_reliable else 0.5
    worth = (1.6 if guess.is_reliable else 0.5) * min(words, 6) * guess.share
    return worth + (1.5 if not text.isascii() else 0.0)


def _softmax(scores: dict[str, float], why: str) -> Scored:
    best = max(scores.values())
    return ranked({name: math.exp(score - best) for name, score in scores.items()}, lambda _: (why,))


def _scaled(scored: Scored, share: float, others: tuple[tuple[str, float], ...] = ()) -> Scored:
    """The same label where only `share` of the words speaks for it."""
    rest = tuple((name, round(p * share, 4)) for name, p in scored.alternatives if name not in dict(others))
    alternatives = sorted((*rest, *others), key=lambda item: -item[1])
    return Scored(
        label=scored.label,
        p=round(scored.p * share, 4),
        alternatives=tuple(item for item in alternatives if item[0] != scored.label)[:3],
        evidence=scored.evidence,
    )
