"""`python -m bench.balance [--conversations 1500] [--write]`: ways to choose among the instances of one model.

Simulated, in simulated time, seeded: eight engines that batch (up to eight calls at full speed each, more share it) and
keep the prompts of their last conversations. Conversations begin at random and have four turns on average; a turn sends
all that was said before, and what of it an engine has kept need not be read again. The engines are alike, or two of
them have half the speed, or one has a fifth of it in the middle third. One gateway, or three that know nothing of each
other, between which each turn is drawn. Every row sees the same conversations.
"""

import argparse
import hashlib
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from msgspec.structs import replace

from bench.fleet.page import rewrite
from pointsman.fleet.calls import peak_mean_s
from pointsman.policy.balance import ordered
from pointsman.testing.decisions import ask, hot
from pointsman.types import DeploymentView, Request, Turn

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
INSTANCES, BATCH, KEPT = 8, 8, 40
READ_TOKENS_PER_S, TURN_TOKENS, FIRST_TOKENS, WRITE_S = 4000.0, 400, 1200, 2.0
TURNS, THINK_S, LOAD = 4, 15.0, 0.65


class Call(NamedTuple):
    """One turn: its conversation, its number, the tokens it sends, who takes it."""

    conversation: int
    turn: int
    tokens: int
    gateway: int


class Engine:
    """Processor sharing in virtual time: `work_s` done so far for each call inside."""

    def __init__(self, speed: Callable[[float], float]) -> None:
        self.speed = speed
        self.inside = 0
        self.at_s = self.work_s = 0.0
        self.milestones: list[tuple[float, int, bool]] = []
        self.kept: OrderedDict[int, int] = OrderedDict()

    def rate(self) -> float:
        return self.speed(self.at_s) * min(1.0, BATCH / max(self.inside, 1))

    def advance(self, now_s: float) -> None:
        self.work_s += (now_s - self.at_s) * self.rate()
        self.at_s = now_s

    def next_s(self) -> float:
        if not self.milestones:
            return float("inf")
        return self.at_s + max(0.0, self.milestones[0][0] - self.work_s) / self.rate()

    def take(self, number: int, call: Call, write_s: float) -> int:
        """Begin a call; how many of its tokens need not be read."""
        cached = min(self.kept.pop(call.conversation, 0), call.tokens)
        self.kept[call.conversation] = call.tokens
        if len(self.kept) > KEPT:
            self.kept.popitem(last=False)
        read_s = 0.02 + (call.tokens - cached) / READ_TOKENS_PER_S
        self.inside += 1
        heappush(self.milestones, (self.work_s + read_s, number, True))
        heappush(self.milestones, (self.work_s + read_s + write_s, number, False))
        return cached


Pick = Callable[[Sequence[DeploymentView], str, Request, int], str]


def round_robin(team: Sequence[DeploymentView], _: str, __: Request, ticket: int) -> str:
    return team[ticket % len(team)].id


def least_busy(team: Sequence[DeploymentView], _: str, __: Request, ticket: int) -> str:
    turned = [team[(ticket + n) % len(team)] for n in range(len(team))]
    return min(turned, key=lambda view: view.in_flight).id


def better_of_two(team: Sequence[DeploymentView], _: str, request: Request, ticket: int) -> str:
    """Drawn by the ticket: nothing is hashed."""
    return ordered(team, "", replace(request, turns=()), ticket).ids[0]


def by_hash(team: Sequence[DeploymentView], _: str, request: Request, __: int) -> str:
    """The one that the hash prefers, whoever it is."""
    text = request.turns[0].text
    return min(team, key=lambda view: hashlib.blake2b(f"{text} {view.id}".encode()).digest()).id


def of_two_by_hash(team: Sequence[DeploymentView], _: str, request: Request, ticket: int) -> str:
    return ordered(team, "", request, ticket).ids[0]


def held_or_of_two(team: Sequence[DeploymentView], held_by: str, request: Request, ticket: int) -> str:
    if len(request.turns) > 1:
        return ordered(team, held_by, request, ticket).ids[0]
    return better_of_two(team, "", request, ticket)


def product(team: Sequence[DeploymentView], held_by: str, request: Request, ticket: int) -> str:
    return ordered(team, held_by, request, ticket).ids[0]


