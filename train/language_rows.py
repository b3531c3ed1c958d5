"""Rows to train and measure the language identifier on: text, language, how it is written, which source.

Knows: where each source lies under the data folder, its licence (only CC0, CC BY, Apache-2.0, MIT and public-domain
text is trained on; share-alike and non-commercial rows are for measuring), the project's own corpus and phrases.
Does not know: features.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import pyarrow.parquet as pq
import yaml

HERE = Path(__file__).parent
TARGETS = ("en", "hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa")
NATIVE, LATIN, MIXED = "native", "latin", "mixed"
ODD_PHRASES = "odd_phrases"  # a source of its own where every language shall have been seen
_FIRST_ENGLISH = 4000  # rows of each English source
_CODES = {"mag": "bho", "pnb": "pa"}  # Magahi counts as Bihari, as CLD2 has it


class Row(NamedTuple):
    text: str
    language: str
    script: str
    source: str
    kind: str = "sentence"  # or word, twin


def table(path: Path) -> list[dict[str, str]]:
    """A Parquet file's rows."""
    return list(pq.read_table(path).to_pylist())


def corpus() -> Iterator[Row]:
    """The project's own requests: of each language its first file. Later files teach what a request is, mostly in
    English, and would make an unfamiliar word look the more English."""
    for path in sorted((HERE / "corpus").glob("??.jsonl")):
        yield from _requests(path, "corpus")


def heldout() -> Iterator[Row]:
    """Requests written apart, to measure with only."""
    for path in sorted((HERE / "heldout").glob("*.jsonl")):
        if path.stem != "out_of_scope":
            yield from _requests(path, "heldout")


def development() -> Iterator[Row]:
    """Requests by yet another hand, to choose with."""
    for path in sorted((HERE / "dev").glob("*.jsonl")):
        yield from _requests(path, "dev")


def _requests(path: Path, source: str) -> Iterator[Row]:
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Row(row["text"], row["language"], row["script"], source)


def phrases() -> Iterator[Row]:
    """The project's own sentences in languages that are mistaken for the ten, or are written in their letters."""
    data = yaml.safe_load((HERE / "phrases.yaml").read_text(encoding="utf-8"))
    for name, text in data.items():
        language, _, script = name.partition("-")
        for line in text.splitlines():
            yield Row(line, language, LATIN if script == "Latn" else NATIVE, "phrases")


def is_odd_phrase(row: Row) -> bool:
    """Half of the phrases, by chance but always the same."""
    return row.source == "phrases" and bool(crc32(row.text.encode()) % 2)


def lexicon() -> Iterator[Row]:
    """The project's own word lists. Words that two languages share are rows of both."""
    data = yaml.safe_load((HERE / "lexicon.yaml").read_text(encoding="utf-8"))
    for language, entry in data["latin"].items():
        for field in ("strong", "weak"):
            script = NATIVE if language == "en" else LATIN
            yield from (Row(word, language, script, "lexicon", field) for word in entry[field].split())
    for entries in data["native"].values():
        for language, entry in entries.items():
            yield from (Row(word, language, NATIVE, "lexicon", "strong") for word in entry["words"].split())


def lid(data: Path, name: str) -> Iterator[Row]:
    """One file of the identification data."""
    for row in table(data / "lid" / f"{name}.parquet"):
        language = _CODES.get(row["lang"], row["lang"])
        if "-" in language:
            continue
        text = row["text"].strip()
        kind = "word" if row["kind"] == "single-words" else "sentence"
        if name == "dravidian_codemix":
            script = LATIN if text.isascii() else MIXED
            yield Row(text, language, script, name)
        elif text:
            yield Row(text, language, NATIVE, name, kind)


def hinglish_top(data: Path) -> Iterator[Row]:
    """Romanised Hindi commands and their English twins."""
    for row in table(data / "hinglish_top" / "train_val.parquet"):
        yield Row(row["cs_query"], "hi", LATIN if row["cs_query"].isascii() else MIXED, "hinglish_top")
        yield Row(row["en_query"], "en", NATIVE, "hinglish_top", "twin")


def english(data: Path) -> Iterator[Row]:
    """Prompts in English: what people ask assistants, banks, tools and models."""
    columns = {
        "clinc150/train_val": "text",
        "banking77/train": "text",
        "hwu64/train": "answer_from_user",
        "arena_hard/v01": "prompt",
        "awesome_prompts/prompts": "prompt",
        "bfcl/non_live": "user",
        "self_instruct/tasks": "instruction",
        "taskbench/user_requests": "user_request",
        "gorilla_apibench/other_hubs": "instruction",
    }
    for path, column in columns.items():
        rows = table(data / f"{path}.parquet")
        step = max(1, len(rows) // _FIRST_ENGLISH)
        for row in rows[::step]:
            if row.get(column):
                yield Row(str(row[column])[:600], "en", NATIVE, path.split("/", 1)[0])


def all_rows(data: Path, without: frozenset[str] = frozenset()) -> list[Row]:
    """What may be trained on, less the named sources."""
    own: dict[str, Callable[[], Iterator[Row]]] = {"corpus": corpus, "phrases": phrases, "lexicon": lexicon}
    public: dict[str, Callable[[Path], Iterator[Row]]] = {"hinglish_top": hinglish_top, "english": english}
    rows = [row for name, written in own.items() if name not in without for row in written()]
    rows += [row for name, read in public.items() if name not in without for row in read(data)]
    if ODD_PHRASES in without:
        rows = [row for row in rows if not is_odd_phrase(row)]
    return rows + [row for name in LID_TRAINED if name not in without for row in lid(data, name)]


LID_TRAINED = ("common_voice_cc0", "dravidian_codemix", "lingua_single_words", "udhr2")
