"""The simulated world of `bench.operations`: models of known price, speed, quality and faults; who asks them what; and
what happened then, as the world itself saw it.

Invariant: nothing here is taken from the gateway's own account of itself: what was asked is drawn from a seed, what was
called is what the models saw arrive.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

QUESTIONS = (
    "Write a Python function that sorts a list of dates",
    "Was ist die Hauptstadt von Österreich?",
    "भारत की राजधानी क्या है?",
    "Prove that there are infinitely many primes, step by step",
    "What is the capital of France?",
)
KEYS = ("ann", "bob")


@dataclass(frozen=True)
class Model:
    """What the generator knows of a model. `fails`: the share of questions it answers with 503."""

    price: float
    delay_s: float
    quality: float
    fails: float = 0.0

    def tokens(self, number: int) -> tuple[int, int]:
        """(prompt, completion) of the answer to a question."""
        return 5 + number % 13, 8 + (number * 7) % 29


MODELS = {
    "small": Model(price=0.2, delay_s=0.004, quality=0.7),
    "large": Model(price=2.0, delay_s=0.012, quality=0.9),
    "flaky": Model(price=0.5, delay_s=0.006, quality=0.8, fails=0.3),
    "lonely": Model(price=0.5, delay_s=0.006, quality=0.8, fails=0.5),
    "endless": Model(price=0.5, delay_s=0.006, quality=0.8),
}
BASELINE = "large"
TRIED, TREATMENT = "large", "small"
"""Of what would go to the one, an experiment sends half to the other, whatever comes of it."""
NAMES = ("auto", "small", "large", "flaky", "lonely", "no-such-model")
WEIGHTS = (50, 16, 16, 10, 4, 2)
REPEATED, STREAMED, JUDGED, AGAIN, CHANGED = 0.08, 0.3, 0.25, 0.1, 0.1


@dataclass(frozen=True)
class Ask:
    """One request as it is drawn."""

    number: int
    model: str
    key: str
    stream: bool
    question: int
    is_repeat: bool = False

    @property
    def id(self) -> str:
        return f"op-{self.number}"

    def body(self) -> bytes:
        text = f"{QUESTIONS[self.question % len(QUESTIONS)]} #{self.question}"
        messages = [{"role": "user", "content": text}]
        temperature = 0 if self.model == "small" and not self.stream else 0.7
        asked = {"model": self.model, "messages": messages, "stream": self.stream, "temperature": temperature}
        return msgspec.json.encode(asked)


@dataclass(frozen=True)
class Call:
    """One call as a model saw it arrive."""

    model: str
    question: int
    is_good: bool


@dataclass
class Happened:
    """What became of the requests."""

    asks: dict[str, Ask] = field(default_factory=dict)
    http_status: dict[str, int] = field(default_factory=dict)
    took_s: dict[str, float] = field(default_factory=dict)
    served_s: dict[str, float] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    verdicts: dict[tuple[str, str], float] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)

    def answered_by(self, request_id: str) -> str:
        """The model that gave the answer, now or, where nobody was called for it, when it was asked before."""
        calls = self.calls.get(request_id)
        if calls:
            return calls[-1].model if calls[-1].is_good else ""
        return "small" if self.asks[request_id].is_repeat else ""

    def counted_under(self, request_id: str) -> str:
        calls = self.calls.get(request_id)
        return calls[-1].model if calls else self.answered_by(request_id) or "unknown"


def drawn(count: int, seed: int) -> Iterator[Ask]:
    """The requests. A repeat asks a question that was asked at least 200 requests before, word for word."""
    rng = random.Random(seed)
    kept: list[Ask] = []
    for number in range(count):
        if len(kept) > 20 and rng.random() < REPEATED:
            first = rng.choice([one for one in kept if one.number < number - 200] or kept[:1])
            if first.number < number - 200:
                yield Ask(number, first.model, first.key, False, first.question, is_repeat=True)
                continue
        (model,) = rng.choices(NAMES, WEIGHTS)
        ask = Ask(number, model, KEYS[rng.random() < 0.4], rng.random() < STREAMED, number)
        if model == "small" and not ask.stream:
            kept.append(ask)
        yield ask


def drawn_for(what: str, number: int, seed: int) -> random.Random:
    """Chance that depends on nothing else: not on who is asked first."""
    return random.Random(f"{seed} {what} {number}")


class World:
    """The models, as one OpenAI-compatible server on a free port of 127.0.0.1."""

    def __init__(self, happened: Happened, seed: int) -> None:
        self._happened = happened
        self._seed = seed
        self.url = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/{path:.*}", _fine)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read())
        name, question = asked["model"], int(asked["messages"][-1]["content"].rpartition("#")[2])
        model = MODELS[name]
        is_good = drawn_for(name, question, self._seed).random() >= model.fails
        request_id, began_s = request.headers["x-request-id"], time.perf_counter()
        self._happened.calls[request_id].append(Call(name, question, is_good))
        await asyncio.sleep(model.delay_s)
        self._happened.served_s[request_id] = time.perf_counter() - began_s
        if not is_good:
            return web.json_response({"error": {"message": "overloaded", "type": "server_error"}}, status=503)
        prompt, completion = model.tokens(question)
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        if name == "endless":
            return await _endless(request)
        if asked.get("stream"):
            return await _streamed(request, usage)
        message = {"role": "assistant", "content": f"The answer of {name}."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"object": "chat.completion", "model": name, "choices": [choice], "usage": usage})


async def _fine(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": []})


def _event(delta: dict[str, str]) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + msgspec.json.encode({"object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"


async def _endless(request: web.Request) -> web.StreamResponse:
    """Until its reader leaves."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(_event({"content": "and "}))
            await asyncio.sleep(0.02)
    return response


async def _streamed(request: web.Request, usage: dict[str, int]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for delta in ({"role": "assistant", "content": ""}, {"content": "The "}, {"content": "answer."}):
        await response.write(_event(delta))
    ends = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    last = {"object": "chat.completion.chunk", "choices": [], "usage": usage}
    events = (b"data: " + msgspec.json.encode(one) + b"\n\n" for one in (ends, last))
    await response.write(b"".join(events) + b"data: [DONE]\n\n")
    return response
