"""What holds for any request: total, deterministic, within bounds, explained, unmoved by boilerplate, cheap."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.signals.asking import CLASSIFIER, asked, conversation
from tests.signals.test_golden import rows as golden_rows

from pointsman.settings import RoutingSettings
from pointsman.signals.classifier import Classifier
from pointsman.types import Hints, Kind, Media, Modality, Request, Signals, Turn

PIECES = st.sampled_from(
    ["```", "`", '"', "“", "<system-reminder>", "</system-reminder>", "<task>", "\n\n", "\n> ", ": ", "write code",
     "classify this as code", "https://a.b", "a@b.c", "नमस्ते", "வணக்கம்", "kya hai", "prove", "\u200d", "\ud800", "😀",
     "²", "x = 1;\n", "translate: ", "C++", "- ", "१२", "की", "'", "$x^2$", "\x00", "ﷺ"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=300), st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=40).map("".join))
ROLES = st.sampled_from(["user", "system", "assistant", "tool", "developer", "function", "someone"])
REQUESTS = st.builds(
    lambda turns, media, kind, hints: (
        asked(turns=turns, kind=kind, hints=hints)
        if not media
        else asked("", *media, turns=turns, kind=kind, hints=hints)
    ),
    st.lists(st.builds(lambda role, text: Turn(role=role, text=text), ROLES, TEXTS), max_size=5).map(tuple),
    st.lists(
        st.builds(lambda kind, mime: Media(kind=kind, mime=mime), st.sampled_from(list(Modality)), st.text(max_size=9)),
        max_size=3,
    ),
    st.sampled_from(list(Kind)),
    st.builds(
        lambda kind, entities: Hints(query_type=kind, entities=tuple(entities)),
        st.none() | st.text(max_size=12),
        st.lists(st.text(max_size=5), max_size=4),
    ),
)


def scored(signals: Signals) -> list[tuple[float, tuple[tuple[str, float], ...], tuple[str, ...]]]:
    labels = (signals.use_case, signals.intent, signals.language, signals.complexity)
    return [(label.p, label.alternatives, label.evidence) for label in labels]


@settings(max_examples=400)
@given(REQUESTS)
def test_total_bounded_and_explained(request: Request) -> None:
    signals = CLASSIFIER.measure(request)
    for p, alternatives, evidence in scored(signals):
        assert 0 <= p <= 1
        assert all(0 <= other <= 1 for _, other in alternatives)
        assert p + sum(other for _, other in alternatives) <= 1.001
        assert evidence
        assert all(evidence)
    assert signals.script in {"native", "latin", "mixed"}
    assert signals.prompt_tokens >= 0
    assert signals.output_tokens >= 0
    assert signals.inputs


@settings(max_examples=100)
@given(REQUESTS)
def test_deterministic_over_calls_and_instances(request: Request) -> None:
    assert CLASSIFIER.measure(request) == CLASSIFIER.measure(request) == OTHER.measure(request)


OTHER = Classifier(RoutingSettings())


@settings(max_examples=150)
@given(st.text(max_size=300), TEXTS)
def test_unmoved_by_a_system_prompt(text: str, boilerplate: str) -> None:
    alone = CLASSIFIER.measure(asked(turns=(Turn(role="user", text=text),)))
    amid = CLASSIFIER.measure(conversation(("system", boilerplate), ("user", text)))
    assert scored(alone) == scored(amid)


COMPARISONS = [row.text for row in golden_rows() if row.group == "comparisons"]
GREETINGS = ["Hi! ", "Hello, ", "नमस्ते! ", "வணக்கம், ", "Good morning. ", "hey, ", "Namaskar, ", "please "]


@given(st.sampled_from(COMPARISONS), st.lists(st.sampled_from(GREETINGS), max_size=3).map("".join))
def test_a_greeting_makes_a_comparison_no_easier(text: str, greeting: str) -> None:
    complexity = CLASSIFIER.measure(asked(greeting + text)).complexity
    assert complexity.label == "high"
    assert complexity.p >= 0.85


HOSTILE = {
    "letters": "a" * 10**6,
    "opening tags": "<a " * 300_000,
    "harness tags": "<system-reminder>" * 60_000,
    "quotes": '"a b ' * 200_000,
    "ticks": "` x" * 300_000,
    "fences": "```\n" * 250_000,
    "semicolons": "{;\n" * 300_000,
    "spaces": " " * 10**6 + ";",
    "lines": "\n" * 10**6,
    "orders": "classify this " * 70_000,
    "requests": "every request is " * 60_000,
    "selects": "SELECT " * 140_000,
    "sums": "1+" * 500_000,
    "dollars": "$^ " * 300_000,
    "calls": "a.b(" * 250_000,
    "assignments": "x = " * 250_000,
    "addresses": "a@" * 500_000,
    "ligatures": "\ufdfa" * 10**6,
    "marks": "\u0301" * 10**6,
    "joiners": "\u200d" * 10**6,
    "surrogates": "\ud800" * 10**6,
    "han": "写代码" * 300_000,
    "phrases": "write code what is the " * 40_000,
    "translations": "translate: " * 90_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_anything_costs_milliseconds(name: str) -> None:
    """CPU time of this thread, with room for a slow machine: usual are 1–10 ms, where a pattern backtracks seconds."""
    request = asked(turns=(Turn(role="user", text=HOSTILE[name]), Turn(role="user", text=HOSTILE[name][:3900])))
    started = time.thread_time()
    CLASSIFIER.measure(request)
    assert time.thread_time() - started < 0.25
