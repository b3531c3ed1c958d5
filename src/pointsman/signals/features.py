"""What the learned heads look at: pieces of words, as buckets of a table, and a short row of numbers.

Knows: how spellings and scripts hide one sound, how votes, shapes and attachments become numbers. Does not know:
weights, labels' probabilities.

A word is seen through its *skeleton*: the Indic blocks of Unicode run in parallel, so one table turns "वीडियो",
"ভিডিও", "વિડિયો", "வீடியோ" and "video" into nearly one string of Latin letters, without the vowel `a`, aspiration,
voice and doubled letters, which scripts and typists disagree on. Pieces of it are hashed into a table of `BUCKETS`
rows (Weinberger et al. 2009, "Feature hashing for large scale multitask learning"). Pure and the same on any machine.
"""

import re
from collections.abc import Sequence
from functools import cache
from math import log1p
from operator import eq
from zlib import crc32

from pointsman.signals.evidence import STRONGEST, Vote
from pointsman.signals.lexis import spans
from pointsman.signals.reading import Reading
from pointsman.signals.shape import Shape
from pointsman.types import Complexity, Intent, Modality, Scored, UseCase

BUCKETS = 1 << 18
GRAMS = (3, 4, 5)  # letters of a skeleton in one piece, its ends marked
LONGEST_CHARS = 40  # of a word, what is looked at
LINKS_CHARS = 2000

# ---------------------------------------------------------------- one word

_BLOCKS = (0x900, 0x980, 0xA00, 0xA80, 0xB00, 0xB80, 0xC00, 0xC80, 0xD00)
_CONSONANTS = "k k k k n c c c c n t t t t n t t t t n n p p p p m y r r l l l v s s s h".split()
_OFFSETS = {0x15 + place: sound for place, sound in enumerate(_CONSONANTS)} | {
    0x01: "n", 0x02: "n", 0x03: "", 0x05: "", 0x06: "", 0x07: "i", 0x08: "i", 0x09: "u", 0x0A: "u", 0x0B: "ri",
    0x0E: "i", 0x0F: "i", 0x10: "i", 0x11: "u", 0x12: "u", 0x13: "u", 0x14: "u", 0x3C: "", 0x3E: "", 0x3F: "i",
    0x40: "i", 0x41: "u", 0x42: "u", 0x43: "ri", 0x45: "", 0x46: "i", 0x47: "i", 0x48: "i", 0x49: "u", 0x4A: "u",
    0x4B: "u", 0x4C: "u", 0x4D: "", 0x56: "i", 0x57: "", 0x5C: "r", 0x5F: "y", 0x70: "n", 0x71: "",
}  # fmt: skip
_INDIC = {block + offset: sound for block in _BLOCKS for offset, sound in _OFFSETS.items()} | {
    0x9CE: "t", 0xD7A: "n", 0xD7B: "n", 0xD7C: "r", 0xD7D: "l", 0xD7E: "l", 0xD7F: "k",
}  # fmt: skip
_DIGRAPHS = (
    ("sh", "s"), ("chh", "C"), ("ch", "C"), ("th", "t"), ("dh", "t"), ("kh", "k"), ("gh", "k"), ("ph", "p"),
    ("bh", "p"), ("jh", "c"), ("zh", "l"),
)  # fmt: skip
_LATIN = str.maketrans(
    {"a": "", "e": "i", "o": "u", "w": "v", "q": "k", "c": "k", "C": "c", "x": "ks", "z": "c", "f": "p", "g": "k",
     "j": "c", "d": "t", "b": "p"}
)  # fmt: skip
_LEVEL = str.maketrans({"v": "p", "y": "i"})
_DOUBLED = re.compile(r"(.)\1+", re.DOTALL)


def skeleton(word: str) -> str:
    """The consonants of a folded word and its close vowels, in Latin letters; other scripts stay as they are."""
    if word.isascii():
        if "h" in word:
            for pair, sound in _DIGRAPHS:
                word = word.replace(pair, sound)
        word = word.translate(_LATIN)
    else:
        word = word.translate(_INDIC)
    word = word.translate(_LEVEL)
    return _DOUBLED.sub(_one, word) if any(map(eq, word, word[1:])) else word


def _one(doubled: re.Match[str]) -> str:
    return doubled[1]


def pieces(word: str) -> list[int]:
    """The buckets of one folded word: the word, its skeleton, the skeleton's runs of letters."""
    word = word[:LONGEST_CHARS]
    bones = f"<{skeleton(word)}>".encode("utf-8", "surrogatepass")
    found = [crc32(word.encode("utf-8", "surrogatepass"), 1) % BUCKETS, crc32(bones, 2) % BUCKETS]
    found += [crc32(bones[start:end], 3) % BUCKETS for start, end in spans(len(bones), GRAMS)]
    return found


# ---------------------------------------------------------------- the words of a request

ENDS_WORDS, INNER, BEFORE = 15, 0.4, 0.5  # instructions stand at the ends of a long text
MOST_WORDS = 90  # a word never seen before costs ten microseconds
FEW_WORDS = 8  # a short follow-up is read with what was said before


