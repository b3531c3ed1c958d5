"""Text → hashed n-grams and shape: what a quality profile reads of a prompt. Pure, deterministic, the same everywhere.

Knows: which n-grams are taken, how they are hashed (a polynomial over code points modulo 2**64, mixed; no seed, no
locale, no word list), and the shape figures. Does not know: what any of them means for a model.

Invariants: two equal texts have equal features on every machine and version of Python; nothing depends on other texts.
Numbers keep their length and lose their value: digits become zeros before hashing.
"""

import numpy as np
import numpy.typing as npt

from pointsman.types import Value

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]

WORD_BITS, CHAR_BITS = 15, 15
WORD_BUCKETS, CHAR_BUCKETS = 1 << WORD_BITS, 1 << CHAR_BITS
BUCKETS = WORD_BUCKETS + CHAR_BUCKETS
HEAD_CHARS, TAIL_CHARS = 3000, 1000  # of a longer text only its beginning and end are read
CHAR_ORDERS = (3, 4, 5)
MAX_WORD = 32  # letters past this do not tell words apart

SHAPES = (
    "characters", "words", "lines", "letters in a word", "digits", "numbers", "capitals", "symbols", "brackets",
    "code marks", "mathematics marks", "question marks", "options", "not ASCII", "long words", "distinct words",
)  # fmt: skip

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_POWERS = np.cumprod(np.full(MAX_WORD, _BASE, np.uint64))
_SPACE, _ZERO = np.uint64(32), np.uint64(48)
_NEWLINE = 10


def _ascii(characters: str) -> npt.NDArray[np.bool_]:
    table = np.zeros(128, bool)
    table[[ord(character) for character in characters]] = True
    return table


_DIGIT = _ascii("0123456789")
_WORD = _ascii("0123456789abcdefghijklmnopqrstuvwxyz_'")
_UPPER = _ascii("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BRACKET = _ascii("()[]{}")
_CODE = _ascii("{};=<>_`#")
_MATHS = _ascii("\\^+*/=%$<>")
_BLANK = _ascii(" \t\n\r\f\v")


class Grams(Value, frozen=True):
    """A text as a sparse row: `buckets` ascending in [0, BUCKETS), `weights` ≥ 0 before any inverse frequency."""

    buckets: Ints
    weights: Floats


def read(text: str) -> tuple[Grams, Floats]:
    """The hashed n-grams of a text and its shape, `(len(SHAPES),)`."""
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = f"{text[:HEAD_CHARS]} {text[-TAIL_CHARS:]}"
    raw, codes = _codes(text), _codes(text.lower())
    starts, ends = _words(codes)
    codes = np.where(_in(_DIGIT, codes), _ZERO, codes)
    words = _word_hashes(codes, starts, ends)
    return _grams(codes, words), _shape(raw, starts, ends, words)


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)


def _in(table: npt.NDArray[np.bool_], codes: Codes) -> npt.NDArray[np.bool_]:
    """Which codes are ASCII and in the table."""
    found: npt.NDArray[np.bool_] = table[np.minimum(codes, np.uint64(127)).astype(np.intp)] & (codes < 127)
    return found


def _words(codes: Codes) -> tuple[Ints, Ints]:
    """Starts and ends of runs of letters, digits and marks; beyond ASCII all but punctuation counts as a letter."""
    apart = (codes >= 0x2000) & (codes < 0x2070) | (codes >= 0x3000) & (codes < 0x3040) | (codes == 0x964)
    inside = _in(_WORD, codes) | (codes >= 0xAA) & ~apart
    edges = np.diff(np.concatenate(([0], inside.astype(np.int8), [0])))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _word_hashes(codes: Codes, starts: Ints, ends: Ints) -> Codes:
    if not len(starts):
        return np.zeros(0, np.uint64)
    lengths = np.minimum(ends - starts, MAX_WORD)
    firsts = np.cumsum(lengths) - lengths
    place = np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)
    letters = codes[np.repeat(starts, lengths) + place] * _POWERS[place]
    hashes: Codes = np.add.reduceat(letters, firsts)
    return hashes


