"""In which language a text is, and in which letters.

Knows: script → language, the learned models of shared scripts, how two scripts in one text are weighed. Does not
know: what text counts (`reading`), how a score is learned (`train/language.py`), how the foreign identifier works.

1 Letters of a script with one language settle it. 2 Devanagari, Bengali and Arabic letters: a learned model of words
and their pieces. 3 Latin letters: a learned model of English, the romanised Indian languages and everything else.
4 Where a model is unsure, the foreign identifier is asked as one voice, whose worth was learned too; it also names the
languages that are none of ours. 5 Two scripts in one text: the language of the words that carry the grammar; native
words speak in the Latin model as a mark, so English content words in an Indian sentence are no English.
A single ambiguous word gets a low probability and its alternatives. 6 A label less sure than `abstain_below` is none:
`und`, and so is a text without letters.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointsman.signals.evidence import or_abstain, shown
from pointsman.signals.identify import Guess, Identifier, cld2
from pointsman.signals.ngrams import Weighed
from pointsman.signals.scripts import COMMON, LANGUAGE_OF, LATIN, by_script
from pointsman.signals.weights_of_language import Judge, load_judges
from pointsman.types import Scored

LATIN_SCRIPT = LATIN
NATIVE, ROMANISED, MIXED = "native", "latin", "mixed"
UNDETERMINED = Scored(label="und", p=0.0, evidence=("no letters to go by",))
ENGLISH, OTHER = "en", "xx"  # `xx`: the learned class of all other languages in Latin letters; never told
INDIAN = frozenset({"hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa"})

MIXED_SHARE = 0.15  # of the words in the rarer script, from which a text is called mixed
DIGITS_ALONE = 0.4
SURE = 0.99  # what the letters of a script with one language are worth, alone
SETTLED = 0.97  # from this probability on nobody else is asked
LEAST_NAMED, MOST_NAMED = 0.01, 3  # alternatives
NATIVE_MARK, ACCENT_MARK, SCHOLAR_MARK = "\x01native", "\x01accent", "\x01scholar"
ASSAMESE = frozenset("ৰৱ")
_SCHOLARLY = frozenset("āīūēōṛṝḷṭḍṇṅśṣṁṃḥḻṟṉḵ")  # letters of scholars' romanisation
_DRAWN_OUT = re.compile(r"(.)\1\1(?<=[^\W\d_])\1*")
# Latin-script languages the identifier is trusted on for short texts; its rarer ones (Manx, Quechua …) need a long one.
WIDESPREAD = frozenset(
    "fr es pt de it nl sv da nb nn fi pl cs sk hu ro hr bs sl et lv lt tr az vi id ms tl sw af sq ca eu gl cy ga is so "
    "ha yo zu uz ht jv su eo la mt".split()
)
FEWEST_WORDS_RARE, SHORT_WORDS = 8, 3
_NOT_LATIN = INDIAN | {"und", "en", "sa", "ne", "ur", "bho", "or", "as", "si", "mr", "sd", "ks", "dv", "bo"}


GREETINGS = frozenset("hi hey hello hii hiii helo hiya yo ok okay thanks thx bye".split())  # said in every language
MOST_GREETING = 2
GREETING = Scored(label="en", p=0.6, alternatives=(("und", 0.4),), evidence=("an English greeting, known to all",))
ABSTAIN_BELOW = 0.4  # as `routing.abstain_below` unless told otherwise
TARGETS = "en hi ta te bn mr gu kn ml pa".split()


class Told(NamedTuple):
    """The language, and how it is written: `native`, `latin` (romanised) or `mixed`."""

    language: Scored
    script: str


class LanguageTeller:
    """Built once; `tell` is pure."""

    def __init__(
        self,
        judges: dict[str, Judge] | None = None,
        identifier: Identifier = cld2,
        abstain_below: float = ABSTAIN_BELOW,
    ) -> None:
        self._judges = judges or load_judges()
        self._latin_judge = self._judges[LATIN]
        self._identify = identifier
        self._abstain_below = abstain_below

    def __repr__(self) -> str:
        return f"LanguageTeller({', '.join(f'{script}: {judge.model!r}' for script, judge in self._judges.items())})"

    def tell(self, words: Sequence[str], text: str) -> Told:
        """`words`: of `text`, folded. Numbers, code and links are expected to be gone, but do no harm."""
        told = self._guess(words, text)
        if told.language.p >= self._abstain_below or told.language.label == UNDETERMINED.label:
            return told
        language = or_abstain(told.language, self._abstain_below, UNDETERMINED.label)
        return Told(language, NATIVE if told.script == ROMANISED else told.script)

    def _guess(self, words: Sequence[str], text: str) -> Told:
        if text.isascii():
            own = words if min(words, default="") >= "a" else [word for word in words if word[0].isalpha()]
            return self._latin(own, text) if own else Told(UNDETERMINED, NATIVE)
        found = by_script(words)
        found.pop(COMMON, None)
        counted = {script: size for script, size in ((name, sizes[0]) for name, sizes in found.items()) if size}
        if not counted:
            return Told(_by_digits(found), NATIVE)
        if "Kana" in counted and "Hani" in counted:  # Japanese mixes three scripts
            counted["Kana"] += counted.pop("Hani")
        latin = counted.pop(LATIN, 0.0)
        if not counted:
            return self._latin(found[LATIN][1], text)
        script = max(counted, key=lambda name: counted[name])
        own = found[script][1]
        native = self._native(script, own, " ".join(own) if latin or len(counted) > 1 else text)
        if latin:
            return self._two_scripts(native, len(own), found[LATIN][1], counted[script], sum(counted.values()))
        return Told(_scaled(native, counted[script] / sum(counted.values())), NATIVE)

    # ------------------------------------------------------------ one script

    def _native(self, script: str, words: list[str], text: str) -> Scored:
        if script == "Beng" and not ASSAMESE.isdisjoint(text):
            return Scored(label="as", p=SURE, evidence=("letters only Assamese has",))
        judge = self._judges.get(script)
        if judge is None:
            return self._foreign(script, text)
        weighed = judge.model.weigh(words)
        p = _probabilities(weighed.scores)
        why = ""
        if max(p) < SETTLED:
            guess = self._identify(text)
            p = _probabilities(judge.heard(weighed.scores, guess, len(words)))
            why = f"; letter pairs of {guess.language}"
        return _ranked(judge, weighed, p, f"{script} letters", why)

    def _foreign(self, script: str, text: str) -> Scored:
        """A script none of ours is written in; Cyrillic has many languages, the others mostly one."""
        language = LANGUAGE_OF.get(script, "und")
        if script == "Cyrl":
            guess = self._identify(text)
            if guess.language not in ("und", language):
                p = 0.9 if guess.is_reliable else 0.6
                return Scored(label=guess.language, p=p, evidence=(f"{script} letters and their pairs",))
            return Scored(label=language, p=0.9 if guess.is_reliable else 0.5, evidence=(f"{script} letters",))
        return Scored(label=language, p=SURE, evidence=(f"{script} letters",))

    def _latin(self, words: Sequence[str], text: str) -> Told:
        if len(words) <= MOST_GREETING and GREETINGS.issuperset(words):
            return Told(GREETING, NATIVE)
        plain = latin_words(words, text)
        judge = self._latin_judge
        weighed = judge.model.weigh(plain)
        p = _probabilities(weighed.scores)
        name, why = "und", ""
        if (best := max(p)) < SETTLED or p.index(best) == judge.other:
            guess = self._identify(text)
            p = _probabilities(judge.heard(weighed.scores, guess, len(words)))
            name = _named(guess, len(words))
            why = f"; letter pairs of {guess.language}"
        language = _ranked(judge, weighed, p, f"{len(words)} words", why, name)
        return Told(language, ROMANISED if language.label in INDIAN else NATIVE)

    # ------------------------------------------------------------ two scripts

    def _two_scripts(self, native: Scored, own: int, latin: list[str], size: float, total: float) -> Told:
        """Native letters and Latin ones in one text: whose grammar is it?"""
        judge = self._latin_judge
        weighed = judge.model.weigh([NATIVE_MARK] * own + latin_words(latin, ""))
        english = _probabilities(weighed.scores)[judge.english]
        written = MIXED if min(len(latin), size) >= MIXED_SHARE * (len(latin) + total) else NATIVE
        why = f"{own} words in native letters, {len(latin)} in Latin ones"
        if english > 0.5:
            rest = ((native.label, round(1 - english, 4)),)
            return Told(Scored(label=ENGLISH, p=round(english, 4), alternatives=rest, evidence=(why,)), written)
        others = ((ENGLISH, round(english, 4)),) if english >= LEAST_NAMED else ()
        return Told(_scaled(native, (1 - english) * size / total, others, why), written)


def latin_words(words: Sequence[str], text: str) -> list[str]:
    """Words as the Latin model knows them: accents off (and marked), drawn-out letters shortened."""
    plain = list(words)
    marks = "" if text and text.isascii() else "".join(word for word in plain if not word.isascii())
    if marks:
        plain = [word if word.isascii() else _unaccented(word) for word in plain]
        plain.append(SCHOLAR_MARK if not _SCHOLARLY.isdisjoint(marks) else ACCENT_MARK)
    if _DRAWN_OUT.search(text or " ".join(plain)):
        plain = [_DRAWN_OUT.sub(r"\1\1", word) for word in plain]
    return plain


def _unaccented(word: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", word) if not unicodedata.combining(char)) or word


def _named(guess: Guess, words: int) -> str:
    """What a language that is none of ours is called; of Indian ones in Latin letters the identifier knows nothing."""
    trusted = guess.language in WIDESPREAD or (guess.is_reliable and words >= FEWEST_WORDS_RARE)
    return guess.language if trusted and guess.language not in _NOT_LATIN else "und"


def _by_digits(found: dict[str, tuple[float, list[str]]]) -> Scored:
    """Where there is no letter, the digits may be of a script ("१७ × ६")."""
    script = next(iter(found), "")
    if not script:
        return UNDETERMINED
    return Scored(label=LANGUAGE_OF.get(script, "und"), p=DIGITS_ALONE, evidence=(f"{script} digits",))


def _probabilities(scores: NDArray[np.float32]) -> list[float]:
    odds = np.exp(scores - scores.max())
    return (odds / odds.sum()).tolist()  # type: ignore[no-any-return]  # numpy types the quotient as Any


def _ranked(judge: Judge, weighed: Weighed, p: list[float], what: str, why: str, other: str = "und") -> Scored:
    """Best label first, with the word that spoke loudest for it."""
    order = sorted(range(len(p)), key=p.__getitem__, reverse=True)
    best = order[0]
    loudest = weighed.loudest(best)
    names = judge.model.labels
    label = other if best == judge.other else names[best]
    alternatives = tuple(
        (other if at == judge.other else names[at], round(p[at], 4))
        for at in order[1 : 1 + MOST_NAMED]
        if p[at] >= LEAST_NAMED
    )
    said = f"{what}, most of all “{shown(loudest)}”{why}" if loudest else f"{what}{why}"
    return Scored(label=label, p=round(p[best], 4), alternatives=alternatives, evidence=(said,))


def _scaled(scored: Scored, share: float, others: tuple[tuple[str, float], ...] = (), why: str = "") -> Scored:
    """The same label where only `share` of the evidence speaks for it."""
    if share >= 1.0 and not why:
        return scored
    rest = tuple((name, round(p * share, 4)) for name, p in scored.alternatives)
    return Scored(
        label=scored.label,
        p=round(scored.p * share, 4),
        alternatives=tuple(sorted((*rest, *others), key=lambda item: -item[1]))[:MOST_NAMED],
        evidence=(*scored.evidence, why) if why else scored.evidence,
    )


_BY_NAME = {
    "english": "en", "hindi": "hi", "hinglish": "hi", "tamil": "ta", "tanglish": "ta", "telugu": "te", "bengali": "bn",
    "bangla": "bn", "marathi": "mr", "gujarati": "gu", "kannada": "kn", "malayalam": "ml", "manglish": "ml",
    "punjabi": "pa",
}  # fmt: skip
_NO_HINT = frozenset("auto und unknown any none null mul multi multiple mixed undefined".split())
_THREE_LETTERS = dict(zip("eng hin tam tel ben mar guj kan mal pan".split(), TARGETS, strict=True))  # ISO 639-2
_SUBTAG = re.compile(r"[a-z]{2,3}$")


def hinted(language: str | None) -> str:
    """The primary subtag of what a caller wrote (`hi-IN`, `HI`, `Hindi` → `hi`); empty where it says nothing."""
    name = (language or "").partition("(")[0].strip().lower()
    if name in _BY_NAME:
        return _BY_NAME[name]
    tag = name.replace("_", "-").split("-", 1)[0]
    return "" if tag in _NO_HINT or not _SUBTAG.match(tag) else _THREE_LETTERS.get(tag, tag)
