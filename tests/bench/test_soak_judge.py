"""The soak's judge: strict about every byte, or its verdict is worth nothing."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from bench.fleet.clients import Ending, Question, Told, ask, judged
from bench.fleet.serving import Ended
from bench.fleet.soak import Findings, Plan, Sample, question

HEAD = "HTTP/1.1 {status} X\r\ncontent-type: x\r\n"
FINE = Sample(engines_bytes=1, gateway_bytes=1, booked_bytes=1, ready=1, in_flight=1, queued=1)
FINE_END = Ended(code=0, took_s=0.1, left=())


def plain(status: int, document: object, extra: str = "", *, cut: int = 0) -> bytes:
    body = json.dumps(document)
    head = HEAD.format(status=status) + f"content-length: {len(body)}\r\n{extra}\r\n"
    return (head + body[: len(body) - cut]).encode()


def chunked(*events: str, tail: str = "0\r\n\r\n") -> bytes:
    pieces = "".join(f"{len(event):x}\r\n{event}\r\n" for event in events)
    return (HEAD.format(status=200) + f"transfer-encoding: chunked\r\n\r\n{pieces}{tail}").encode()


def error(code: str, kind: str = "overloaded_error") -> dict[str, object]:
    return {"error": {"message": "no", "type": kind, "param": None, "code": code}}


ANSWER = {"choices": [{"message": {"content": "Hi"}}]}
DELTA = f"data: {json.dumps(ANSWER)}\n\n"
DONE = "data: [DONE]\n\n"
FAILED = f"data: {json.dumps(error('upstream_cut', 'upstream_error'))}\n\n"


@pytest.mark.parametrize(
    ("raw", "is_stream", "ending", "code"),
    [
        (plain(200, ANSWER), False, Ending.ANSWERED, ""),
        (plain(503, error("queue_full"), "Retry-After: 2\r\n"), False, Ending.REFUSED, "queue_full"),
        (plain(503, error("queue_full"), "Retry-After: 2\r\n"), True, Ending.REFUSED, "queue_full"),
        (chunked(DELTA, DELTA, DONE), True, Ending.ANSWERED, ""),
        (chunked(DELTA, ": ping\n\n", DONE), True, Ending.ANSWERED, ""),
        (chunked(DELTA, FAILED), True, Ending.CUT, "upstream_cut"),
    ],
)
def test_what_is_an_end(raw: bytes, is_stream: bool, ending: Ending, code: str) -> None:
    assert judged(raw, is_stream=is_stream)[:2] == (ending, code)


@pytest.mark.parametrize(
    ("raw", "is_stream", "why"),
    [
        (b"", False, "before the end of the headers"),
        (b"HTTP/1.1 200 OK\r\n", False, "before the end of the headers"),
        (plain(200, ANSWER, cut=1), False, "bytes of a body"),
        (plain(200, ANSWER) + b"x", False, "bytes of a body"),
        (plain(200, ANSWER) + plain(200, ANSWER), False, "bytes of a body"),
        (plain(200, {"choices": []}), False, "without choices"),
        (plain(200, error("queue_full")), False, "KeyError"),
        (plain(503, error("queue_full")), False, "without Retry-After"),
        (plain(500, error("queue_full")), False, "are not those of queue_full"),
        (plain(503, error("queue_full", "server_error")), False, "are not those of queue_full"),
        (plain(503, error("of_my_own")), False, "unknown code"),
        (plain(502, "Bad gateway"), False, "TypeError"),
        (chunked(DELTA, DONE, tail=""), True, "within a chunked body"),
        (chunked(DELTA, DONE, tail="0\r\n\r\nx"), True, "after the end"),
        (chunked(DELTA), True, "must end with its one error event"),
        (chunked(DONE), True, "yet empty"),
        (chunked(DELTA, FAILED, DONE), True, "yet empty or with an error"),
        (chunked(DELTA, FAILED, FAILED), True, "must end with its one error event"),
        (chunked(FAILED, DELTA), True, "must end with its one error event"),
        (chunked(DELTA, "data: {"), True, "within an event"),
    ],
)
def test_what_is_none(raw: bytes, is_stream: bool, why: str) -> None:
    ending, code, said = judged(raw, is_stream=is_stream)
    assert (ending, code) == (Ending.WRONG, "")
    assert why in said


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def asked(answer: Answer, **changes: object) -> Told:
    """One question to a server of one's own."""

    async def exchange() -> Told:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            one = Question(model="m", body=b"{}", is_stream=True, limit_s=0.3)
            fields = {name: getattr(one, name) for name in one.__dataclass_fields__} | changes
            told = await ask(port, Question(**fields))
            await asyncio.sleep(0.05)  # the server hears of it
            return told

    return asyncio.run(exchange())


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n{}")
    writer.write(chunked(DELTA, DONE))
    writer.close()


async def _dawdles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(chunked(DELTA, tail=""))
    with suppress(ConnectionError):
        await reader.read()
    writer.close()


def test_callers_are_answered_or_leave_or_say_that_nothing_came() -> None:
    assert asked(_answers).ending is Ending.ANSWERED
    assert asked(_dawdles, leave_s=0.05).ending is Ending.LEFT
    assert asked(_dawdles, leaves_mid_stream=True).ending is Ending.LEFT
    assert asked(_dawdles).why.startswith("no end within")


def findings(told: list[Told], sample: Sample = FINE, ended: Ended = FINE_END, outcomes: int = 1) -> list[str]:
    found = Findings(budget_bytes=10, told=told, samples=[FINE, sample], ended=ended)
    found.statistics = {"total_requests": outcomes}
    return found.violations()


def test_each_violation_is_found() -> None:
    fine = [Told(Ending.ANSWERED)]
    assert findings(fine) == []
    assert "m: no end" in findings([Told(Ending.WRONG, why="no end", model="m")])[0]
    assert "internal_error" in findings([Told(Ending.REFUSED, code="internal_error")])[0]
    for sample, said in (
        (Sample(11, 1, 1, 1, 1, 1), "more than the budget"),
        (Sample(1, 1, 11, 1, 1, 1), "above the budget"),
        (Sample(1, 1, 1, 1, 1, 1, crowded=("a",)), "more leases than slots"),
        (Sample(1, 10**9, 1, 1, 1, 1), "the gateway grew"),
    ):
        assert said in findings(fine, sample)[0]
    assert "children left: (7,)" in findings(fine, ended=Ended(0, 0.1, (7,)))[0]
    assert "exit code None" in findings(fine, ended=Ended(None, 30, ()))[0]
    assert "0 outcomes of 1" in findings(fine, outcomes=0)[0]
    assert "2 outcomes of 1" in findings(fine, outcomes=2)[0]


def test_questions_are_of_every_kind_and_the_same_for_the_same_seed() -> None:
    import random

    some = [question(Plan(), random.Random(number)) for number in range(400)]
    assert some == [question(Plan(), random.Random(number)) for number in range(400)]
    assert {"auto", "no-such-model", "soak-0", "soak-7"} <= {one.model for one in some}
    assert {one.is_stream for one in some} == {one.leaves_mid_stream for one in some} == {True, False}
    assert 0.05 < sum(one.leave_s is not None for one in some) / 400 < 0.3
