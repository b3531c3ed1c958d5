"""What is kept, found and forgotten; for whom; and what breaks."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from pointsman.errors import Refused, RequestError
from pointsman.rag.fuse import fused
from pointsman.rag.shelf import Shelf
from pointsman.types_rag import Document, Exchange, Moment, Query

T = TypeVar("T")
MARCH, MAY = 1_772_323_200.0, 1_777_593_600.0


def on_a_shelf(path: Path, act: Callable[[Shelf], Awaitable[T]], most: int = 100, remember: int = 2) -> T:
    async def run() -> T:
        shelf = Shelf(path / "shelf.sqlite", most, remember)
        try:
            return await act(shelf)
        finally:
            await shelf.close()

    return asyncio.run(run())


def vector(*numbers: float) -> bytes:
    return np.array(numbers, np.float32).tobytes()


async def stocked(shelf: Shelf) -> None:
    rules = [Moment(text="Trains halt at red signals."), Moment(text="Brakes are tested daily.")]
    await shelf.keep("a", Document(id="rules", title="Rules", published_unix_s=MARCH), rules, None)
    film = [Moment(text="The whistle blows.", start_s=3.0, end_s=5.0)]
    await shelf.keep("a", Document(id="film", kind="video", published_unix_s=MAY), film, [vector(1, 0)])
    hindi = [Moment(text="गाड़ी लाल सिग्नल पर रुकती है।"), Moment(text="किताब मेज़ पर है।")]
    await shelf.keep("a", Document(id="hindi", published_unix_s=MAY), hindi, [vector(0, 1), vector(0.6, 0.8)])
    await shelf.keep("b", Document(id="secret", published_unix_s=MAY), [Moment(text="red signals of another")], None)


def texts(path: Path, query: Query, vector: bytes | None = None, tenant: str = "a") -> list[str]:
    async def act(shelf: Shelf) -> list[str]:
        await stocked(shelf)
        return [found.moment.text for found in await shelf.find(tenant, query, vector)]

    return on_a_shelf(path, act)


def test_words_find_what_shares_them_and_no_other_tenant_s(tmp_path: Path) -> None:
    assert texts(tmp_path, Query(text="red signals?")) == ["Trains halt at red signals."]


def test_vowel_signs_are_parts_of_words(tmp_path: Path) -> None:
    assert texts(tmp_path, Query(text="किताब")) == ["किताब मेज़ पर है।"]
    assert texts(tmp_path, Query(text="कतब")) == []


def test_meaning_finds_what_shares_no_word(tmp_path: Path) -> None:
    assert texts(tmp_path, Query(text="zzz", top=1), vector(1, 0)) == ["The whistle blows."]


def test_what_both_orders_name_comes_first(tmp_path: Path) -> None:
    assert texts(tmp_path, Query(text="किताब whistle"), vector(0.6, 0.8))[0] == "किताब मेज़ पर है।"


def test_times_are_kept_to(tmp_path: Path) -> None:
    assert texts(tmp_path, Query(text="red whistle", since_unix_s=MARCH + 1)) == ["The whistle blows."]
    assert texts(tmp_path, Query(text="red whistle", until_unix_s=MAY)) == ["Trains halt at red signals."]


def test_a_film_s_moment_keeps_its_time(tmp_path: Path) -> None:
    async def act(shelf: Shelf) -> tuple[float | None, str]:
        await stocked(shelf)
        (found,) = await shelf.find("a", Query(text="whistle"), None)
        return found.moment.start_s, found.document.kind

    assert on_a_shelf(tmp_path, act) == (3.0, "video")


def test_a_document_is_replaced_whole_and_outlasts_the_process(tmp_path: Path) -> None:
    on_a_shelf(tmp_path, stocked)

    async def again(shelf: Shelf) -> list[str]:
        await shelf.keep("a", Document(id="rules"), [Moment(text="Signals are green now.")], None)
        return [found.moment.text for found in await shelf.find("a", Query(text="red signals"), None)]

    assert on_a_shelf(tmp_path, again) == ["Signals are green now."]


def test_forgotten_is_gone_from_both_orders(tmp_path: Path) -> None:
    async def act(shelf: Shelf) -> int:
        await stocked(shelf)
        await shelf.forget("a", "", "film")
        with pytest.raises(RequestError, match="no document `film`"):
            await shelf.forget("a", "", "film")
        found = await shelf.find("a", Query(text="whistle"), vector(1, 0))
        return sum(one.document.id == "film" for one in found)

    assert on_a_shelf(tmp_path, act) == 0


def test_a_full_shelf_says_so_and_keeps_what_it_had(tmp_path: Path) -> None:
    async def act(shelf: Shelf) -> tuple[str, ...]:
        await shelf.keep("a", Document(id="one"), [Moment(text="x")] * 3, None)
        with pytest.raises(Refused, match="most_passages"):
            await shelf.keep("a", Document(id="one"), [Moment(text="y")] * 4, None)
        await shelf.keep("b", Document(id="other"), [Moment(text="y")] * 3, None)
        return tuple(found.moment.text for found in await shelf.find("a", Query(text="x y"), None))

    assert on_a_shelf(tmp_path, act, most=3) == ("x", "x", "x")


def test_conversations_are_kept_apart_and_short(tmp_path: Path) -> None:
    async def act(shelf: Shelf) -> list[list[str]]:
        for number in range(4):
            await shelf.remember("a", "c", Exchange(question=f"q{number}", answer="a"), float(number))
        kept = [await shelf.exchanges(tenant, "c") for tenant in ("a", "b")]
        return [[one.question for one in exchanges] for exchanges in kept]

    assert on_a_shelf(tmp_path, act) == [["q2", "q3"], []]


def test_a_file_that_is_no_shelf_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "shelf.sqlite").write_bytes(b"no database at all" * 100)

    async def act(shelf: Shelf) -> None:
        with pytest.raises(Refused, match="cannot be used"):
            await shelf.documents("a", "")

    on_a_shelf(tmp_path, act)


@pytest.mark.parametrize("question", ['"', "NEAR(a b)", "a* OR b:", "' OR 1=1 --", "", "-", "\x00"])
def test_no_question_is_a_query_language(question: str, tmp_path: Path) -> None:
    texts(tmp_path, Query(text=question))


def test_fusing_prefers_what_many_orders_name() -> None:
    assert [one for one, _ in fused([1, 2, 3], [3, 4], [3])] == [3, 1, 2, 4]
