"""A verdict finds its request, however early or late, and counts once."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.ledger.test_record import outcome

from pointsman.clock import SystemClock
from pointsman.errors import Refused, RequestError
from pointsman.ledger.cost import Prices
from pointsman.ledger.feedback import Desk, Taken
from pointsman.ledger.recorder import Keeping, Recorder
from pointsman.ledger.store.base import Query, Verdict
from pointsman.ledger.store.sql import SqlStore
from pointsman.ledger.store.sqlite import Sqlite
from pointsman.testing.decisions import ask
from pointsman.types import Outcome, Request
from pointsman.types_feedback import Feedback, Judged


class Heard:
    """A sink of verdicts."""

    def __init__(self) -> None:
        self.judged_s: list[Judged] = []

    def judged(self, judged: Judged) -> None:
        self.judged_s.append(judged)

    @property
    def values(self) -> list[tuple[float, float | None]]:
        return [(one.feedback.value, one.replaces) for one in self.judged_s]


def asked(request_id: str = "r1", tenant: str = "") -> Request:
    return replace(ask(request_id=request_id), tenant=tenant)


def ended(request_id: str = "r1", tenant: str = "") -> Outcome:
    return replace(outcome(), request_id=request_id, tenant=tenant, received_unix_s=SystemClock().unix())


def said(value: float, request_id: str = "r1", tenant: str = "", source: str = "thumbs") -> Verdict:
    return Verdict(feedback=Feedback(request_id=request_id, value=value, source=source, tenant=tenant))


def desk_of(recorder: Recorder | None = None) -> tuple[Desk, Heard]:
    desk, heard = Desk(recorder), Heard()
    desk.subscribe(heard)
    return desk, heard


def recorder_at(path: Path) -> Recorder:
    store = SqlStore(Sqlite(path, 0.05))
    return Recorder(store, lambda: Prices(()), lambda: Keeping(days=30, rows=99), SystemClock(), lambda _up, _why: None)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A store in which an earlier process left one request, `r1` of tenant `t`."""

    async def scene() -> None:
        recorder = recorder_at(tmp_path / "ledger.sqlite")
        recorder.closed(ended(tenant="t"))
        await recorder.close()

    asyncio.run(scene())
    return tmp_path / "ledger.sqlite"


def test_a_verdict_is_joined_to_what_it_is_about() -> None:
    desk, heard = desk_of()
    desk.opened(asked())
    desk.closed(ended())
    assert asyncio.run(desk.give(said(1.0))) is Taken.RECORDED
    (judged,) = heard.judged_s
    assert (judged.model_id, judged.intent, judged.use_case, judged.language) == ("large", "code", "agent", "en")
    assert judged.assignment is not None
    assert judged.assignment.experiment == "size"
    assert judged.feedback == said(1.0).feedback


def test_the_same_again_changes_nothing_and_another_replaces_it() -> None:
    async def scene() -> None:
        desk, heard = desk_of()
        desk.opened(asked())
        desk.closed(ended())
        taken = [await desk.give(verdict) for verdict in (said(1.0), said(1.0), said(0.0), said(0.5, source="score"))]
        assert taken == [Taken.RECORDED, Taken.UNCHANGED, Taken.CHANGED, Taken.RECORDED]
        assert heard.values == [(1.0, None), (0.0, 1.0), (0.5, None)]

    asyncio.run(scene())


def test_a_verdict_before_the_answer_has_ended_waits_for_it() -> None:
    async def scene() -> None:
        desk, heard = desk_of()
        desk.opened(asked())
        assert await desk.give(said(0.0)) is Taken.AWAITED
        assert await desk.give(said(1.0)) is Taken.AWAITED
        assert heard.values == []
        desk.closed(ended())
        assert heard.values == [(1.0, None)]
        assert await desk.give(said(1.0)) is Taken.UNCHANGED

    asyncio.run(scene())


@pytest.mark.parametrize("verdict", [said(1.0, "other"), said(1.0, tenant="else")])
def test_nobody_judges_what_he_did_not_ask(verdict: Verdict) -> None:
    desk, heard = desk_of()
    desk.opened(asked(tenant="t"))
    desk.closed(ended(tenant="t"))
    with pytest.raises(RequestError) as refused:
        asyncio.run(desk.give(verdict))
    assert (refused.value.code, refused.value.http_status, heard.values) == ("not_found", 404, [])


def test_after_a_restart_the_store_knows(kept: Path) -> None:
    async def scene() -> None:
        recorder = recorder_at(kept)
        desk, heard = desk_of(recorder)
        taken = [await desk.give(said(value, tenant="t")) for value in (1.0, 1.0, 0.0)]
        assert taken == [Taken.RECORDED, Taken.UNCHANGED, Taken.CHANGED]
        assert heard.values == [(1.0, None), (0.0, 1.0)]
        assert (heard.judged_s[0].model_id, heard.judged_s[0].intent) == ("large", "code")
        assert heard.judged_s[0].assignment is not None
        with pytest.raises(RequestError):
            await desk.give(said(1.0))
        assert [row.feedback for row in await recorder.read(Query())] == [0.0]
        await recorder.close()

    asyncio.run(scene())


def test_what_memory_joins_is_kept_too(tmp_path: Path) -> None:
    async def scene() -> None:
        recorder = recorder_at(tmp_path / "ledger.sqlite")
        desk, _ = desk_of(recorder)
        desk.opened(asked())
        recorder.closed(ended())
        desk.closed(ended())
        assert await desk.give(said(0.25, source="score")) is Taken.RECORDED
        await recorder.close()
        (row,) = await recorder.read(Query())
        assert (row.feedback, row.feedback_source) == (0.25, "score")

    asyncio.run(scene())


def test_a_dead_store_refuses_only_what_it_alone_could_know(tmp_path: Path) -> None:
    async def scene() -> None:
        (tmp_path / "ledger.sqlite").write_bytes(b"no database" * 1000)
        recorder = recorder_at(tmp_path / "ledger.sqlite")
        desk, heard = desk_of(recorder)
        desk.opened(asked())
        desk.closed(ended())
        assert await desk.give(said(1.0)) is Taken.RECORDED
        with pytest.raises(Refused) as refused:
            await desk.give(said(1.0, "long ago"))
        assert refused.value.code == "ledger_unavailable"
        assert heard.values == [(1.0, None)]
        await recorder.close()

    asyncio.run(scene())


def test_memory_is_bounded() -> None:
    desk = Desk(kept=20)
    for number in range(70):
        desk.opened(asked(f"r{number}"))
        desk.closed(ended(f"r{number}"))
    assert repr(desk) == "Desk(20 of 20 requests)"
    with pytest.raises(RequestError):
        asyncio.run(desk.give(said(1.0, "r0")))


def test_an_id_used_twice_means_the_answer_that_ended_last() -> None:
    async def scene() -> None:
        desk, heard = desk_of()
        for _ in range(2):
            desk.opened(asked())
            desk.closed(ended())
            await desk.give(said(1.0))
        assert heard.values == [(1.0, None), (1.0, None)]

    asyncio.run(scene())
