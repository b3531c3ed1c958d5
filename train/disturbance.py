"""The noise that a decision should survive: typing errors, another case, politeness around the request."""

import random
from collections.abc import Callable

POLITE = {
    "en": ("please ", "hi, could you help me? ", " thanks in advance!", " thank you so much"),
    "hi": ("कृपया ", "नमस्ते, ", " धन्यवाद", " प्लीज़"),
    "mr": ("कृपया ", "नमस्कार, ", " धन्यवाद", " प्लीज"),
    "bn": ("দয়া করে ", "নমস্কার, ", " ধন্যবাদ", " প্লিজ"),
    "gu": ("કૃપા કરીને ", "નમસ્તે, ", " આભાર", " પ્લીઝ"),
    "pa": ("ਕਿਰਪਾ ਕਰਕੇ ", "ਸਤ ਸ੍ਰੀ ਅਕਾਲ, ", " ਧੰਨਵਾਦ", " ਪਲੀਜ਼"),
    "ta": ("தயவுசெய்து ", "வணக்கம், ", " நன்றி", " ப்ளீஸ்"),
    "te": ("దయచేసి ", "నమస్కారం, ", " ధన్యవాదాలు", " ప్లీజ్"),
    "kn": ("ದಯವಿಟ್ಟು ", "ನಮಸ್ಕಾರ, ", " ಧನ್ಯವಾದ", " ಪ್ಲೀಸ್"),
    "ml": ("ദയവായി ", "നമസ്കാരം, ", " നന്ദി", " പ്ലീസ്"),
}
LATIN = ("pls ", "hello, ", " thank you", " please")


def typos(text: str, rng: random.Random, share: float = 0.05) -> str:
    """`share` of the letters dropped, doubled, or swapped with the next."""
    letters, out, at = list(text), [], 0
    while at < len(letters):
        letter = letters[at]
        if letter.isalpha() and rng.random() < share:
            kind = rng.randrange(3)
            if kind == 1:
                out += [letter, letter]
            elif kind == 2 and at + 1 < len(letters):
                out += [letters[at + 1], letter]
                at += 1
        else:
            out.append(letter)
        at += 1
    return "".join(out)


def case(text: str, rng: random.Random) -> str:
    """All lower, all upper, or Every Word Capitalised."""
    change: Callable[[str], str] = rng.choice((str.lower, str.upper, str.title))
    return change(text)


def polite(text: str, rng: random.Random, language: str, script: str) -> str:
    """A courtesy before or after, in the letters of the request."""
    forms = LATIN if script == "latin" and language != "en" else POLITE[language]
    form = rng.choice(forms)
    return text + form if form.startswith(" ") else form + text
