"""Rows → samples of words for each script's model: cleaned as at run time, cut short, romanised, mixed, misspelt.

Knows: how prompts differ from the sentences of corpora (short, code-mixed, unpunctuated, with names and loans in them).
Does not know: features, sources' files.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from train.language_rows import LATIN, MIXED, NATIVE, Row
from train.romanise import BLOCKS, habits, romanised

from pointsman.signals.language import LATIN_SCRIPT, NATIVE_MARK, latin_words
from pointsman.signals.lexis import folded, words_of
from pointsman.signals.reading import read
from pointsman.signals.scripts import COMMON, by_script
from pointsman.types import Turn

SHARED = frozenset({LATIN_SCRIPT, "Deva", "Beng", "Arab"})
INDIAN = frozenset({"hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa"})
SHORT_SPAN = (1, 6)  # words of a cut-out
WORTH = {"corpus": 4.0, "hinglish_top": 1.0, "phrases": 3.0, "lexicon": 0.5, "udhr2": 0.7, "lingua_single_words": 2.0}
ENGLISH_CORPUS_WORTH = 5.0  # English has many rows of other sources
FEWEST_LOANS, BAGS = 3, 12000
NAMED_BAGS = 5000
BETWEEN = "and to in near from of for at with the vs versus or".split()
MOST_ENGLISH = 0.6  # of the words of a comment
SPAN_WORTH, SYNTHETIC_WORTH, QUOTING_WORTH, WORD_WORTH, RETYPED_WORTH = 0.4, 0.5, 0.1, 0.5, 0.4
# Names and loans that a text in any language may hold: they speak for none. First of people, places and food; then of
# products and techniques, which Indian requests are full of.
NAMES = tuple(
    (
        "mumbai delhi bengaluru bangalore chennai kolkata hyderabad pune jaipur lucknow kochi mysuru mysore madurai "
        "coimbatore nagpur surat ahmedabad vadodara amritsar ludhiana chandigarh patna bhopal indore varanasi guwahati "
        "koramangala jayanagar andheri bandra whitefield indiranagar thiruvananthapuram kozhikode vijayawada "
        "visakhapatnam hampi goa manali shimla darjeeling ooty munnar kerala karnataka tamil nadu andhra telangana "
        "punjab gujarat maharashtra bihar odisha assam dosa masala idli sambar biryani paneer roti chapati dal "
        "rajma chole samosa vada pav poha dhokla thepla khichdi kulfi lassi chai paratha tikka tandoori pulao halwa "
        "jalebi rasgulla ladoo payasam rasam sharma gupta singh kumar patel reddy rao iyer iyengar nair menon pillai "
        "banerjee chatterjee mukherjee ghosh joshi deshpande kulkarni patil shah mehta rahul priya amit anjali "
        "karthik lakshmi arjun ravi sunita rekha suresh ramesh mahesh ganesh krishna rama sita diwali holi pongal onam "
        "ugadi navratri durga puja eid ramzan gita ramayana mahabharata upanishads yoga ayurveda upi aadhaar irctc "
        "paytm flipkart zomato swiggy rupees lakh crore bollywood tollywood kollywood ipl kabaddi rangoli mehndi saree "
        "hindi tamil telugu bengali bangla marathi gujarati kannada malayalam punjabi hindi tamil telugu kannada urdu "
        "kurta lehenga dhoti ghee haldi jeera methi ashram guru mantra karma dharma nirvana avatar pandit "
        "python java javascript typescript kotlin golang php perl scala haskell fortran cobol sql mysql "
        "postgres postgresql sqlite mongodb mariadb redis dynamodb kafka rabbitmq celery nats docker podman "
        "kubernetes k8s jenkins github gitlab bitbucket git npm pip conda linux ubuntu debian fedora centos "
        "windows macos unix android iphone ipad macbook samsung nokia xiaomi redmi oppo oneplus realme "
        "motorola google microsoft amazon aws azure gcp ibm intel amd nvidia qualcomm ryzen tesla toyota honda "
        "hyundai maruti suzuki mahindra bajaj bmw audi airtel vodafone bsnl whatsapp telegram instagram "
        "facebook twitter youtube netflix spotify hotstar uber gmail chrome firefox powerpoint photoshop canva figma "
        "django flask fastapi numpy scipy pytorch tensorflow jupyter pycharm vscode intellij nodejs angular vue "
        "svelte nextjs jquery tailwind laravel html css json yaml xml csv pdf api graphql grpc tcp udp http https ftp "
        "ssh dns vpn ssd hdd cpu gpu usb hdmi oled lcd chatgpt openai gemini llama mistral whisper zoho "
        "tableau hadoop airflow flink snowflake elasticsearch nginx apache tomcat hibernate terraform ansible "
        "prometheus grafana bash powershell vim emacs regex arduino autocad solidworks wordpress shopify selenium"
    ).split()
)
_NAMES = frozenset(NAMES)


class Sample(NamedTuple):
    """`words` as the script's model is given them; `text`: for the identifier, empty where it would not be asked."""

    words: list[str]
    label: str
    weight: float
    text: str = ""


