"""Phrases in any script, and what any, all and none mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.settings import RuleSet, RuleSettings
from pointsman.signals.lexis import folded, words_of
from pointsman.signals.phrases import Phrases
from pointsman.signals.rulebook import Rulebook, builtin_rules
from pointsman.signals.scripts import COMMON, script_of
from pointsman.types import Intent


def found(phrase: str, text: str) -> bool:
    clean = folded(text)
    return Phrases([phrase]).find(words_of(clean), clean) == {0}


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("Write Code", "please WRITE   code now"),
        ("c++", "in C++, please"),
        ("lip-sync", "lip sync it"),
        ("don't", "don’t"),
        ("prov*", "it was proven"),
        ("lip sync*", "a lip syncing app"),
        ("synthesi* speech", "to synthesise speech"),
        ("pa*", "a parrot"),
        ("ab* pro* cd*", "abx proven cdy"),
        ("कोड", "यह कोड।"),
        ("निबंध लिख*", "एक निबंध लिखिए"),
        ("நிரூபி*", "இதை நிரூபிக்கவும்"),
        ("代码", "请写代码吧"),
        ("=>", "x => y"),
        ("😀", "well 😀"),
        ("STRASSE", "straße"),
    ],
)
def test_a_phrase_is_found(phrase: str, text: str) -> None:
    assert found(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("code", "decode the codes"),
        ("write code", "write some code"),
        ("write code", "write"),
        ("कोड", "कोडिंग सीखो"),
        ("का", "काम"),  # a vowel sign is part of its word
        ("क", "की"),
        ("c", "c++"),
        ("prov*", "improve"),
        ("synthesi* speech", "synthesise my speech"),
        ("synthesi* speech", "synthesise speeches"),
        ("ab* pro* cd*", "abx cdy"),
    ],
)
def test_a_phrase_is_matched_whole(phrase: str, text: str) -> None:
    assert not found(phrase, text)


def test_phrases_that_begin_alike_are_all_found() -> None:
    phrases = Phrases(["what is", "what is the", "what", "wha*", "is the time"])
    assert phrases.find("what is the time".split(), "what is the time") == {0, 1, 2, 3, 4}


LETTERS = st.text("ab", min_size=1, max_size=4)
STEMS = st.builds(str.__add__, LETTERS, st.sampled_from(("", "*")))


def said(phrase: str, words: list[str]) -> bool:
    """As a phrase is meant, tried at every place."""
    wanted = phrase.split()
    runs = (words[at : at + len(wanted)] for at in range(len(words) - len(wanted) + 1))
    return any(all(map(meant, wanted, run)) for run in runs)


def meant(wanted: str, word: str) -> bool:
    return word.startswith(wanted[:-1]) if wanted.endswith("*") and len(wanted) > 2 else word == wanted.rstrip("*")


@given(st.lists(st.lists(STEMS, min_size=1, max_size=3).map(" ".join), max_size=12), st.lists(LETTERS, max_size=12))
def test_what_is_found_is_what_was_said(phrases: list[str], words: list[str]) -> None:
    wanted = {number for number, phrase in enumerate(phrases) if said(phrase, words)}
    assert Phrases(phrases).find(words, " ".join(words)) == wanted


def rule(*, any: str = "", all: str = "", none: str = "") -> RuleSettings:  # noqa: A002  # the settings' own names
    """Its phrases are the words of each string."""
    labels = RuleSet(intent=Intent.CODE)
    return RuleSettings(name="r", any=tuple(any.split()), all=tuple(all.split()), none=tuple(none.split()), set=labels)


@pytest.mark.parametrize(
    ("one", "text", "holds"),
    [
        (rule(any="a b"), "b", True),
        (rule(any="a b"), "c", False),
        (rule(all="a b"), "b x a", True),
        (rule(all="a b"), "b b", False),
        (rule(any="a", all="b"), "a", False),
        (rule(any="a", all="b"), "b", False),
        (rule(any="a", all="b"), "a b", True),
        (rule(any="a", none="b"), "a b", False),
        (rule(any="a", none="b"), "a", True),
    ],
)
def test_any_all_none(one: RuleSettings, text: str, holds: bool) -> None:
    assert bool(Rulebook([one]).hold(text.split(), text)) is holds


def test_a_rule_that_holds_names_the_phrase_and_comes_in_the_books_order() -> None:
    book = Rulebook([rule(any="z"), rule(any="b a"), rule(all="a")])
    assert [(one.rule, one.phrase) for one in book.hold(["a", "z"], "a z")] == [
        (book.rules[0], "z"),
        (book.rules[1], "a"),
        (book.rules[2], "r"),
    ]


def test_the_builtin_rules_are_sound() -> None:
    rules = builtin_rules()
    assert len({one.name for one in rules}) == len(rules)
    for one in rules:
        assert not set(one.any) & set(one.none), one.name
        for phrase in (*one.any, *one.none):
            for word in words_of(folded(phrase)):
                assert len({script_of(char) for char in word} - {COMMON}) <= 1, (one.name, word)


def test_the_builtin_rules_speak_every_language() -> None:
    scripts = {"Latn", "Deva", "Beng", "Gujr", "Guru", "Taml", "Telu", "Knda", "Mlym"}
    names = "tts.speak stt.transcribe avatar.make video.watch multimodal.look code.word reasoning.prove reasoning.maths"
    for name in (*names.split(), "general.greet", "complexity.compare", "complexity.lookup"):
        one = next(rule for rule in builtin_rules() if rule.name == name)
        assert scripts <= {script_of(phrase[0]) for phrase in one.any}, name
