"""Pieces of words and rows of numbers: pure, the same on any machine, blind to script and spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.signals.asking import asked

from pointsman.signals.features import BUCKETS, INNER, ODDITIES, names, pieces, skeleton, weighed
from pointsman.signals.language import LanguageTeller
from pointsman.signals.look import Looked, Looker
from pointsman.signals.reading import read
from pointsman.signals.rulebook import Rulebook, builtin_rules
from pointsman.types import Modality, Turn

LOOKER = Looker(Rulebook(builtin_rules()))


def looked(text: str, *media: Modality) -> Looked:
    return LOOKER.look(asked(text, *media))


@pytest.mark.parametrize(
    "words",
    [
        ("video", "वीडियो", "ভিডিও", "વિડિયો", "வீடியோ", "వీడియో", "ವೀಡಿಯೊ", "വീഡിയോ", "ਵੀਡੀਓ"),
        ("kar", "कर", "કર", "kaar"),
        ("likho", "लिखो", "likhoo"),
        ("chhoti", "choti", "छोटी"),
    ],
)
def test_one_sound_has_one_skeleton(words: tuple[str, ...]) -> None:
    assert len({skeleton(word) for word in words}) == 1


def test_skeletons_tell_words_apart() -> None:
    words = ("video", "audio", "photo", "code", "proof", "लिखो", "बोलो", "देखो")
    assert len({skeleton(word) for word in words}) == len(words)


def test_buckets_are_the_same_everywhere() -> None:
    assert pieces("code")[:3] == [88061, 252997, 19552]


@given(st.text(max_size=60))
def test_any_word_has_a_bounded_number_of_buckets(word: str) -> None:
    found = pieces(word)
    assert found == pieces(word)
    assert 2 <= len(found) <= 3 * 4 * 60
    assert all(0 <= one < BUCKETS for one in found)


def test_the_ends_of_a_long_text_weigh_most() -> None:
    words, weights = weighed(read((Turn(role="user", text=" ".join(f"w{at}" for at in range(60))),)))
    assert len(words) == len(weights) == 60
    assert weights[0] == weights[-1] == 1.0
    assert weights[30] == INNER


def test_a_short_follow_up_is_read_with_what_was_said_before() -> None:
    turns = (Turn(role="user", text="write a haiku about rain"), Turn(role="user", text="shorter please"))
    words, weights = weighed(read(turns))
    assert words[:2] == ["shorter", "please"]
    assert "haiku" in words
    assert weights[words.index("haiku")] < weights[0]


def test_a_row_has_a_name_for_each_number() -> None:
    row = dict(zip(names(), looked("What is 3 + 4? See https://youtu.be/x").numbers, strict=False))
    assert row["a link to a video"] == 1.0
    assert row["questions"] > 0
    assert row["nothing attached"] == 1.0
    assert row["image attached"] == 0.0


def test_what_is_attached_shows_beside_the_rules() -> None:
    text = "make him speak"
    alone = dict(zip(names(), looked(text).numbers, strict=False))
    beside = dict(zip(names(), looked(text, Modality.IMAGE).numbers, strict=False))
    assert alone["rules for avatar, with image attached"] == 0.0
    assert beside["rules for avatar, with image attached"] == beside["rules for avatar"] > 0.0


def test_oddities_of_noise_differ_from_those_of_a_request() -> None:
    def odd(text: str) -> dict[str, float]:
        one = looked(text)
        told = LanguageTeller().tell(one.reading.words, one.reading.ask)
        return dict(zip(ODDITIES, one.oddities(told.language), strict=True))

    noise, request = odd("dGhpcyBpcyBiYXNlNjQgZGF0YQpxcXE0NDU1NTU1"), odd("Write a poem about the sea")
    assert noise["longest word"] > request["longest word"]
    assert request["a rule holds"] == 1.0