Samples = dict[str, list[Sample]]


def samples_of(rows: Sequence[Row], rng: np.random.Generator) -> Samples:
    """Script → samples."""
    found: Samples = defaultdict(list)
    content = _content_words(rows)
    english = frozenset(content) | {row.text for row in rows if row.source == "lexicon" and row.language == "en"}
    for row in rows:
        if row.language.startswith("not-") or _is_english(row, english):
            continue
        for script, sample in _of_row(row, rng):
            found[script].append(sample)
        found[LATIN_SCRIPT] += _synthetic(row, content, rng)
        found[LATIN_SCRIPT] += _retyped(row, content, rng)
    found[LATIN_SCRIPT] += _bags(content, rng)
    for samples in found.values():
        samples += list(_pairs(samples, rng))
    return {script: [_nameless(sample) for sample in samples] for script, samples in found.items()}


def _nameless(sample: Sample) -> Sample:
    """The sample without names, unless it is all names."""
    rest = [word for word in sample.words if word not in _NAMES]
    return sample._replace(words=rest) if rest else sample


def _is_english(row: Row, content: frozenset[str]) -> bool:
    """Comments under films are labelled by the film's language; many are plain English."""
    words = [word for word in words_of(folded(row.text)) if word.isalpha()]
    return row.source == "dravidian_codemix" and sum(word in content for word in words) >= MOST_ENGLISH * len(words)


def _content_words(rows: Sequence[Row]) -> list[str]:
    """English words that turn up in Indian sentences, as often as they do in English: all but function words."""
    function = {row.text for row in rows if row.source == "lexicon" and row.language == "en" and row.kind == "strong"}
    running = [
        word
        for row in rows
        if row.language == "en" and row.source in ("corpus", "clinc150", "hwu64", "taskbench")
        for word in words_of(folded(row.text))
        if word.isascii() and word.isalpha() and len(word) > 2 and word not in function
    ]
    counts = Counter(running)
    return [word for word in running if counts[word] >= FEWEST_LOANS]


def _bags(content: list[str], rng: np.random.Generator) -> Iterator[Sample]:
    """English without grammar, as in "fix bug": one to three neighbours among the content words."""
    for start in rng.integers(0, max(1, len(content) - 3), min(len(content), BAGS)):
        words = content[start : start + int(rng.integers(1, 4))]
        yield Sample(words, "en", SPAN_WORTH, " ".join(words))
    for _ in range(min(len(content), NAMED_BAGS)):
        names = [_any(NAMES, rng) for _ in range(int(rng.integers(1, 5)))]
        joined = [word for name in names for word in (_any(BETWEEN, rng), name)]
        words = [_any(content, rng) for _ in range(int(rng.integers(1, 4)))]
        words = words + joined if rng.random() < 0.6 else joined[1:] + words
        yield Sample(words, "en", SPAN_WORTH, " ".join(words))


def words_by_script(text: str) -> dict[str, list[str]]:
    """The words that count, as `LanguageTeller.tell` sorts them."""
    clean = folded(text)
    return {
        script: [word for word in own if word[0].isalpha()] if script == LATIN_SCRIPT else own
        for script, (_, own) in by_script(words_of(clean)).items()
        if script != COMMON and own
    }


def _of_row(row: Row, rng: np.random.Generator) -> Iterator[tuple[str, Sample]]:
    """The row itself, a cut-out of it, and each native script in it."""
    asked = read((Turn(role="user", text=row.text),)).ask if row.source == "corpus" else row.text
    found = words_by_script(asked)
    weight = WORTH.get(row.source, 1.0) * (WORD_WORTH if row.kind in ("word", "strong", "weak") else 1.0)
    if row.source == "corpus" and row.language == "en":
        weight *= ENGLISH_CORPUS_WORTH
    native = sum(len(own) for script, own in found.items() if script != LATIN_SCRIPT)
    latin = found.pop(LATIN_SCRIPT, [])
    label = row.language
    if latin and (label == "en" or row.script != NATIVE or not native):
        label_latin = label if label == "en" or label in INDIAN or label in ("ne", "as", "or") else "xx"
        text = "" if native else asked
        plain = latin_words(latin, "")
        yield LATIN_SCRIPT, Sample([NATIVE_MARK] * native + plain, label_latin, weight, text)
        for _ in range(0 if native or len(plain) <= 3 else 2):
            cut = _cut(plain, rng)
            yield LATIN_SCRIPT, Sample(cut, label_latin, weight * SPAN_WORTH, " ".join(cut))
        if label == "en":
            yield from ((LATIN_SCRIPT, sample) for sample in _quoting(plain, weight, rng))
    for script, own in found.items():
        if script in SHARED and label != "en":
            yield script, Sample(own, label, weight, " ".join(own))
            if len(own) > 3:
                for _ in range(2):
                    cut = _cut(own, rng)
                    yield script, Sample(cut, label, weight * SPAN_WORTH, " ".join(cut))