def weighed(reading: Reading) -> tuple[list[str], list[float]]:
    """(words, weights) of what is asked; where that is short, of what the user said before too."""
    words = reading.words
    if len(words) > MOST_WORDS:
        words = words[: MOST_WORDS // 2] + words[-MOST_WORDS // 2 :]
    inner = len(words) - 2 * ENDS_WORDS
    weights = [1.0] * len(words) if inner <= 0 else [1.0] * ENDS_WORDS + [INNER] * inner + [1.0] * ENDS_WORDS
    if len(words) <= FEW_WORDS and reading.earlier_words:
        earlier = reading.earlier_words[: 2 * ENDS_WORDS]
        return words + earlier, weights + [BEFORE] * len(earlier)
    return words, weights


# ---------------------------------------------------------------- numbers

USE_CASES, INTENTS, HARDNESS = tuple(map(str, UseCase)), tuple(map(str, Intent)), tuple(map(str, Complexity))
KINDS = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO, Modality.TEXT)
_LINK = re.compile(r"https?://\S+|www\.\S+|\byoutu\S+")
_SHOWS = re.compile(r"youtu|vimeo|/watch|/reel|/shorts|video|\.(?:mp4|mkv|mov|webm|avi)\b")
_SOUNDS = re.compile(r"soundcloud|podcast|spotify|audio|\.(?:mp3|wav|m4a|ogg|flac|opus)\b")
_PICTURES = re.compile(r"photo|image|imgur|\.(?:jpe?g|png|webp|gif|heic|pdf|tiff?)\b")
_MEASURES = (
    "code", "maths", "numbers", "questions", "items", "block", "chars", "words", "three words", "one word", "beside",
    "ascii", "more code", "long words", "a link", "a link to a video", "a link to a recording", "a link to a picture",
)  # fmt: skip


@cache
def names() -> tuple[str, ...]:
    """What each number of `numbers` is, in words an operator can read."""
    voted = [f"rules for {label}" for label in (*USE_CASES, *INTENTS, *HARDNESS)]
    crossed = [f"rules for {label}, with {kind} attached" for label in USE_CASES for kind in KINDS]
    attached = [f"{kind if kind is not Modality.TEXT else 'a document'} attached" for kind in KINDS]
    return (*_MEASURES, *attached, "nothing attached", *voted, *crossed)


def numbers(reading: Reading, shape: Shape, kinds: frozenset[Modality], votes: Sequence[Sequence[Vote]]) -> list[float]:
    """One row, in the order of `names`. `kinds`: of what is attached; `votes`: on use case, intent, complexity."""
    count, chars = len(reading.words), len(reading.ask)
    row = [
        shape.code,
        shape.maths,
        min(shape.numbers, 6) / 6,
        min(shape.questions, 3) / 3,
        min(shape.items, 6) / 6,
        1.0 if reading.code else 0.0,
        log1p(chars) / 7,
        log1p(count) / 5,
        1.0 if count <= 3 else 0.0,
        1.0 if count <= 1 else 0.0,
        log1p(len(reading.beside)) / 7,
        1.0 if reading.ask.isascii() else 0.0,
        min(1.0, log1p(len(reading.code)) / 8),
        min(1.0, chars / (12 * count)) if count else 0.0,
        *_links(reading.last),
    ]
    row += [1.0 if kind in kinds else 0.0 for kind in KINDS]
    row.append(0.0 if kinds else 1.0)
    cases = _strengths(votes[0], USE_CASES)
    row += cases
    row += _strengths(votes[1], INTENTS)
    row += _strengths(votes[2], HARDNESS)
    for strength in cases:
        row += [strength if kind in kinds else 0.0 for kind in KINDS] if strength else _NONE
    return row


ODDITIES = (
    "language", "other language", "no language", "signs", "longest word", "mean word", "distinct words", "words",
    "digits", "two words", "a rule holds", "code", "surely code",
)  # fmt: skip
LOOKED_AT_CHARS = 1000


def oddities(reading: Reading, language: Scored, is_ours: bool, is_ruled: bool, is_code: bool) -> list[float]:
    """What is odd about a text that is no request, in the order of `ODDITIES`. `is_ours`: one of the ten languages;
    `is_ruled`: a built-in rule holds; `is_code`: it surely is."""
    words = reading.words
    chars, count = max(min(len(reading.last), LOOKED_AT_CHARS), 1), max(len(words), 1)
    sizes = list(map(len, words)) or [0]
    letters = sum(sizes)
    is_known = language.label != "und"
    return [
        language.p if is_ours else 0.0,
        language.p if is_known and not is_ours else 0.0,
        0.0 if is_known else 1.0,
        max(0.0, 1.0 - (letters + count) / chars),
        min(max(sizes), LONGEST_CHARS) / LONGEST_CHARS,
        min(letters / count / 12, 2.0),
        len(set(words)) / count,
        log1p(len(words)) / 5,
        sum(map(str.isdigit, words)) / count,
        1.0 if len(words) <= 2 else 0.0,
        1.0 if is_ruled else 0.0,
        1.0 if reading.code else 0.0,
        1.0 if is_code else 0.0,
    ]


def _links(text: str) -> tuple[float, float, float, float]:
    """Whether there is a link, and to what."""
    if "http" not in text and "www." not in text and "youtu" not in text:
        return 0.0, 0.0, 0.0, 0.0
    links = " ".join(_LINK.findall(text.lower()[:LINKS_CHARS]))
    shows, sounds, pictures = (1.0 if kind.search(links) else 0.0 for kind in (_SHOWS, _SOUNDS, _PICTURES))
    return 1.0 if links else 0.0, shows, sounds, pictures


_NONE = [0.0] * len(KINDS)


def _strengths(votes: Sequence[Vote], labels: Sequence[str]) -> list[float]:
    """Per label what its votes come to, by noisy-or as in `evidence`."""
    if not votes:
        return [0.0] * len(labels)
    missed = dict.fromkeys(labels, 1.0)
    for label, strength, _ in votes:
        missed[label] *= 1.0 - min(strength, STRONGEST)
    return [1.0 - missed[label] for label in labels]
