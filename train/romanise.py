"""Native letters → Latin letters as people type them: rules of sound, one writer's habits a sentence, and slips.

Knows: the common layout of the Indian blocks (ISCII's order), how each language drops or keeps the inherent vowel, how
spellings vary. Does not know: words; English loans come out spelt by sound. Made for training data, not for readers.
"""

import unicodedata
from typing import NamedTuple

import numpy as np

BLOCKS = {"hi": 0x900, "mr": 0x900, "ne": 0x900, "sa": 0x900, "bn": 0x980, "as": 0x980, "pa": 0xA00, "gu": 0xA80,
          "or": 0xB00, "ta": 0xB80, "te": 0xC00, "kn": 0xC80, "ml": 0xD00}  # fmt: skip
SCHWA_DROPPED = frozenset({"hi", "mr", "gu", "pa", "ne"})  # also inside a word; bn and as only at its end
_CONSONANTS = dict(zip(
    range(0x15, 0x3A),
    "k kh g gh ng ch chh j jh n T Th D Dh n t th d dh n n p ph b bh m y r r l l zh v sh sh s h".split(), strict=True,
))  # fmt: skip
_VOWELS = {5: "a", 6: "aa", 7: "i", 8: "ee", 9: "u", 10: "oo", 11: "ri", 12: "li", 13: "e", 14: "e", 15: "e", 16: "ai",
           17: "o", 18: "o", 19: "o", 20: "au"}  # fmt: skip
_SIGNS = {0x3E: "aa", 0x3F: "i", 0x40: "ee", 0x41: "u", 0x42: "oo", 0x43: "ri", 0x44: "ri", 0x45: "e", 0x46: "e",
          0x47: "e", 0x48: "ai", 0x49: "o", 0x4A: "o", 0x4B: "o", 0x4C: "au", 0x57: "au", 0x56: "ai"}  # fmt: skip
_NUKTA = {"k": "q", "j": "z", "ph": "f", "D": "r", "Dh": "rh", "y": "y", "kh": "kh", "g": "g", "s": "sh", "l": "l"}
_CHILLU = {0x7A: "n", 0x7B: "n", 0x7C: "r", 0x7D: "l", 0x7E: "l", 0x7F: "k"}
_BENGALI = {"y": "j", "v": "b"}
_RUNS = (("njnj", "nj"), ("njch", "nj"), ("nr", "nt"), ("T", "t"), ("D", "d"))
_TAMIL = {"k": ("k", "g"), "ch": ("ch", "s"), "T": ("T", "D"), "t": ("t", "d"), "p": ("p", "b")}
NASALS = frozenset({"n", "m", "ng", "nj"})
LABIALS = ("p", "b", "m", "f")


class Habits(NamedTuple):
    """How one writer spells, for a sentence."""

    long_a: str
    long_i: str
    long_u: str
    v: str
    dental: bool  # Dravidian writers often spell dental t as th
    single: bool  # doubled consonants typed once
    ch: str
    final_long: bool
    sms: float  # share of words that lose vowels


def habits(rng: np.random.Generator) -> Habits:
    return Habits(
        long_a="aa" if rng.random() < 0.35 else "a",
        long_i="ee" if rng.random() < 0.35 else "i",
        long_u="oo" if rng.random() < 0.3 else "u",
        v="w" if rng.random() < 0.25 else "v",
        dental=rng.random() < 0.65,
        single=rng.random() < 0.2,
        ch="ch" if rng.random() < 0.4 else "chh",
        final_long=rng.random() < 0.15,
        sms=0.2 if rng.random() < 0.15 else 0.01,
    )


class Sound(NamedTuple):
    """One consonant or vowel; `inherent`: an unwritten vowel that may be dropped."""

    text: str
    is_vowel: bool
    inherent: bool = False


def romanised(text: str, language: str, how: Habits, rng: np.random.Generator) -> str:
    """The text with every native word in Latin letters; all else as it is, lower case."""
    return " ".join(_word(word, language, how, rng) for word in unicodedata.normalize("NFKC", text).split())


def _word(word: str, language: str, how: Habits, rng: np.random.Generator) -> str:
    sounds = _sounds(word, language)
    if not any(sound.is_vowel for sound in sounds):
        return word.lower()
    plain = "".join(sound.text for sound in _dropped(sounds, language))
    spelt = _spelt(plain, language, how)
    if how.sms > rng.random() and len(spelt) > 3:
        spelt = spelt[0] + "".join(c for c in spelt[1:-1] if c not in "aeiou" or rng.random() < 0.4) + spelt[-1]
    return spelt


def _sounds(word: str, language: str) -> list[Sound]:
    base, sounds = BLOCKS[language], list[Sound]()
    doubled = False
    for char in word:
        at = ord(char) - base
        if not 0 <= at < 0x80:
            sounds.append(Sound(char, False))
        elif at in _CONSONANTS:
            joined = bool(sounds) and not sounds[-1].is_vowel
            consonant = "y" if at == 0x2F and joined else _consonant(at, language)
            sounds += [Sound(consonant[0], False)] * doubled
            doubled = False
            sounds += [Sound(consonant, False), Sound("a", True, inherent=True)]
        else:
            doubled = _marked(at, sounds, language)
    return _tamil(sounds) if language == "ta" else sounds


