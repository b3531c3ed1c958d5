"""One line a request, nothing private in it, and a stuck standard error stalls nobody."""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterator

import msgspec
import pytest

from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError
from pointsman.ledger.cost import Prices
from pointsman.ledger.entry import Ledger, Sink
from pointsman.ledger.lines import Event, RequestLine
from pointsman.ledger.log import Log
from pointsman.ledger.writer import LineWriter
from pointsman.policy.catalogue import cards_of
from pointsman.settings import parse
from pointsman.testing.decisions import ask, measured
from pointsman.types import Assignment, Attempt, Candidate, Outcome, Plan, Reply, Request, Scored, Signals

SECRET = "my-daughter's-diagnosis"
PLAN = Plan(
    candidates=(Candidate(deployment_id="small/1", model_id="small", score=1.0),),
    rejected=(),
    strategy="balanced",
    reason=f"because of {SECRET}",
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)
    os.close(write_end)


def private_signals() -> Signals:
    plain = measured("code", p=0.83)
    evidence = Scored(label="code", p=0.83, evidence=(SECRET,))
    return msgspec.structs.replace(plain, intent=evidence)


class Kept:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def closed(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


async def serve(
    log: Log, request: Request, error: Exception | None = None, plan: Plan = PLAN, others: tuple[Sink, ...] = ()
) -> None:
    """One request whose prompt, evidence, answer and failing attempt all hold the secret."""
    async with Ledger(SystemClock(), (log, *others), {}).open(request) as entry:
        entry.measured(private_signals())
        entry.planned(plan)
        now_s = SystemClock().now()
        failed = Attempt(
            deployment_id="small/1", model_id="small", started_s=now_s, error="upstream_error", detail=f"no: {SECRET}"
        )
        entry.attempted(failed)
        if error is not None:
            raise error
        entry.attempted(Attempt(deployment_id="large/1", model_id="large", started_s=now_s, first_byte_s=now_s + 0.25))
        body = f'{{"choices":[{{"message":{{"content":"{SECRET}"}}}}]}}'.encode()
        entry.watch(Reply(status=200, content_type="application/json", body=body))


def written(pipe: tuple[int, int], log: Log) -> str:
    log.close()
    return os.read(pipe[0], 1 << 16).decode()


def test_the_canonical_line(pipe: tuple[int, int]) -> None:
    log = Log(LineWriter(pipe[1]), SystemClock())
    asyncio.run(serve(log, ask(SECRET, request_id="req_7")))
    text = written(pipe, log)
    assert text.count("\n") == 1
    assert SECRET not in text
    line = json.loads(text)
    assert tuple(line) == RequestLine.__struct_fields__
    assert (line["event"], line["level"], line["request_id"], line["status"]) == ("request", "info", "req_7", "success")
    assert (line["asked_model"], line["model"], line["fallback_from"]) == ("auto", "large", "small")
    assert (line["use_case"], line["intent"], line["intent_p"], line["language"]) == ("agent", "code", 0.83, "en")
    assert [(a["deployment"], a["error"]) for a in line["attempts"]] == [("small/1", "upstream_error"), ("large/1", "")]
    assert line["attempts"][1]["first_byte_s"] == 0.25
    assert line["ts"].endswith("Z")
    assert line["tokens_estimated"]
    assert (line["experiment"], line["arm"], line["cost"]) == (None, None, None)


def test_the_line_tells_the_arm_and_what_it_cost(pipe: tuple[int, int]) -> None:
    cards = cards_of(parse("models: [{id: large, backend: openai, url: 'http://a', cost_per_mtok: 2.5}]"))
    assignment = Assignment(experiment="pair", arm="small", propensity=0.5)
    plan = msgspec.structs.replace(PLAN, assignment=assignment)
    log = Log(LineWriter(pipe[1]), SystemClock(), cost=Prices(cards).cost)
    kept = Kept()

    async def scene() -> None:
        await serve(log, ask(SECRET), plan=plan, others=(kept,))
        with pytest.raises(UpstreamError):
            await serve(log, ask(SECRET), error=UpstreamError("no"), others=(kept,))

    asyncio.run(scene())
    lines = [json.loads(line) for line in written(pipe, log).splitlines()]
    assert [(line["experiment"], line["arm"]) for line in lines] == [("pair", "small"), (None, None)]
    tokens = lines[0]["prompt_tokens"] + lines[0]["completion_tokens"]
    assert [line["cost"] for line in lines] == pytest.approx([tokens * 2.5e-6, 0.0])
    assert [line["cost"] for line in lines] == [Prices(cards).spent(outcome).cost for outcome in kept.outcomes]
    assert lines[0]["cost"] > 0


def test_an_error_is_a_code_and_no_more(pipe: tuple[int, int]) -> None:
    log = Log(LineWriter(pipe[1]), SystemClock())
    with pytest.raises(UpstreamError):
        asyncio.run(serve(log, ask(SECRET), error=UpstreamError(f"quoting {SECRET}", code="upstream_timeout")))
    text = written(pipe, log)
    assert SECRET not in text
    line = json.loads(text)
    assert (line["level"], line["status"], line["http_status"]) == ("error", "error", 504)
    assert line["error"] == "upstream_timeout"


def test_names_a_caller_chooses_cannot_fill_the_log(pipe: tuple[int, int]) -> None:
    log = Log(LineWriter(pipe[1]), SystemClock())
    asyncio.run(serve(log, ask(model="m" * 100_000, request_id='a"\n' * 1000)))
    text = written(pipe, log)
    assert len(text) < 2500
    assert text.count("\n") == 1


def test_for_a_person(pipe: tuple[int, int]) -> None:
    log = Log(LineWriter(pipe[1]), SystemClock(), human=True)
    asyncio.run(serve(log, ask(SECRET, model="a\x1b[2Jb\nc", request_id="req_7")))
    log.event(Event(name="model_loaded", message="small is ready", details=(("load_s", 0.7),)))
    text = written(pipe, log)
    request, event = text.splitlines()
    assert "large ← a?[2Jb?c" in request
    assert "agent/code en medium" in request
    assert "~20→6 tokens" in request
    assert "2 attempts" in request
    assert "req_7" in request
    assert "model_loaded" in event
    assert "load_s=0.7" in event
    assert SECRET not in text


def test_events_and_levels(pipe: tuple[int, int]) -> None:
    log = Log(LineWriter(pipe[1]), SystemClock(), level="warning")
    asyncio.run(serve(log, ask()))
    log.event(Event(name="quiet"))
    log.event(Event(name="child_exited", level="error", message="small ended", details=(("code", -9), ("log", None))))
    line = json.loads(written(pipe, log))
    assert tuple(line) == ("ts", "level", "event", "message", "code", "log")
    assert (line["event"], line["code"]) == ("child_exited", -9)


def test_requests_can_be_left_out(pipe: tuple[int, int]) -> None:
    log = Log(LineWriter(pipe[1]), SystemClock(), requests=False)
    asyncio.run(serve(log, ask()))
    log.event(Event(name="server_started"))
    assert json.loads(written(pipe, log))["event"] == "server_started"


def test_a_defect_is_named_by_its_place(pipe: tuple[int, int]) -> None:
    log = Log(LineWriter(pipe[1]), SystemClock())
    try:
        int(SECRET)
    except ValueError as error:
        log.unforeseen("req_7", error)
    line = json.loads(written(pipe, log))
    assert (line["event"], line["type"], line["request_id"]) == ("unforeseen_error", "ValueError", "req_7")
    assert line["where"].startswith("test_log.py:")
    assert SECRET not in json.dumps(line)


def test_a_stuck_descriptor_blocks_nobody(pipe: tuple[int, int]) -> None:
    capacity = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    writer = LineWriter(pipe[1], capacity=100, batch_s=0.0)
    log = Log(writer, SystemClock())
    os.write(pipe[1], b"x" * (capacity - 1) + b"\n")
    longest_s = 0.0
    for number in range(500):
        began = time.perf_counter()
        log.event(Event(name="tick", details=(("n", number),)))
        longest_s = max(longest_s, time.perf_counter() - began)
        if number == 10:
            time.sleep(0.05)
    assert longest_s < 0.5
    assert writer.statistics().queued == 100
    assert writer.dropped >= 300
    began = time.perf_counter()
    writer.close(timeout_s=0.1)
    assert time.perf_counter() - began < 1.0
    while os.read(pipe[0], 1 << 20).count(b'"tick"') == 0:  # let the thread go before its pipe is closed
        pass
    writer.close()


def test_dropped_lines_are_told(pipe: tuple[int, int]) -> None:
    capacity = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    log = Log(LineWriter(pipe[1], capacity=5, batch_s=0.0), SystemClock())
    os.write(pipe[1], b"x" * (capacity - 1) + b"\n")
    log.event(Event(name="first"))
    time.sleep(0.1)  # the thread has taken it and hangs on the full pipe
    for _ in range(12):
        log.event(Event(name="tick"))
    os.read(pipe[0], capacity)
    time.sleep(0.1)
    log.event(Event(name="last"))
    lines = [json.loads(line) for line in written(pipe, log).splitlines()]
    assert [line["event"] for line in lines] == ["first", *["tick"] * 5, "log_lines_dropped", "last"]
    assert lines[-2]["lines"] == 7


def test_a_descriptor_made_non_blocking_by_someone(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1], batch_s=0.0)
    data = b"y" * 200_000 + b"\n"
    writer.put(data)
    got = b""
    while len(got) < len(data):
        got += os.read(pipe[0], 1 << 16)
    writer.close()
    assert got == data
    assert writer.statistics().written == 1


def test_a_reader_that_is_gone() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    writer = LineWriter(write_end, batch_s=0.0)
    writer.put(b"line\n")
    writer.close()
    os.close(write_end)
    assert writer.statistics().lost == 1
    writer.put(b"too late\n")
    assert writer.dropped == 1