def _mixed(hashes: Codes, bits: int, offset: int) -> Ints:
    """Well-spread buckets of a hash: the low bits of a product alone are not."""
    mixed = (hashes ^ (hashes >> np.uint64(32))) * _MIX
    return (mixed >> np.uint64(64 - bits)).astype(np.int64) + offset


def _grams(codes: Codes, words: Codes) -> Grams:
    """Words and pairs of words in one block, character n-grams in the other; each block has length 1."""
    pairs = words[:-1] * _BASE + words[1:]
    blocks = (
        _block(_mixed(np.concatenate((words, pairs)), WORD_BITS, 0)),
        _block(_mixed(_char_hashes(codes), CHAR_BITS, WORD_BUCKETS)),
    )
    return Grams(buckets=np.concatenate([b for b, _ in blocks]), weights=np.concatenate([w for _, w in blocks]))


def _char_hashes(codes: Codes) -> Codes:
    """Hashes of all character n-grams, runs of blanks taken as one."""
    blank = _in(_BLANK, codes)
    line = np.where(blank, _SPACE, codes)[~(blank & np.concatenate(([True], blank[:-1])))]
    line = np.concatenate(([_SPACE], line, [_SPACE]))
    hashes, found = line, []
    for order in range(2, max(CHAR_ORDERS) + 1):
        if len(line) < order:
            break
        hashes = hashes[:-1] * _BASE + line[order - 1 :]
        if order in CHAR_ORDERS:
            found.append(hashes)
    return np.concatenate(found) if found else hashes[:0]


def _block(buckets: Ints) -> tuple[Ints, Floats]:
    """Distinct buckets with 1 + log of their count (Salton & Buckley 1988)."""
    distinct, counts = np.unique(buckets, return_counts=True)
    return distinct, (1 + np.log(counts)).astype(np.float32)


def _shape(raw: Codes, starts: Ints, ends: Ints, words: Codes) -> Floats:
    """Counts on a log scale, shares as shares, in the order of SHAPES."""
    size, n_words = max(len(raw), 1), max(len(words), 1)
    digits = _in(_DIGIT, raw)
    lengths = ends - starts
    lines = int((raw == _NEWLINE).sum())
    numbers = int((np.diff(np.concatenate(([0], digits.astype(np.int8)))) == 1).sum())
    return np.array(
        [
            np.log1p(len(raw)),
            np.log1p(len(words)),
            np.log1p(lines),
            float(lengths.mean()) if len(lengths) else 0.0,
            float(digits.sum()) / size,
            np.log1p(numbers),
            float(_in(_UPPER, raw).sum()) / size,
            float((~_in(_BLANK, raw)).sum() - lengths.sum()) / size,
            np.log1p(float(_in(_BRACKET, raw).sum())),
            np.log1p(float(_in(_CODE, raw).sum())),
            np.log1p(float(_in(_MATHS, raw).sum())),
            np.log1p(float((raw == ord("?")).sum())),
            np.log1p(_options(raw)),
            float((raw >= 128).sum()) / size,
            float((lengths > 8).sum()) / n_words,
            len(np.unique(words)) / n_words,
        ],
        np.float32,
    )


def _options(raw: Codes) -> int:
    """Lines that open like the choice of a test: `A.`, `(b)`, `3)`."""
    at = np.flatnonzero(raw == _NEWLINE) + 1
    at = at[at + 2 < len(raw)]
    first = raw[at]
    bracketed = first == ord("(")
    label = np.where(bracketed, raw[at + 1], first)
    closing = np.where(bracketed, raw[at + 2], raw[at + 1])
    is_label = _in(_DIGIT | _UPPER | (_WORD & ~_DIGIT), label)
    return int((is_label & ((closing == ord(".")) | (closing == ord(")")) | (closing == ord(":")))).sum())