PICKS: tuple[tuple[str, Pick], ...] = (
    ("round robin", round_robin),
    ("least busy", least_busy),
    ("two by chance, the better", better_of_two),
    ("one by hash, unbounded", by_hash),
    ("two by hash, the better, bounded", of_two_by_hash),
    ("who answered before, else two by hash; first two by chance", held_or_of_two),
    ("**who answered before, else two by hash**", product),
)
SPEEDS: tuple[tuple[str, Callable[[int, float], Callable[[float], float]]], ...] = (
    ("alike", lambda _, __: lambda _: 1.0),
    ("two at half speed", lambda n, _: lambda _: 0.5 if n < 2 else 1.0),
    ("one stalls for a while", lambda n, end: lambda at: 0.2 if n == 0 and end / 3 < at < 2 * end / 3 else 1.0),
)


class Gateway:
    """What one knows: its own calls, its own measurements."""

    def __init__(self) -> None:
        self.views = {name: replace(hot("m", name), slots=64, is_managed=False) for name in map(str, range(INSTANCES))}
        self.measured_s = dict.fromkeys(self.views, 0.0)
        self.held: dict[int, str] = {}

    def count(self, name: str, more: int) -> None:
        self.views[name] = replace(self.views[name], in_flight=self.views[name].in_flight + more)

    def learn(self, name: str, now_s: float, took_s: float) -> None:
        known_s = peak_mean_s(self.views[name].latency_s, now_s - self.measured_s[name], took_s)
        self.views[name] = replace(self.views[name], latency_s=known_s)
        self.measured_s[name] = now_s


class Result(NamedTuple):
    first_bytes_s: list[float]
    cached_share: float


def simulate(pick: Pick, speeds: Callable[[int, float], Callable[[float], float]], gateways: int, count: int) -> Result:
    """Every first byte's time, and the share of prompt tokens that need not be read."""
    rng = random.Random(7)
    turn_s = WRITE_S + (FIRST_TOKENS + 2 * TURN_TOKENS) / READ_TOKENS_PER_S / 2
    gap_s = TURNS * turn_s / (INSTANCES * BATCH * LOAD)
    engines = [Engine(speeds(n, gap_s * count)) for n in range(INSTANCES)]
    doors = [Gateway() for _ in range(gateways)]
    coming: list[tuple[float, Call]] = []
    at_s = 0.0
    for conversation in range(count):
        at_s += rng.expovariate(1 / gap_s)
        heappush(coming, (at_s, Call(conversation, 0, FIRST_TOKENS, rng.randrange(gateways))))
    calls: list[tuple[Call, str, float]] = []
    first_bytes_s, cached, sent = [], 0, 0
    while coming or any(engine.milestones for engine in engines):
        engine = min(engines, key=Engine.next_s)
        now_s = engine.next_s()
        if coming and coming[0][0] <= now_s:
            now_s, call = heappop(coming)
            door = doors[call.gateway]
            request = ask(f"conversation {call.conversation}")
            if call.turn:
                request = replace(request, turns=(*request.turns, Turn(role="assistant", text="")))
            name = pick(list(door.views.values()), door.held.get(call.conversation, ""), request, len(calls))
            chosen = engines[int(name)]
            chosen.advance(now_s)
            cached += chosen.take(len(calls), call, rng.expovariate(1 / WRITE_S))
            sent += call.tokens
            door.held[call.conversation] = name
            door.count(name, 1)
            calls.append((call, name, now_s))
            continue
        engine.advance(now_s)
        _, number, is_first = heappop(engine.milestones)
        call, name, began_s = calls[number]
        door = doors[call.gateway]
        if is_first:
            first_bytes_s.append(now_s - began_s)
            door.learn(name, now_s, now_s - began_s)
            continue
        engine.inside -= 1
        door.count(name, -1)
        if rng.random() > 1 / TURNS:
            tokens, again_s = call.tokens + TURN_TOKENS, now_s + rng.expovariate(1 / THINK_S)
            heappush(coming, (again_s, Call(call.conversation, call.turn + 1, tokens, rng.randrange(gateways))))
    return Result(first_bytes_s, cached / sent)


def rows(count: int) -> list[str]:
    table = [
        "| engines | gateways | choice | p50 ms | p95 ms | p99 ms | prompt cached |",
        "|---|---|---|---|---|---|---|",
    ]
    for engines, speeds in SPEEDS:
        for gateways in (1, 3):
            for name, pick in PICKS:
                found = simulate(pick, speeds, gateways, count)
                cut = quantiles(found.first_bytes_s, n=100)
                figures = " | ".join(f"{1000 * cut[n - 1]:.0f}" for n in (50, 95, 99))
                table.append(f"| {engines} | {gateways} | {name} | {figures} | {found.cached_share:.0%} |")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=1500)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    args = parser.parse_args()
    text = "\n".join(rows(args.conversations))
    if args.write:
        rewrite(PAGE, "balance", f"{args.conversations} conversations.\n\n{text}")
    print(text)


if __name__ == "__main__":
    main()
