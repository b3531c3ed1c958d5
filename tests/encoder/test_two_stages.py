"""Both stages in the corridor: who is asked, and that what comes of it decides."""

import asyncio

import msgspec

from pointsman.app import App
from pointsman.cache.exact import NoCache
from pointsman.gateway import Gateway
from pointsman.settings import parse
from pointsman.signals.opinion import words_for
from pointsman.testing.decisions import ask
from pointsman.types import Request, Signals

SETTINGS = """
models:
  - {id: small, backend: openai, url: "http://127.0.0.1:9/v1"}
"""


class Undecided:
    """A classifier with the signals it is given, and the second stage that hears of them."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self.asked: list[str] = []

    def measure(self, request: Request) -> Signals:
        return self.signals

    async def refine(self, request: Request, signals: Signals) -> Signals:
        self.asked.append(words_for(request))
        return msgspec.structs.replace(signals, stage=2, unsure=())


def understood(unsure: tuple[str, ...]) -> tuple[Signals, list[str]]:
    real = App(parse(SETTINGS)).gateway
    both = Undecided(msgspec.structs.replace(real.classifier.measure(ask("Hello")), unsure=unsure))
    gateway = Gateway(real.admission, both, both, real.router, real.dispatch, real.ledger, real.world, NoCache())
    return asyncio.run(gateway.understand(ask("Hello"))), both.asked


def test_the_second_stage_hears_of_what_is_unsure() -> None:
    signals, asked = understood(("intent",))
    assert (signals.stage, asked) == (2, ["hello"])


def test_the_second_stage_hears_of_nothing_else() -> None:
    signals, asked = understood(())
    assert (signals.stage, asked) == (1, [])


def test_the_exposition_counts_stage_two() -> None:
    app = App(parse(SETTINGS))
    signals = app.gateway.classifier.measure(ask("Hello"))
    app.second.refine_now(ask("Hello"), msgspec.structs.replace(signals, unsure=("intent",)))
    assert b"pointsman_encoder_asked_total 1.0" in app.metrics()
