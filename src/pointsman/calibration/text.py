"""Text as a grader reads it: one spelling, numbers in any script, share of a script, chrF.

Knows: Unicode, digits and separators as Indians write them. Does not know: items, graders, what is right. All pure.
It has its own folding, apart from the classifier's: a measurement must not change when the classifier does.
"""

import re
import unicodedata
from collections import Counter
from fractions import Fraction

from pointsman.types import Value

# Malayalam's chillu letters have an older spelling with a joiner; afterwards joiners carry no meaning for us.
_CHILLU = (("ന്\u200d", "ൻ"), ("ണ്\u200d", "ൺ"), ("ര്\u200d", "ർ"), ("ല്\u200d", "ൽ"), ("ള്\u200d", "ൾ"))
_DROPPED = str.maketrans(dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad'’‘`"))

_NUMBER = re.compile(r"(?<![\d.,])-?\d{1,3}(?:,\d{2,3})+(?:\.\d+)?(?![\d,]\d)|(?<!\d)-?\d+(?:\.\d+)?|(?<!\d)-?\.\d+")
_SCALES = {
    1_000: "thousand hazaar hazar हजार हज़ार হাজার ஆயிரம் వేల వేలు હજાર ಸಾವಿರ ആയിരം ਹਜ਼ਾਰ",
    100_000: "lakh lakhs lac लाख লাখ লক্ষ லட்சம் இலட்சம் లక్ష లక్షలు લાખ ಲಕ್ಷ ലക്ഷം ਲੱਖ",
    1_000_000: "million millions",
    10_000_000: "crore crores करोड़ कोटी কোটি கோடி కోటి కోట్లు કરોડ ಕೋಟಿ കോടി ਕਰੋੜ",
    1_000_000_000: "billion billions",
}


class Number(Value, frozen=True):
    """A number found in a text, and where: `text[start:end]`."""

    value: Fraction
    start: int
    end: int


def folded(text: str) -> str:
    """Caseless, composed, digits as ASCII, minus as hyphen, joiners and apostrophes gone."""
    for old, new in _CHILLU:
        text = text.replace(old, new)
    text = unicodedata.normalize("NFKC", text).casefold().translate(_DROPPED)
    return digits_to_ascii(text).replace("−", "-").replace("–", "-")


def digits_to_ascii(text: str) -> str:
    """Digits of every script as 0–9, character by character: positions stay."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.digit(mark)) if mark.isdecimal() else mark for mark in text)


def plain(text: str) -> str:
    """`folded` words, one space apart: punctuation and symbols are spaces, letters, marks and digits stay."""
    kept = (mark if unicodedata.category(mark)[0] in "LMN" else " " for mark in folded(text))
    return " ".join("".join(kept).split())


def words(text: str) -> list[str]:
    """The words of `plain`."""
    return plain(text).split()


def has_phrase(text: str, phrase: str) -> bool:
    """Whether the words of `phrase` stand in `text`, both `plain`.

    A Latin phrase must be whole words. Indian languages add endings to the word itself (ചെന്നൈയിൽ, டெல்லியில்): there the
    last word may go on.
    """
    needle = plain(phrase)
    haystack = f" {plain(text)} "
    if not needle:
        return False
    if needle.isascii() or len(needle) < 3:
        return f" {needle} " in haystack
    return f" {needle}" in haystack


def numbers(text: str) -> list[Number]:
    """Every number of a text that is already `folded`, in order; `5 lakh` is 500000, `1,25,000` is 125000."""
    return [
        Number(
            value=Fraction(match[0].replace(",", "")) * _scale(text, match.end()), start=match.start(), end=match.end()
        )
        for match in _NUMBER.finditer(text)
    ]


def _scale(text: str, end: int) -> int:
    following = re.match(r"\s*([^\W\d][^\s.,;:!?।]*)", text[end : end + 20])
    return _scale_of(following[1]) if following else 1


def _scale_of(word: str) -> int:
    return next((scale for scale, names in _SCALES.items() if word in folded(names).split()), 1)


def script_share(text: str, script: str) -> float:
    """Share of the letters and marks that belong to a script, named as Unicode names it (`DEVANAGARI`); 0 without."""
    letters = [mark for mark in text if unicodedata.category(mark)[0] in "LM"]
    inside = sum(unicodedata.name(mark, "").startswith(script) for mark in letters)
    return inside / len(letters) if letters else 0.0


def chrf(candidate: str, reference: str, order: int = 6, beta: int = 2) -> float:
    """Character n-gram F-score in [0, 1], of `plain` texts without spaces (Popović 2015, chrF2: n = 1…6, β = 2).

    Precision and recall are averaged over the orders that the reference is long enough for.
    """
    said, wanted = plain(candidate).replace(" ", ""), plain(reference).replace(" ", "")
    orders = range(1, min(order, len(wanted)) + 1)
    if not said or not orders:
        return 0.0
    pairs = [_overlap(said, wanted, n) for n in orders]
    precision = sum(pair[0] for pair in pairs) / len(orders)
    recall = sum(pair[1] for pair in pairs) / len(orders)
    if precision + recall == 0:
        return 0.0
    weight = beta * beta
    return (1 + weight) * precision * recall / (weight * precision + recall)


def _overlap(said: str, wanted: str, n: int) -> tuple[float, float]:
    ours, theirs = (Counter(text[at : at + n] for at in range(len(text) - n + 1)) for text in (said, wanted))
    shared = (ours & theirs).total()
    return shared / max(ours.total(), 1), shared / max(theirs.total(), 1)
