"""Exactly one Outcome for every way out of a request, and what is in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from pointsman.cache.exact import NoCache
from pointsman.clock import Clock, SystemClock
from pointsman.errors import DeadlineExceeded, PlanExhausted, PointsmanError, Refused, RequestError, UpstreamError
from pointsman.gateway import Gateway
from pointsman.ledger.entry import Entry, Ledger
from pointsman.ledger.reading import STATUSES
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Attempt, Candidate, Outcome, Plan, Reply, Request, Signals, WhatIf, World

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
DONE = b"data: [DONE]\n\n"
BODY = b'{"choices":[{"message":{"content":"four"}}],"usage":{"prompt_tokens":9,"completion_tokens":4}}'
PLAN = Plan(
    candidates=(
        Candidate(deployment_id="small/1", model_id="small", score=0.9),
        Candidate(deployment_id="large/1", model_id="large", score=0.5),
    ),
    rejected=(),
    strategy="balanced",
    reason="small is enough",
)


class Kept:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.begun: list[Request] = []
        self.outcomes: list[Outcome] = []

    def opened(self, request: Request) -> None:
        self.begun.append(request)

    def closed(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Broken:
    """A sink with a defect."""

    def opened(self, request: Request) -> None:
        raise ValueError(request.id)

    def closed(self, outcome: Outcome) -> None:
        raise ValueError(outcome.request_id)


def tried(model_id: str = "small", error: str = "", clock: Clock | None = None) -> Attempt:
    started_s = (clock or SystemClock()).now()
    return Attempt(deployment_id=f"{model_id}/1", model_id=model_id, started_s=started_s, error=error)


async def stream_of(*chunks: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


def streamed(*chunks: bytes, error: BaseException | None = None) -> Reply:
    return Reply(status=200, content_type="text/event-stream", events=stream_of(*chunks, error=error))


def buffered(body: bytes = BODY, status: int = 200) -> Reply:
    return Reply(status=status, content_type="application/json", body=body)


def outcome_of(use: Callable[[Entry], Awaitable[object]], request: Request | None = None) -> Outcome:
    """The one Outcome of an entry used like that, whatever the use raises."""
    kept = Kept()
    ledger = Ledger(SystemClock(), (kept,), {"small": "Small 1B"})

    async def run() -> None:
        async with ledger.open(request or ask()) as entry:
            entry.measured(measured("code", p=0.8, prompt_tokens=20))
            entry.planned(PLAN)
            await use(entry)

    try:
        asyncio.run(run())
    except BaseException as error:
        if isinstance(error, AssertionError):
            raise
    assert len(kept.begun) == len(kept.outcomes) == 1
    assert ledger.statistics().in_flight == 0
    return kept.outcomes[0]


async def drain(reply: Reply) -> list[bytes]:
    assert reply.events is not None
    return [chunk async for chunk in reply.events]


def test_buffered_success() -> None:
    async def use(entry: Entry) -> None:
        entry.attempted(tried())
        assert entry.watch(buffered()).body == BODY

    outcome = outcome_of(use)
    assert (outcome.status, outcome.http_status, outcome.error) == ("success", 200, "")
    assert (outcome.usage.prompt_tokens, outcome.usage.completion_tokens, outcome.usage.is_estimated) == (9, 4, False)
    assert outcome.reply_bytes == len(BODY)
    assert not outcome.stream
    assert outcome.first_byte_s is not None
    assert outcome.first_byte_s <= outcome.total_s


def test_streamed_success_relays_every_byte() -> None:
    chunks = [EVENT, EVENT + EVENT, USAGE, DONE]

    async def use(entry: Entry) -> None:
        entry.attempted(tried())
        assert await drain(entry.watch(streamed(*chunks))) == chunks

    outcome = outcome_of(use)
    assert (outcome.status, outcome.stream, outcome.events) == ("success", True, 5)
    assert (outcome.usage.completion_tokens, outcome.usage.is_estimated) == (2, False)
    assert outcome.reply_bytes == sum(map(len, chunks))


@pytest.mark.parametrize(
    ("error", "status", "http_status", "code"),
    [
        (RequestError("no", code="context_length_exceeded"), "client_error", 400, "context_length_exceeded"),
        (Refused("busy", code="rate_limit_exceeded"), "refused", 429, "rate_limit_exceeded"),
        (Refused("busy"), "refused", 503, "queue_full"),
        (UpstreamError("gone", code="upstream_timeout"), "error", 504, "upstream_timeout"),
        (UpstreamError("no start", code="loading_failed"), "error", 503, "loading_failed"),
        (DeadlineExceeded("late"), "error", 504, "deadline_exceeded"),
        (PlanExhausted("all", attempts=()), "error", 502, "plan_exhausted"),
        (PointsmanError("odd", code="not in the table"), "error", 500, "internal_error"),
        (asyncio.CancelledError(), "client_closed", 499, ""),
        (GeneratorExit(), "client_closed", 499, ""),
        (ZeroDivisionError(), "error", 500, "internal_error"),
        (SystemExit(), "error", 500, "internal_error"),
    ],
)
def test_every_way_out_before_an_answer(error: BaseException, status: str, http_status: int, code: str) -> None:
    async def use(entry: Entry) -> None:
        entry.attempted(tried(error="upstream_unreachable"))
        raise error

    outcome = outcome_of(use)
    assert (outcome.status, outcome.http_status, outcome.error) == (status, http_status, code)
    assert outcome.status in STATUSES
    assert len(outcome.attempts) == 1
    assert outcome.usage.total_tokens == 0


def test_leaving_without_a_reply_is_a_defect() -> None:
    async def use(entry: Entry) -> None:
        assert "nobody yet" in repr(entry)

    assert outcome_of(use).error == "internal_error"


def test_error_inside_the_events() -> None:
    async def use(entry: Entry) -> None:
        entry.attempted(tried())
        await drain(entry.watch(streamed(EVENT, error=UpstreamError("cut", code="upstream_cut"))))

    outcome = outcome_of(use)
    assert (outcome.status, outcome.http_status, outcome.error) == ("error", 200, "upstream_cut")
    assert outcome.events == 1


def test_error_inside_the_events_that_someone_caught() -> None:
    async def use(entry: Entry) -> None:
        entry.attempted(tried())
        with pytest.raises(UpstreamError):
            await drain(entry.watch(streamed(EVENT, error=UpstreamError("cut", code="upstream_cut"))))

    assert outcome_of(use).error == "upstream_cut"


def test_error_before_the_first_event_keeps_its_status() -> None:
    async def use(entry: Entry) -> None:
        await drain(entry.watch(streamed(error=UpstreamError("cut", code="upstream_cut"))))

    assert outcome_of(use).http_status == 502


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (b'data: {"error":{"message":"m","type":"t","code":"upstream_timeout"}}\n\n', "upstream_timeout"),
        (b'data: {"error": {"message": "m", "code": 500}}\n\n', "upstream_error"),
        (b'data: {"error":"out of memory"}\n\n', "upstream_error"),
        (b'event: error\ndata: {"error":{"code":"unheard of"}}\n\n', "upstream_error"),
    ],
)
def test_terminal_error_event(last: bytes, code: str) -> None:
    async def use(entry: Entry) -> None:
        await drain(entry.watch(streamed(EVENT, last)))

    outcome = outcome_of(use)
    assert (outcome.status, outcome.http_status, outcome.error) == ("error", 200, code)


def test_the_word_error_in_an_answer_is_none() -> None:
    said = b'data: {"choices":[{"delta":{"content":"say \\"error\\" twice: \\"error\\""}}],"error":null}\n\n'

    async def use(entry: Entry) -> None:
        await drain(entry.watch(streamed(said, DONE)))

    assert outcome_of(use).status == "success"


def test_reader_that_stops_early() -> None:
    async def use(entry: Entry) -> None:
        reply = entry.watch(streamed(EVENT, EVENT, DONE))
        assert reply.events is not None
        assert await anext(reply.events) == EVENT

    outcome = outcome_of(use)
    assert (outcome.status, outcome.http_status, outcome.events) == ("client_closed", 499, 1)


def test_cancelled_while_waiting_for_an_event() -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield EVENT
        await asyncio.sleep(60)

    async def use(entry: Entry) -> None:
        reply = entry.watch(Reply(status=200, content_type="text/event-stream", events=stuck()))
        asyncio.get_running_loop().call_later(0.05, asyncio.current_task().cancel)  # type: ignore[union-attr]  # runs in one
        await drain(reply)

    outcome = outcome_of(use)
    assert (outcome.status, outcome.events) == ("client_closed", 1)
    assert outcome.upstream_s >= 0.04


def test_client_that_leaves_after_the_last_event_got_everything() -> None:
    async def use(entry: Entry) -> None:
        reply = entry.watch(streamed(EVENT, DONE))
        assert reply.events is not None
        assert [await anext(reply.events), await anext(reply.events)] == [EVENT, DONE]
        raise asyncio.CancelledError

    assert outcome_of(use).status == "success"


def test_relayed_error_status() -> None:
    async def use(entry: Entry) -> None:
        entry.watch(buffered(b'{"error":{}}', status=422))

    outcome = outcome_of(use)
    assert (outcome.status, outcome.http_status, outcome.error) == ("client_error", 422, "upstream_rejected")


def test_written_once_though_left_twice() -> None:
    async def run() -> list[Outcome]:
        kept = Kept()
        entry = Ledger(SystemClock(), (kept,), {}).open(ask())
        async with entry:
            entry.watch(buffered())
        await entry.__aexit__(None, None, None)
        return kept.outcomes

    assert len(asyncio.run(run())) == 1


def test_a_broken_sink_changes_nothing() -> None:
    kept = Kept()
    ledger = Ledger(SystemClock(), (Broken(), kept), {})

    async def run() -> None:
        async with ledger.open(ask()):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert [outcome.status for outcome in kept.outcomes] == ["client_closed"]
    statistics = ledger.statistics()
    assert (statistics.sink_failures, statistics.last_sink_failure) == (2, "Broken: ValueError")


def test_metadata_names_who_answered() -> None:
    async def use(entry: Entry) -> None:
        entry.attempted(tried("small", error="upstream_timeout"))
        entry.attempted(tried("large"))
        metadata = entry.watch(buffered()).metadata
        assert metadata is not None
        assert (metadata.model_id, metadata.model_name) == ("large", "large")
        assert (metadata.fallback_used, metadata.attempts) == (True, 2)
        assert (metadata.intent, metadata.use_case, metadata.language) == ("code", "agent", "en")
        assert (metadata.complexity, metadata.confidence) == ("medium", 0.8)
        assert (metadata.cache, metadata.experiment, metadata.request_id) == ("bypass", None, "r1")

    outcome_of(use)


def test_another_instance_of_the_same_model_is_no_fallback() -> None:
    async def use(entry: Entry) -> None:
        entry.attempted(tried("small", error="upstream_timeout"))
        entry.attempted(tried("small"))
        metadata = entry.watch(buffered()).metadata
        assert metadata is not None
        assert (metadata.model_name, metadata.fallback_used, metadata.attempts) == ("Small 1B", False, 2)

    outcome_of(use)


@pytest.mark.parametrize(
    ("body", "prompt", "completion", "is_estimated"),
    [
        (b'{"usage":{"input_tokens":3,"output_tokens":5}}', 3, 5, False),
        (b'{"usage":{"prompt_tokens":3,"total_tokens":3}}', 3, 0, False),
        (b'{"usage":null,"choices":[{"message":{"content":"12345678"}}]}', 20, 2, True),
        (b'{"choices":[{"text":"1234567890"}]}', 20, 3, True),
        (b'{"usage":{"prompt_tokens":"many"}}', 20, 0, True),
        (b"not json", 20, 0, True),
        (b"\xff\xfe", 20, 0, True),
        (b'{"usage":{"prompt_tokens":9,"completion_tokens":-4}}', 20, 0, True),  # a counter only goes up
    ],
)
def test_usage_reported_or_estimated(body: bytes, prompt: int, completion: int, is_estimated: bool) -> None:
    async def use(entry: Entry) -> None:
        entry.watch(buffered(body))

    usage = outcome_of(use).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.is_estimated) == (prompt, completion, is_estimated)


@pytest.mark.parametrize(
    ("chunks", "completion", "is_estimated"),
    [
        ((EVENT, b'data: {"usage":null}\n\n', USAGE + DONE), 2, False),
        ((b'data: {"choices":[],"usage":null}\n\n' + USAGE + DONE,), 2, False),
        ((USAGE, b'data: {"usage": null}\n\n', DONE), 2, False),
        ((EVENT, EVENT, EVENT, EVENT, DONE), 2, True),
        ((b'data: {"usage":"broken"}\n\n', DONE), 0, True),
    ],
)
def test_usage_of_streams(chunks: tuple[bytes, ...], completion: int, is_estimated: bool) -> None:
    async def use(entry: Entry) -> None:
        await drain(entry.watch(streamed(*chunks)))

    usage = outcome_of(use).usage
    assert (usage.completion_tokens, usage.is_estimated) == (completion, is_estimated)


def test_a_stream_of_audio_has_no_events_to_read() -> None:
    async def use(entry: Entry) -> None:
        audio = stream_of(b'\x00"error"\x00', b'"usage"')
        await drain(entry.watch(Reply(status=200, content_type="audio/wav", events=audio)))

    outcome = outcome_of(use)
    assert (outcome.status, outcome.events, outcome.usage.completion_tokens) == ("success", 2, 0)


def test_overhead_leaves_out_queue_and_upstream() -> None:
    async def use(entry: Entry) -> None:
        attempt = tried()
        await asyncio.sleep(0.5)
        entry.attempted(Attempt(**{f: getattr(attempt, f) for f in attempt.__struct_fields__} | {"wait_s": 0.02}))
        await drain(entry.watch(streamed(EVENT, DONE)))

    outcome = outcome_of(use)
    assert outcome.wait_s == 0.02
    assert 0.4 <= outcome.upstream_s <= outcome.total_s - 0.02
    assert outcome.overhead_s < 0.2


def test_overhead_leaves_out_the_pause_before_a_retry() -> None:
    async def use(entry: Entry) -> None:
        entry.attempted(tried(error="upstream_unreachable"))
        await asyncio.sleep(0.5)
        entry.attempted(tried())
        entry.watch(buffered())

    outcome = outcome_of(use)
    assert outcome.total_s >= 0.5
    assert outcome.overhead_s < 0.2
    assert outcome.upstream_s < 0.2


class Fixed:
    """A classifier, a second stage, a router and a dispatch with one answer."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def measure(self, request: Request) -> Signals:
        return measured()

    async def refine(self, request: Request, signals: Signals) -> Signals:
        return signals

    def what_if(self, request: Request, signals: Signals, world: World) -> tuple[WhatIf, ...]:
        return ()

    def decide(self, request: Request, signals: Signals, world: World) -> Plan:
        return PLAN

    @asynccontextmanager
    async def admit(self, request: Request) -> AsyncIterator[None]:
        yield

    async def count(self, request: Request) -> None:
        """Everybody may."""

    @asynccontextmanager
    async def run(self, request: Request, plan: Plan, entry: object) -> AsyncIterator[Reply]:
        yield self.reply


def test_in_the_corridor_a_generator_closed_early_is_a_client_that_left() -> None:
    kept = Kept()

    async def run() -> None:
        fixed = Fixed(streamed(EVENT, EVENT, DONE))
        ledger = Ledger(SystemClock(), (kept,), {})
        gateway = Gateway(fixed, fixed, fixed, fixed, fixed, ledger, lambda _: world(hot("small")), NoCache())

        async def answer() -> AsyncIterator[bytes]:
            async with gateway.answer(ask()) as reply:
                assert reply.events is not None
                async for chunk in reply.events:
                    yield chunk

        generator = answer()
        async with aclosing(generator):  # type: ignore[type-var]  # an async generator, seen as an iterator
            assert await anext(generator) == EVENT

    asyncio.run(run())
    assert [outcome.status for outcome in kept.outcomes] == ["client_closed"]
