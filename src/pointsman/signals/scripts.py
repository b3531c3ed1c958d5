"""Writing systems: which script a letter belongs to, and which languages a script writes.

Knows: Unicode's blocks, as far as languages need them. Does not know: words.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

# (first code point, script); a block reaches to the next row. `Zyyy` is common to all scripts.
_BLOCKS: tuple[tuple[int, str], ...] = (
    (0x0000, "Zyyy"), (0x0041, "Latn"), (0x005B, "Zyyy"), (0x0061, "Latn"), (0x007B, "Zyyy"), (0x00AA, "Latn"),
    (0x00AB, "Zyyy"), (0x00C0, "Latn"), (0x02B0, "Zyyy"), (0x0370, "Grek"), (0x0400, "Cyrl"), (0x0530, "Armn"),
    (0x0590, "Hebr"), (0x0600, "Arab"), (0x0700, "Syrc"), (0x0750, "Arab"), (0x0780, "Thaa"), (0x07C0, "Zyyy"),
    (0x08A0, "Arab"), (0x0900, "Deva"), (0x0964, "Zyyy"), (0x0966, "Deva"), (0x0980, "Beng"), (0x0A00, "Guru"),
    (0x0A80, "Gujr"), (0x0B00, "Orya"), (0x0B80, "Taml"), (0x0C00, "Telu"), (0x0C80, "Knda"), (0x0D00, "Mlym"),
    (0x0D80, "Sinh"), (0x0E00, "Thai"), (0x0E80, "Laoo"), (0x0F00, "Tibt"), (0x1000, "Mymr"), (0x10A0, "Geor"),
    (0x1100, "Hang"), (0x1200, "Ethi"), (0x13A0, "Zyyy"), (0x1780, "Khmr"), (0x1800, "Mong"), (0x18B0, "Zyyy"),
    (0x1C50, "Olck"), (0x1C80, "Zyyy"), (0x1E00, "Latn"), (0x1F00, "Grek"), (0x2000, "Zyyy"), (0x2C60, "Latn"),
    (0x2C80, "Zyyy"), (0x2D00, "Geor"), (0x2D30, "Zyyy"), (0x2D80, "Ethi"), (0x2DE0, "Cyrl"), (0x2E00, "Zyyy"),
    (0x2E80, "Hani"), (0x3001, "Zyyy"), (0x3005, "Hani"), (0x3008, "Zyyy"), (0x3041, "Kana"), (0x3100, "Zyyy"),
    (0x3130, "Hang"), (0x3190, "Zyyy"), (0x31F0, "Kana"), (0x3200, "Zyyy"), (0x3400, "Hani"), (0xA000, "Zyyy"),
    (0xA640, "Cyrl"), (0xA6A0, "Zyyy"), (0xA720, "Latn"), (0xA800, "Zyyy"), (0xA8E0, "Deva"), (0xA900, "Zyyy"),
    (0xAAE0, "Mtei"), (0xAB00, "Ethi"), (0xAB30, "Latn"), (0xAB70, "Zyyy"), (0xABC0, "Mtei"), (0xAC00, "Hang"),
    (0xD7FC, "Zyyy"), (0xF900, "Hani"), (0xFB00, "Latn"), (0xFB07, "Zyyy"), (0xFB13, "Armn"), (0xFB1D, "Hebr"),
    (0xFB50, "Arab"), (0xFE00, "Zyyy"), (0xFE70, "Arab"), (0xFEFF, "Zyyy"), (0x20000, "Hani"), (0x323B0, "Zyyy"),
)  # fmt: skip
_STARTS = tuple(start for start, _ in _BLOCKS)
_NAMES = tuple(name for _, name in _BLOCKS)

COMMON, LATIN = "Zyyy", "Latn"

# Written without spaces: a run of letters is many words, and a phrase is found anywhere inside it.
UNSEGMENTED = frozenset({"Hani", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})

# Scripts that settle the language alone. Deva, Beng, Arab, Cyrl and Latn do not: see `language`.
LANGUAGE_OF = {
    "Guru": "pa", "Gujr": "gu", "Orya": "or", "Taml": "ta", "Telu": "te", "Knda": "kn", "Mlym": "ml", "Sinh": "si",
    "Thai": "th", "Laoo": "lo", "Tibt": "bo", "Mymr": "my", "Geor": "ka", "Hang": "ko", "Ethi": "am", "Khmr": "km",
    "Mong": "mn", "Olck": "sat", "Mtei": "mni", "Hebr": "he", "Grek": "el", "Armn": "hy", "Syrc": "syr", "Thaa": "dv",
    "Kana": "ja", "Hani": "zh", "Deva": "hi", "Beng": "bn", "Arab": "ar", "Cyrl": "ru",
}  # fmt: skip


def _sought(code: int) -> str:
    return _NAMES[bisect_right(_STARTS, code) - 1]


_KNOWN = {chr(code): _sought(code) for code in (*range(0x250), *range(0x900, 0xE00))}  # what we meet most


def script_of(char: str) -> str:
    """ISO 15924's code for one character's script; `Zyyy` where it belongs to none."""
    return _KNOWN.get(char) or _sought(ord(char))


def by_script(words: Iterable[str]) -> dict[str, tuple[float, list[str]]]:
    """Script → (how many words, which), by each word's first letter; a number's digits name their script but count 0.
    Unsegmented, two letters count as one word."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        own = found[script_of(word[0])]
        if not word[0].isdigit():
            own.append(word)
    return {script: (_size(script, own), own) for script, own in found.items()}


def _size(script: str, words: list[str]) -> float:
    if script in UNSEGMENTED:
        return sum(max(1.0, len(word) / 2) for word in words)
    return float(len(words))


def scripts_of(words: list[str]) -> dict[str, float]:
    """Script → how many words are written in it, by each word's first letter; unsegmented, two letters count as one."""
    counts: dict[str, float] = {}
    for word in words:
        script = LATIN if word.isascii() and word[0].isalpha() else script_of(word[0])
        if script != COMMON:
            counts[script] = counts.get(script, 0.0) + (max(1.0, len(word) / 2) if script in UNSEGMENTED else 1.0)
    return counts
