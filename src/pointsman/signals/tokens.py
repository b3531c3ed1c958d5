"""How many tokens a prompt has and its answer may have. Estimates, without a tokenizer.

Method: characters by class and script, at rates measured with the byte-pair tokenizers of SmolLM2 (49,000 pieces,
mostly English, so the dearest in use for other scripts) and Qwen2.5 (152,000 pieces). The rates are set so that neither
is underestimated by more than a quarter; a large vocabulary may use half of what is said here. Too little costs a
refused request, too much only a reserve. A long text is sampled at even distances, so the cost is bounded.
"""

import re
from collections import Counter
from collections.abc import Sequence
from operator import mul

from pointsman.signals.language import INDIAN, ROMANISED, Told
from pointsman.signals.reading import Reading
from pointsman.signals.scripts import script_of
from pointsman.types import Complexity, Intent, JsonPayload, Modality, Request

PROSE_CHARS_PER_TOKEN = 3.5  # letters and spaces; English alone has 4.7, romanised Indian languages 3.0
DENSE_CHARS_PER_TOKEN = 1.4  # runs without a break, such as base64
USUAL_RUN_CHARS = 12  # letters between two breaks, in prose and code
TOKENS_PER_SIGN = 0.62  # punctuation and operators: often two or three share a piece
TOKENS_PER_BREAK = 0.5
CHARS_PER_TOKEN = {
    "Latn": 0.75, "Deva": 0.95, "Beng": 0.6, "Guru": 0.58, "Gujr": 0.4, "Orya": 0.4, "Taml": 0.62, "Telu": 0.4,
    "Knda": 0.4, "Mlym": 0.5, "Sinh": 0.4, "Arab": 0.85, "Cyrl": 1.3, "Grek": 0.95, "Hebr": 0.85, "Thai": 0.65,
    "Hani": 0.65, "Kana": 0.65, "Hang": 0.48, "Zyyy": 0.4,
}  # fmt: skip
OTHER_CHARS_PER_TOKEN = 0.35
PER_TURN, PER_TOOL_CHAR = 6, 1 / 3.0
PER_MEDIUM = {Modality.IMAGE: 500, Modality.VIDEO: 4000, Modality.AUDIO: 500, Modality.TEXT: 1000}
SAMPLE_CHARS, SAMPLES = 600, 6

_ASCII = re.compile(r"[\x00-\x7f]+")
_DIGITS, _BREAKS = b"0123456789", b"\n\r\t"
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ "

ANSWER = {Complexity.LOW: 60, Complexity.MEDIUM: 250, Complexity.HIGH: 700}
BY_LENGTH = (50, 250, 800)  # short: two sentences at most
MORE_FOR = {Intent.CODE: 150, Intent.REASONING: 150}
LONG_ANSWER, SHORT_ANSWER, LONGEST_ANSWER = 700, 40, 8000
NATIVE_FACTOR = 2  # an answer in an Indian script takes more tokens for the same words
_UNITS = {"word": 1.4, "शब्द": 1.4, "sentence": 25, "line": 15, "paragraph": 120, "page": 600}
_STATED = re.compile(r"(\d\d{0,4})[ -]{0,2}(word|sentence|line|paragraph|page|शब्द)")
_LONG_FORMS = frozenset(
    "essay article story blog report chapter speech nibandh kahani निबंध कहानी लेख कथा गोष्ट রচনা গল্প নিবন্ধ નિબંધ વાર્તા "
    "ਲੇਖ ਕਹਾਣੀ கட்டுரை கதை వ్యాసం కథ ಪ್ರಬಂಧ ಕಥೆ ഉപന്യാസം കഥ".split()
)
LEAST_LONG = 0.2  # of a long answer, for "story" and its like to be what is to be written
_SHORT_FORMS = frozenset(
    "brief briefly short concise oneline संक्षेप थोडक्यात সংক্ষেপে ટૂંકમાં ਸੰਖੇਪ சுருக்கமாக క్లుప్తంగా ಸಂಕ್ಷಿಪ್ತವಾಗಿ ചുരുക്കത്തിൽ".split()
)


def prompt_tokens(request: Request) -> int:
    """Of all turns, documents, tools and attachments."""
    total = 1.0
    for turn in request.turns:
        total += PER_TURN + text_tokens(turn.text)
    for document in request.hints.context_docs:
        total += text_tokens(document)
    for medium in request.media:
        total += PER_MEDIUM[medium.kind]
    if request.has_tools and isinstance(request.payload, JsonPayload):
        total += len(request.payload.get("tools") or b"") * PER_TOOL_CHAR
    return int(total)


def text_tokens(text: str) -> float:
    """Of one text."""
    size = len(text)
    if size <= SAMPLE_CHARS * SAMPLES:
        return _counted(text)
    step = (size - SAMPLE_CHARS) // (SAMPLES - 1)
    sample = "".join(text[start : start + SAMPLE_CHARS] for start in range(0, step * SAMPLES, step))
    return _counted(sample) * size / max(len(sample), 1)


def _counted(text: str) -> float:
    if text.isascii():
        return _ascii(text.encode())
    plain, total = text.encode("ascii", "ignore"), 0.0
    rest = _ASCII.sub("", text) if len(plain) > len(text) // 2 else text  # plain but for a curly quote, say
    for char, count in Counter(rest).items():
        if char > "\x7f":
            total += count / CHARS_PER_TOKEN.get(script_of(char), OTHER_CHARS_PER_TOKEN)
    return total + _ascii(plain)


def _ascii(text: bytes) -> float:
    """Digits are a piece each; letters by the run; a sign or a break is most of a piece."""
    undigited = text.translate(None, _DIGITS)
    unbroken = undigited.translate(None, _BREAKS)
    signs = len(unbroken.translate(None, _LETTERS))
    prose = len(unbroken) - signs
    digits, breaks = len(text) - len(undigited), len(undigited) - len(unbroken)
    runs = text.count(b" ") + breaks + signs + 1
    dense = max(0, prose + digits - USUAL_RUN_CHARS * runs)
    usual = max(0, prose - dense)
    return (
        digits
        + usual / PROSE_CHARS_PER_TOKEN
        + dense / DENSE_CHARS_PER_TOKEN
        + signs * TOKENS_PER_SIGN
        + breaks * TOKENS_PER_BREAK
    )


def output_tokens(
    request: Request, reading: Reading, complexity: str, intent: str, told: Told, learned: Sequence[float] = ()
) -> int:
    """Expected length of the answer, bounded by what the caller allows: as stated ("in 200 words"), else by its form,
    else by the heads' probabilities of a short, a medium and a long one, else by difficulty."""
    if stated := _STATED.search(reading.ask):
        expected = int(stated[1]) * _UNITS[stated[2]]
    elif not _SHORT_FORMS.isdisjoint(reading.words):
        expected = SHORT_ANSWER
    elif learned and (learned[-1] < LEAST_LONG or _LONG_FORMS.isdisjoint(reading.words)):
        expected = int(sum(map(mul, learned, BY_LENGTH)))
    elif not _LONG_FORMS.isdisjoint(reading.words):
        expected = LONG_ANSWER
    else:
        expected = ANSWER[Complexity(complexity)] + MORE_FOR.get(Intent(intent), 0)
    if told.script != ROMANISED and told.language.label in INDIAN:
        expected *= NATIVE_FACTOR
    limit = request.limits.max_output_tokens
    return int(min(expected, LONGEST_ANSWER if limit is None else limit))