def _consonant(at: int, language: str) -> str:
    if language in {"ta", "ml"} and at == 0x1E:
        return "nj"
    plain = _CONSONANTS[at]
    if language in {"bn", "as"}:
        if language == "as" and plain in {"sh", "s"}:
            return "x" if at != 0x38 else "s"
        return _BENGALI.get(plain, plain)
    return plain


def _marked(at: int, sounds: list[Sound], language: str) -> bool:
    """Vowels, signs, finals. True where the next consonant is doubled (Gurmukhi's addak)."""
    if at in _VOWELS:
        sounds.append(Sound(_VOWELS[at], True))
    elif at in _SIGNS or at in (0x4D, 0x3C):
        had = sounds.pop() if sounds and sounds[-1].inherent else None
        if at in _SIGNS:
            sounds.append(Sound(_SIGNS[at], True))
        elif at == 0x3C and sounds and had:
            plain = sounds[-1].text
            sounds[-1:] = [Sound("y" if language == "bn" and plain == "j" else _NUKTA.get(plain, plain), False), had]
    elif at in (1, 2) or (at == 0x70 and language == "pa"):
        sounds.append(Sound("~" if language not in {"bn", "as"} else "ng", False))
    elif at == 3 and language != "ta":
        sounds.append(Sound("h", False))
    elif language == "ml" and at in _CHILLU:
        sounds.append(Sound(_CHILLU[at], False))
    elif 0x58 <= at <= 0x5F:
        sounds += [Sound("q kh g z r rh f y".split()[at - 0x58], False), Sound("a", True, inherent=True)]
    elif 0x66 <= at <= 0x6F:
        sounds.append(Sound(str(at - 0x66), False))
    elif language == "as" and at in (0x70, 0x71):
        sounds += [Sound("r" if at == 0x70 else "w", False), Sound("a", True, inherent=True)]
    return at == 0x71 and language == "pa"


def _tamil(sounds: list[Sound]) -> list[Sound]:
    """Tamil writes k and g alike: voiced after a nasal and between vowels, not doubled, not at the beginning."""
    out = list[Sound]()
    for place, sound in enumerate(sounds):
        pair = _TAMIL.get(sound.text)
        if pair is None or sound.is_vowel or place == 0:
            out.append(sound)
            continue
        before, after = sounds[place - 1], sounds[min(place + 1, len(sounds) - 1)]
        soft = (before.is_vowel and after.is_vowel) or before.text in NASALS
        out.append(Sound(pair[1] if soft and sound.text != "ch" else pair[0], False) if sound.text != "ch" else
                   Sound("s" if before.is_vowel and after.is_vowel else "ch", False))  # fmt: skip
    return out


def _dropped(sounds: list[Sound], language: str) -> list[Sound]:
    """Inherent vowels that are not spoken: at the end (north), and in vowel–consonant–_–consonant–vowel."""
    kept = list(sounds)
    if language not in SCHWA_DROPPED and language not in {"bn", "as", "or"}:
        return kept
    if len(kept) > 2 and kept[-1].inherent and (language != "ne" or len(kept) > 4):
        del kept[-1]
    if language in SCHWA_DROPPED:
        for place in range(len(kept) - 3, 1, -1):
            around = kept[place - 2], kept[place - 1], kept[place + 1], kept[place + 2]
            if kept[place].inherent and [sound.is_vowel for sound in around] == [True, False, False, True]:
                del kept[place]
    vowel = {"bn": "o", "as": "o", "or": "a"}.get(language, "a")
    return [Sound(vowel, True) if sound.inherent else sound for sound in kept]


def _spelt(plain: str, language: str, how: Habits) -> str:
    for place in range(len(plain) - 1, -1, -1):
        if plain[place] == "~":
            labial = plain[place + 1 :].startswith(LABIALS) or (
                place == len(plain) - 1 and language in {"te", "kn", "ml"}
            )
            plain = plain[:place] + ("m" if labial else "n") + plain[place + 1 :]
    if plain.endswith("aa") and not how.final_long:
        plain = plain[:-1]
    if plain.endswith(("ee", "oo")) and not how.final_long:
        plain = plain[:-2] + ("i" if plain.endswith("ee") else "u")
    plain = plain.replace("aa", how.long_a).replace("ee", how.long_i).replace("oo", how.long_u)
    plain = plain.replace("chh", how.ch).replace("v", how.v)
    if language == "ta" or (language == "ml" and how.dental):
        plain = plain.replace("th", "t").replace("t", "th") if how.dental else plain
    elif language in {"te", "kn"} and how.dental and not plain.startswith("t"):
        plain = plain.replace("tt", "Q").replace("th", "t").replace("t", "th").replace("Q", "tt")
    for run, said in (*((("nT", "nd"),) if language == "ml" else ()), *_RUNS):
        plain = plain.replace(run, said)
    if how.single:
        plain = "".join(c for place, c in enumerate(plain) if place == 0 or c != plain[place - 1] or c in "aeiou")
    return plain
