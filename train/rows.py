"""Rows to train on: the corpus and copies of it, plain requests, the built-in rules' own phrases, public rows.

Knows: the corpus's keys, how people mistype, shout, and wrap a request in courtesy; which public rows have labels that
are certain. Does not know: features.

`corpus/` is rich in hard cases; `plain.jsonl` holds what people ask all day, `phrases` what each rule's author meant,
`public` what English assistants are asked. A label that a row does not say is None.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow.parquet as pq
from train.check_corpus import Row

from pointsman.settings import RuleSettings
from pointsman.types import JsonPayload, Kind, Media, Modality, Request, Turn

HERE = Path(__file__).parent
CORPUS, PLAIN = HERE / "corpus", HERE / "plain.jsonl"
DOCUMENT = Media(kind=Modality.TEXT, mime="application/pdf")
TYPO_SHARE = 0.05  # of letters
COURTESIES = {
    "en": (("please ", "hi, ", "could you please ", "hey can you "), (" please", " thanks", ", thank you!")),
    "hi": (("कृपया ", "नमस्ते, ", "bhai ", "please "), (" धन्यवाद", " please", " shukriya")),
    "mr": (("कृपया ", "नमस्कार, ", "please "), (" धन्यवाद", " please")),
    "bn": (("দয়া করে ", "নমস্কার, ", "please "), (" ধন্যবাদ", " please")),
    "gu": (("કૃપા કરીને ", "નમસ્તે, ", "please "), (" આભાર", " please")),
    "pa": (("ਕਿਰਪਾ ਕਰਕੇ ", "ਸਤ ਸ੍ਰੀ ਅਕਾਲ, ", "please "), (" ਧੰਨਵਾਦ", " please")),
    "ta": (("தயவுசெய்து ", "வணக்கம், ", "please "), (" நன்றி", " please")),
    "te": (("దయచేసి ", "నమస్కారం, ", "please "), (" ధన్యవాదాలు", " please")),
    "kn": (("ದಯವಿಟ್ಟು ", "ನಮಸ್ಕಾರ, ", "please "), (" ಧನ್ಯವಾದಗಳು", " please")),
    "ml": (("ദയവായി ", "നമസ്കാരം, ", "please "), (" നന്ദി", " please")),
}


def corpus(folder: Path = CORPUS) -> list[Row]:
    """All rows, in the order of the files' names."""
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines())
    return [msgspec.json.decode(line, type=Row) for line in lines]


def request_of(row: Row) -> Request:
    """What the edge would make of a row; a document is a file with pages."""
    media = tuple(DOCUMENT if kind == "document" else Media(kind=Modality(kind)) for kind in row.attachments)
    turns = (Turn(role="user", text=row.text),)
    return Request(id=row.id, kind=Kind.CHAT, model="auto", payload=JsonPayload(members=()), turns=turns, media=media)


def noisy(rows: Sequence[Row], seed: int) -> list[Row]:
    """One noisy copy of each: typos, case, lost punctuation or courtesy, by chance."""
    rng = random.Random(seed)
    return [msgspec.structs.replace(row, text=disturbed(row.text, row.language, rng)) for row in rows]


def plain() -> list[Row]:
    return [msgspec.json.decode(line, type=Row) for line in PLAIN.read_text(encoding="utf-8").splitlines()]


def phrases(rules: Sequence[RuleSettings], least: float = 0.5) -> list[Row]:
    """Each phrase of the surer rules as a request of its own."""
    return [
        said(phrase.replace("*", ""), rule.set.use_case or ("agent" if rule.set.intent else None), rule.set.intent,
             rule.set.complexity)
        for rule in rules
        if rule.confidence >= least
        for phrase in rule.any
    ]  # fmt: skip


def said(
    text: str, use_case: str | None, intent: str | None, complexity: str | None, needs_tools: bool | None = None
) -> Row:
    """A row of which not everything is known."""
    return msgspec.structs.replace(
        UNSAID, text=text, use_case=use_case, intent=intent, complexity=complexity, needs_tools=needs_tools
    )


