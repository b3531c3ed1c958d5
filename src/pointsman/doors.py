"""What each room offers the corridor (`gateway`), as protocols: the only way rooms meet.

Knows: shapes. Does not know: any room.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pointsman.types import Attempt, Plan, Reply, Request, Signals, WhatIf, World
from pointsman.types_cache import Found


class Admission(Protocol):
    """May it come in now? The place is given back when the context is left; who asks no model takes none and is only
    counted. Raises Refused, DeadlineExceeded."""

    def admit(self, request: Request) -> AbstractAsyncContextManager[None]: ...
    async def count(self, request: Request) -> None: ...


class Classifier(Protocol):
    """What is it? Pure."""

    def measure(self, request: Request) -> Signals: ...


class SecondStage(Protocol):
    """What is it, where the classifier is unsure? Within its own deadline; degraded signals say why. Never raises."""

    async def refine(self, request: Request, signals: Signals) -> Signals: ...


class Router(Protocol):
    """Who should answer? Pure; total: a plan without candidates carries the `problem`."""

    def decide(self, request: Request, signals: Signals, world: World) -> Plan: ...
    def what_if(self, request: Request, signals: Signals, world: World) -> tuple[WhatIf, ...]: ...


class Seat(Protocol):
    """One request's place at the cache: what it found, and where an answer is left as it passes by."""

    found: Found

    async def similar(self, signals: Signals) -> Found: ...
    def keep(self, reply: Reply, signals: Signals) -> Reply: ...


class Cache(Protocol):
    """Was it answered before, or is it just now? Entering a seat looks, and waits for an equal request under way."""

    def seat(self, request: Request) -> AbstractAsyncContextManager[Seat]: ...


class Entry(Protocol):
    """One request's record while it is being written. `sought` gives the kept reply, where there is one."""

    def sought(self, found: Found) -> Reply | None: ...
    def measured(self, signals: Signals) -> Signals: ...
    def planned(self, plan: Plan, world: World) -> Plan: ...
    def attempted(self, attempt: Attempt) -> None: ...
    def watch(self, reply: Reply) -> Reply: ...


class Ledger(Protocol):
    """What happened? Leaving the context writes exactly one Outcome, whatever happened inside."""

    def open(self, request: Request) -> AbstractAsyncContextManager[Entry]: ...


class Dispatch(Protocol):
    """Get the answer: lease → call → retry or fall back."""

    def run(self, request: Request, plan: Plan, entry: Entry) -> AbstractAsyncContextManager[Reply]: ...