def _any(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _cut(words: list[str], rng: np.random.Generator) -> list[str]:
    size = int(rng.integers(*SHORT_SPAN))
    start = int(rng.integers(0, max(1, len(words) - size + 1)))
    return words[start : start + size]


def _quoting(words: list[str], weight: float, rng: np.random.Generator) -> Iterator[Sample]:
    """English that names Indian things, or quotes words in native letters: still English."""
    if len(words) >= 4 and rng.random() < 0.3:
        named = list(words)
        for _ in range(int(rng.integers(1, 5))):
            named.insert(int(rng.integers(1, len(named) + 1)), _any(NAMES, rng))
        yield Sample(named, "en", weight * 0.5, " ".join(named))
    if len(words) >= 4 and rng.random() < 0.1:
        yield Sample([NATIVE_MARK] * int(rng.integers(1, 4)) + words, "en", weight * QUOTING_WORTH)


def _synthetic(row: Row, content: list[str], rng: np.random.Generator) -> Iterator[Sample]:
    """Native text in Latin letters, some of it with English words in it, some left in native letters."""
    if row.language not in BLOCKS or row.script != NATIVE or row.language == "sa":
        return
    times = 2 if row.source in ("corpus", "phrases") else 1
    weight = SYNTHETIC_WORTH * WORTH.get(row.source, 1.0) * (WORD_WORTH if row.kind != "sentence" else 1.0)
    for _ in range(times):
        text = romanised(row.text, row.language, habits(rng), rng)
        words = [word for word in words_of(folded(text)) if word[0].isalpha() and word.isascii()]
        if not words:
            continue
        words = latin_words(words, "")
        if len(words) > 3 and rng.random() < 0.3:
            words = _cut(words, rng)
        words = _with_loans(words, content, rng)
        marks = 0
        if row.kind == "sentence" and rng.random() < 0.1:
            marks = int(rng.integers(1, len(words) + 1))
            words = words[marks:]
        yield Sample([NATIVE_MARK] * marks + words, row.language, weight, "" if marks else " ".join(words))


def _with_loans(words: list[str], content: list[str], rng: np.random.Generator) -> list[str]:
    """Some words replaced by English ones, in two sentences of five."""
    if not content or len(words) < 3 or rng.random() > 0.4:
        return words
    share = 0.15 + 0.35 * rng.random()
    return [_any(content, rng) if rng.random() < share else word for word in words]


def _retyped(row: Row, content: list[str], rng: np.random.Generator) -> Iterator[Sample]:
    """Romanised requests as others would spell them, with more English in them."""
    if row.script == NATIVE or row.language not in INDIAN or row.kind in ("strong", "weak"):
        return
    asked = read((Turn(role="user", text=row.text),)).ask
    found = words_by_script(asked)
    latin = latin_words(found.pop(LATIN_SCRIPT, []), "")
    marks = [NATIVE_MARK] * sum(map(len, found.values()))
    weight = RETYPED_WORTH * WORTH.get(row.source, 1.0)
    for _ in range(4 if row.source == "corpus" else 1):
        words = [_respelt(word, rng) if rng.random() < 0.25 else word for word in _with_loans(latin, content, rng)]
        if len(words) > 4 and rng.random() < 0.4:
            words = _cut(words, rng)
        if words:
            yield Sample(marks + words, row.language, weight, "" if marks else " ".join(words))


_RESPELT = (("aa", "a"), ("ee", "i"), ("oo", "u"), ("w", "v"), ("v", "w"), ("ph", "f"), ("z", "j"), ("chh", "ch"),
            ("i", "ee"), ("u", "oo"), ("a", "aa"), ("ai", "e"), ("e", "ai"), ("th", "t"), ("sh", "s"), ("ein", "en"),
            ("n", ""), ("h", ""))  # fmt: skip


def _respelt(word: str, rng: np.random.Generator) -> str:
    """One spelling habit changed once; SMS spelling loses a vowel."""
    if len(word) < 3:
        return word
    if rng.random() < 0.3:
        at = int(rng.integers(1, len(word)))
        return word[:at] + word[at + 1 :] if word[at] in "aeiou" else word
    old, new = _RESPELT[int(rng.integers(len(_RESPELT)))]
    changed = word.replace(old, new, 1)
    return changed if len(changed) > 1 else word


def _pairs(samples: Sequence[Sample], rng: np.random.Generator) -> Iterator[Sample]:
    """Words that stood alone, in twos and threes of one language."""
    alone: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        if len(sample.words) == 1:
            alone[sample.label].append(sample.words[0])
    for label, words in alone.items():
        for _ in range(min(len(words), 1500)):
            pair = [_any(words, rng) for _ in range(int(rng.integers(2, 4)))]
            yield Sample(pair, label, WORD_WORTH, " ".join(pair))


__all__ = ["LATIN", "MIXED", "Sample", "samples_of", "words_by_script"]