UNSAID = Row(
    id="", text="", language="en", script="native", use_case="agent", intent=None, complexity="low", attachments=[],
    needs_tools=False, answer=cast("Any", None),
)  # fmt: skip
ASSISTANTS = frozenset(
    "alarm calendar cooking datetime email iot lists music news play social takeaway transport weather".split()
)
RECKONED = frozenset({"math", "physics", "engineering", "chemistry"})


def public(data: Path, seed: int) -> list[Row]:
    """English requests under CC BY, MIT or Apache-2.0 whose labels are certain, some of each source."""
    rng = random.Random(seed)
    rows: list[Row] = []

    def add(name: str, column: str, most: int, keep: Callable[[dict[str, Any]], bool], *labels: Any) -> None:
        table = pq.read_table(data / f"{name}.parquet").to_pylist()
        texts = sorted({row[column] for row in table if row[column] and len(row[column]) < LONGEST and keep(row)})
        rows.extend(said(text, "agent", *labels) for text in rng.sample(texts, min(most, len(texts))))

    add("hwu64/train", "answer_from_user", 500, lambda row: row["scenario"] in ASSISTANTS, "general", "low", True)
    add("hwu64/train", "answer_from_user", 250, lambda row: row["label"] in FACTS, "general", "low", False)
    add("clinc150/train_val", "text", 400, lambda row: row["domain"] in CHORES, "general", "low")
    add("banking77/train", "text", 150, lambda _: True, "general", "low")
    add("mmlu_pro/questions", "question", 300, lambda row: row["category"] in RECKONED, "reasoning", None, False)
    add("zeroeval/questions", "question", 150, lambda row: "math" in row["task"], "reasoning", None, False)
    add("taskbench/user_requests", "user_request", 200, lambda row: "daily" in row["domain"], "general", None, True)
    add("hinglish_top/train_val", "cs_query", 300, lambda _: True, "general", "low", True)
    return rows


FACTS = frozenset({"qa_factoid", "qa_definition", "general_quirky", "general_joke", "general_praise"})
CHORES = frozenset(
    {"work", "travel", "small_talk", "home", "kitchen_and_dining", "banking", "credit_cards", "auto_and_commute"}
)
LONGEST = 1500  # characters


def bare(rows: Sequence[Row]) -> list[Row]:
    """Those with attachments, without them: people name what they forgot to attach, or send it afterwards."""
    return [msgspec.structs.replace(row, attachments=[]) for row in rows if row.attachments and row.use_case != "agent"]


def wordless() -> list[Row]:
    """An attachment and nothing said."""
    kinds: tuple[tuple[Any, Any], ...] = (
        ("image", "multimodal"),
        ("document", "multimodal"),
        ("audio", "stt"),
        ("video", "video"),
    )
    return [
        Row(id="wordless", text="", language="en", script="native", use_case=use_case, intent=None, complexity="low",
            attachments=[kind], needs_tools=False, answer="medium")
        for kind, use_case in kinds
    ]  # fmt: skip


def disturbed(text: str, language: str, rng: random.Random) -> str:
    kind = rng.randrange(4)
    if kind == 0 or (kind == 1 and not text.isascii()):
        return typed_badly(text, rng)
    if kind == 1:
        return text.upper() if rng.random() < 0.3 else text.lower()
    if kind == 2:
        return "".join(char for char in text if char not in ".,!?;।'\"") or text
    before, after = COURTESIES[language]
    return rng.choice(before) + text if rng.random() < 0.6 else text + rng.choice(after)


def typed_badly(text: str, rng: random.Random, share: float = TYPO_SHARE) -> str:
    """`share` of the letters left out, doubled, swapped with the next or struck beside."""
    chars = list(text)
    for at, char in enumerate(text):
        if not char.isalpha() or rng.random() >= share:
            continue
        kind = rng.randrange(4)
        if kind == 0:
            chars[at] = ""
        elif kind == 1:
            chars[at] = char * 2
        elif kind == 2 and at + 1 < len(chars):
            chars[at], chars[at + 1] = chars[at + 1], chars[at]
        elif char.isascii():
            chars[at] = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return "".join(chars)
