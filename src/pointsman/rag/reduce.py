"""Context documents fitted into a budget of tokens: what says the same twice goes, then what has least to do with the
question; what stays is ordered for a reader who attends to both ends. Pure.

Knows: passages, their words, a question's words. Does not know: where documents come from, how a prompt is built.

1 Documents are cut into passages of at most `PASSAGE_WORDS` words, at paragraphs, then sentences.
2 A passage most of whose five-letter shingles an earlier one has (Jaccard, Broder 1997) is a duplicate.
3 Passages are scored by BM25 against the question (Robertson and Zaragoza, 2009), on folded words of any script; the
  first of a document gets a little more, for it says what the document is. Where no passage shares a word with the
  question (it may be in another language), the documents' own order decides.
4 The best are kept while the budget lasts; within a document they stay in their order.
5 The documents: best first, second best last, and so on inwards (Liu et al., "Lost in the Middle", 2023).
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from pointsman.types import Value

PASSAGE_WORDS = 120
SAME = 0.8
SHINGLE = 5
MOST_SHINGLES = 2000
K1, B = 1.2, 0.75
LEAD = 0.05
"""Of the best score, that a document's first passage gets besides."""

_PARAGRAPHS = re.compile(r"\n\s*\n")
_SENTENCES = re.compile(r"(?<=[.!?।॥])\s+")
_WORDS = re.compile(r"\w+(?:[\u0900-\u0dff]\w*)*")

DUPLICATE, BUDGET = "duplicate", "budget"


class Cut(Value, frozen=True):
    """A passage that was left out. `why`: `duplicate` or `budget`."""

    document: int
    passage: int
    tokens: int
    why: str


class Reduced(Value, frozen=True):
    """`documents`: (index of the document, its text that stays), in the order for the prompt."""

    documents: tuple[tuple[int, str], ...]
    cuts: tuple[Cut, ...]
    tokens_before: int
    tokens_after: int

    @property
    def tokens_saved(self) -> int:
        return self.tokens_before - self.tokens_after


class Passage(Value, frozen=True):
    document: int
    place: int
    text: str
    tokens: int


def reduce(documents: Sequence[str], question: str, budget_tokens: int, tokens_of: Callable[[str], float]) -> Reduced:
    """The documents within the budget. `tokens_of` estimates a text's tokens."""
    passages = [
        Passage(document=number, place=place, text=text, tokens=max(1, math.ceil(tokens_of(text))))
        for number, document in enumerate(documents)
        for place, text in enumerate(passages_of(document))
    ]
    fresh, duplicates = _without_duplicates(passages)
    scores = _scores(fresh, question)
    kept, dropped = _within(fresh, scores, budget_tokens)
    cuts = [Cut(document=one.document, passage=one.place, tokens=one.tokens, why=DUPLICATE) for one in duplicates]
    cuts += [Cut(document=one.document, passage=one.place, tokens=one.tokens, why=BUDGET) for one in dropped]
    return Reduced(
        documents=_ordered(kept, dict(zip(map(_key, fresh), scores, strict=True))),
        cuts=tuple(sorted(cuts, key=lambda cut: (cut.document, cut.passage))),
        tokens_before=sum(one.tokens for one in passages),
        tokens_after=sum(one.tokens for one in kept),
    )


def passages_of(document: str) -> list[str]:
    """1"""
    passages: list[str] = []
    for paragraph in _PARAGRAPHS.split(document):
        passage: list[str] = []
        size = 0
        for sentence in _SENTENCES.split(paragraph.strip()):
            for piece in _pieces(sentence):
                length = len(piece.split())
                if passage and size + length > PASSAGE_WORDS:
                    passages.append(" ".join(passage))
                    passage, size = [], 0
                passage.append(piece)
                size += length
        text = " ".join(passage).strip()
        if text:
            passages.append(text)
    return passages


def _pieces(sentence: str) -> list[str]:
    """A sentence, or runs of words of one that has no end (a table, a log)."""
    words = sentence.split()
    if len(words) <= PASSAGE_WORDS:
        return [sentence] if words else []
    return [" ".join(words[at : at + PASSAGE_WORDS]) for at in range(0, len(words), PASSAGE_WORDS)]


def _without_duplicates(passages: Sequence[Passage]) -> tuple[list[Passage], list[Passage]]:
    """2"""
    fresh: list[Passage] = []
    seen: list[frozenset[str]] = []
    duplicates: list[Passage] = []
    for passage in passages:
        shingles = _shingles(passage.text)
        if any(_alike(shingles, other) for other in seen):
            duplicates.append(passage)
        else:
            fresh.append(passage)
            seen.append(shingles)
    return fresh, duplicates


def _shingles(text: str) -> frozenset[str]:
    plain = " ".join(_words(text))[:MOST_SHINGLES]
    return frozenset(plain[at : at + SHINGLE] for at in range(max(1, len(plain) - SHINGLE + 1)))


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    if min(len(one), len(other)) < SAME * max(len(one), len(other)):
        return False
    common = len(one & other)
    return common >= SAME * (len(one) + len(other) - common)


def _words(text: str) -> list[str]:
    return _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


def _scores(passages: Sequence[Passage], question: str) -> list[float]:
    """3"""
    if not passages:
        return []
    asked = frozenset(_words(question))
    counts = [Counter(_words(one.text)) for one in passages]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / len(lengths) or 1.0
    weights = {word: _rarity(sum(word in count for count in counts), len(counts)) for word in asked}
    scores = [
        sum(
            weights[word] * count[word] * (K1 + 1) / (count[word] + K1 * (1 - B + B * length / mean))
            for word in asked
            if word in count
        )
        for count, length in zip(counts, lengths, strict=True)
    ]
    best = max(scores)
    if not best:
        return [1.0 / (1 + one.place) for one in passages]
    return [score + (LEAD * best if one.place == 0 else 0.0) for score, one in zip(scores, passages, strict=True)]


def _rarity(having: int, of: int) -> float:
    return math.log(1 + (of - having + 0.5) / (having + 0.5))


def _within(
    passages: Sequence[Passage], scores: Sequence[float], budget_tokens: int
) -> tuple[list[Passage], list[Passage]]:
    """4"""
    kept, left = set[tuple[int, int]](), budget_tokens
    for passage, _ in sorted(zip(passages, scores, strict=True), key=lambda pair: -pair[1]):
        if passage.tokens <= left:
            kept.add(_key(passage))
            left -= passage.tokens
    return [one for one in passages if _key(one) in kept], [one for one in passages if _key(one) not in kept]


def _key(passage: Passage) -> tuple[int, int]:
    return passage.document, passage.place


def _ordered(kept: Sequence[Passage], scores: dict[tuple[int, int], float]) -> tuple[tuple[int, str], ...]:
    """5"""
    texts: dict[int, list[str]] = {}
    best: dict[int, float] = {}
    for passage in kept:
        texts.setdefault(passage.document, []).append(passage.text)
        best[passage.document] = max(best.get(passage.document, 0.0), scores[_key(passage)])
    ranked = sorted(texts, key=lambda number: (-best[number], number))
    order = ranked[0::2] + ranked[1::2][::-1]
    return tuple((number, "\n\n".join(texts[number])) for number in order)
