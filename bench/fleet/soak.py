"""Minutes of abuse: `python -m bench.fleet.soak [--minutes 5 --clients 200 --models 8 --resident 3]`.

Impatient callers over more real llama.cpp children than fit, while a killer ends children at random and a sampler looks
at memory and at the books. Exits 1 and names each violation where any of these does not hold:

- every request ends once: an answer, a typed refusal of the table, a stream cut with its one error event, or its own
  caller's leaving; in time; none with `internal_error`
- at every sample: what the children take, and what the books say, is within the budget; leases within the slots
- the gateway counted one outcome for each request
- afterwards: no lease and no want is left; SIGTERM ends the gateway with code 0 and no child; its log holds no
  traceback; its own memory grew by less than `GROWTH_MB` since a quarter of the time was over
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.fleet.clients import Ending, Question, Told, ask
from bench.fleet.page import rewrite
from bench.fleet.serving import SMOLLM2, Ended, Gateway, packaged, serving
from pointsman.backends.llama_cpp import LlamaCpp
from pointsman.settings import LlamaCppModel

REQUEST_LIMIT_S = 60.0
GRACE_S = 15.0
SETTLE_S = 20.0
SAMPLE_S = 0.5
GROWTH_MB = 48
WORDS = 100
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
ROOM = 0.5
"""Of one model's memory, free beside those that fit: three and a half fit three."""
SLOTS = 2


@dataclass(frozen=True)
class Plan:
    """What is done to the gateway."""

    seconds: float = 300.0
    clients: int = 200
    models: int = 8
    resident: int = 3
    kill_every_s: float = 4.0
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """One look: what the children take, and what the gateway's books say. `crowded`: has more leases than slots; a
    child that was killed holds its leases until their calls have failed."""

    engines_bytes: int
    gateway_bytes: int
    booked_bytes: int
    ready: int
    in_flight: int
    queued: int
    crowded: tuple[str, ...] = ()


NEVER_ENDED = Ended(code=None, took_s=0.0, left=())


@dataclass
class Findings:
    """Everything seen; `violations` is what the verdict rests on."""

    budget_bytes: int
    told: list[Told] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    kills: int = 0
    left_over: tuple[int, int] = (0, 0)
    ended: Ended = NEVER_ENDED
    statistics: dict[str, Any] = field(default_factory=dict)
    tracebacks: int = 0

    @property
    def growth_mb(self) -> float:
        """Of the gateway's own memory, from a quarter of the time to the end."""
        later = [sample.gateway_bytes for sample in self.samples[len(self.samples) // 4 :]]
        return (later[-1] - later[0]) / 1e6 if later else 0.0

    def violations(self) -> list[str]:
        found = [f"{told.model}: {told.why}" for told in self.told if told.ending is Ending.WRONG]
        found += [f"{told.model}: internal_error" for told in self.told if told.code == "internal_error"]
        for name, wrong in (
            ("children take more than the budget", [s for s in self.samples if s.engines_bytes > self.budget_bytes]),
            ("the books are above the budget", [s for s in self.samples if s.booked_bytes > self.budget_bytes]),
            ("more leases than slots", [s for s in self.samples if s.crowded]),
        ):
            found += [f"{name} at {len(wrong)} of {len(self.samples)} samples, such as {wrong[0]}"] if wrong else []
        if self.left_over != (0, 0):
            found.append(f"{self.left_over[0]} leases and {self.left_over[1]} wants are left though nobody asks")
        if self.ended.code != 0 or self.ended.left:
            found.append(f"SIGTERM: exit code {self.ended.code}, children left: {self.ended.left}")
        if self.tracebacks:
            found.append(f"{self.tracebacks} tracebacks in the gateway's log")
        heard = sum(told.ending is not Ending.LEFT for told in self.told)
        left = sum(told.ending is Ending.LEFT for told in self.told)
        if not heard <= self.statistics["total_requests"] <= heard + left:
            found.append(f"{self.statistics['total_requests']} outcomes of {heard} requests and {left} who left")
        if self.growth_mb > GROWTH_MB:
            found.append(f"the gateway grew by {self.growth_mb:.0f} MB")
        return found


# ---------------------------------------------------------------- the deployments


def copies(weights: Path, folder: Path, count: int, *, prefix: str) -> list[dict[str, Any]]:
    """So many models in the settings' words, each with a file of its own, so that no two share a page."""
    models = []
    for number in range(count):
        copy = folder / f"{prefix}-{number}.gguf"
        shutil.copyfile(weights, copy)
        source = {"file": str(copy)}
        one = {"id": f"{prefix}-{number}", "backend": "llama_cpp", "source": source, "n_ctx": 512, "threads": 1}
        models.append(one | {"slots": SLOTS})
    return models


def settings_of(plan: Plan, weights: Path, folder: Path) -> tuple[dict[str, Any], int]:
    """The settings, and the budget in bytes."""
    models = copies(weights, folder, plan.models, prefix="soak")
    one = LlamaCpp(LlamaCppModel.model_validate(models[0])).footprint((weights,)).total_bytes
    budget_bytes = int(one * (plan.resident + ROOM))
    names = [model["id"] for model in models]
    settings = {
        "server": {"request_timeout_s": REQUEST_LIMIT_S},
        "fleet": {"memory_budget_gb": budget_bytes / 1e9, "min_resident_s": 1, "max_wait_s": 10},
        "routing": {
            "encoder": {"enabled": False},
            "default_model": names[0],
            "use_cases": dict.fromkeys(("general", "code", "reasoning"), names),
        },
        "models": models,
    }
    return settings, budget_bytes


# ---------------------------------------------------------------- the abuse


def question(plan: Plan, rng: random.Random) -> Question:
    """A random request: half of them streams, a fifth of their callers leave, a fifth are in a hurry."""
    kind = rng.random()
    model = f"soak-{min(rng.randrange(plan.models), rng.randrange(plan.models))}"
    model = "auto" if kind < 0.2 else "no-such-model" if kind < 0.25 else model
    is_stream = rng.random() < 0.5
    limit_s = rng.choice([0.05, 0.5, 2.0, 8.0]) if rng.random() < 0.2 else REQUEST_LIMIT_S
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": f"Say {rng.randrange(1000)}"}],
        "max_tokens": rng.randint(1, 4),
        "stream": is_stream,
    }
    if limit_s < REQUEST_LIMIT_S:
        body["x-routing"] = {"deadline_s": limit_s}
    encoded = json.dumps(body).encode()
    leaving = rng.random()
    return Question(
        model=model,
        body=encoded[:-9] if 0.25 < kind < 0.27 else encoded,
        is_stream=is_stream,
        limit_s=limit_s + GRACE_S,
        leave_s=rng.uniform(0, 5) if leaving < 0.12 else None,
        leaves_mid_stream=is_stream and leaving > 0.9,
    )


async def client(plan: Plan, port: int, number: int, until_s: float, told: list[Told]) -> None:
    rng = random.Random(f"{plan.seed}-{number}")
    await asyncio.sleep(rng.uniform(0, 1))
    while time.monotonic() < until_s:
        told.append(await ask(port, question(plan, rng)))


async def killer(plan: Plan, gateway: Gateway, found: Findings) -> None:
    """SIGKILL to a random child of the gateway, again and again."""
    rng = random.Random(plan.seed)
    while True:
        await asyncio.sleep(rng.expovariate(1 / plan.kill_every_s))
        engines = gateway.engines()
        if engines:
            with suppress(psutil.NoSuchProcess):
                rng.choice(engines).kill()
                found.kills += 1


async def sampler(gateway: Gateway, found: Findings) -> None:
    while True:
        found.samples.append(await asyncio.to_thread(sample, gateway))
        await asyncio.sleep(SAMPLE_S)


def sample(gateway: Gateway) -> Sample:
    info = gateway.get("/router/info")
    views = info["deployments"]
    return Sample(
        engines_bytes=gateway.engines_bytes(),
        gateway_bytes=int(psutil.Process(gateway.child.pid).memory_info().rss),
        booked_bytes=info["memory_used_bytes"],
        ready=sum(view["state"] == "ready" for view in views),
        in_flight=sum(view["in_flight"] for view in views),
        queued=sum(view["queued"] for view in views),
        crowded=tuple(view["id"] for view in views if view["in_flight"] > view["slots"]),
    )


async def abuse(plan: Plan, gateway: Gateway, found: Findings) -> None:
    """All at once, then a look at what is left when nobody asks any more."""
    until_s = time.monotonic() + plan.seconds
    others = [asyncio.create_task(killer(plan, gateway, found)), asyncio.create_task(sampler(gateway, found))]
    try:
        await asyncio.gather(*(client(plan, gateway.port, n, until_s, found.told) for n in range(plan.clients)))
    finally:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    settled_s = time.monotonic() + SETTLE_S
    while True:
        last = await asyncio.to_thread(sample, gateway)
        found.left_over = (last.in_flight, last.queued)
        if found.left_over == (0, 0) or time.monotonic() > settled_s:
            return
        await asyncio.sleep(0.2)


def soak(plan: Plan, folder: Path) -> Findings:
    """The whole of it. Raises NotReadyError where the gateway does not start."""
    settings, budget_bytes = settings_of(plan, packaged(SMOLLM2), folder)
    found = Findings(budget_bytes=budget_bytes)
    with serving(folder, settings) as gateway:
        asyncio.run(abuse(plan, gateway, found))
        found.statistics = gateway.get("/router/info")["statistics"]
        found.ended = gateway.end()
        found.tracebacks = gateway.log.read_text(errors="replace").count("Traceback")
    return found


# ---------------------------------------------------------------- the report


def report(plan: Plan, found: Findings) -> Iterator[str]:
    """What was seen, line by line, for the screen and the page."""
    n, mb, looks = len(found.told), 1e6, len(found.samples)
    yield (
        f"{plan.clients} callers, {plan.models} models, room for {plan.resident}, {plan.seconds:.0f} s: "
        f"{n} requests, {found.kills} children killed."
    )
    yield ""
    yield "| how it ended | code | requests | s p50 / p95 / max | such as |"
    yield "|---|---|---|---|---|"
    for (ending, code), count in sorted(Counter((str(told.ending), told.code) for told in found.told).items()):
        alike = [one for one in found.told if (str(one.ending), one.code) == (ending, code)]
        took_s = sorted(one.took_s for one in alike)
        times = f"{took_s[len(took_s) // 2]:.1f} / {took_s[int(0.95 * (count - 1))]:.1f} / {took_s[-1]:.1f}"
        said = alike[0].why.replace("|", "/")
        yield f"| {ending} | {code} | {count} | {times} | {said[:WORDS]}{'…' * (len(said) > WORDS)} |"
    most_mb, booked_mb = (
        max(sizes, default=0) / mb
        for sizes in ([s.engines_bytes for s in found.samples], [s.booked_bytes for s in found.samples])
    )
    own_mb = [sample.gateway_bytes / mb for sample in found.samples]
    yield ""
    yield f"- At most {max(sample.ready for sample in found.samples)} models were ready at once."
    yield (
        f"- Memory of the children at {looks} looks: at most {most_mb:.0f} MB of a budget of "
        f"{found.budget_bytes / mb:.0f}; in the books at most {booked_mb:.0f}."
    )
    yield f"- The gateway's own: {own_mb[0]:.0f} MB at first, {own_mb[-1]:.0f} at last, {found.growth_mb:+.1f} later."
    yield f"- Outcomes that it counted: {found.statistics['total_requests']}, {found.statistics['in_flight']} open."
    ended = found.ended
    yield f"- SIGTERM: exit code {ended.code} after {ended.took_s:.1f} s; children left: {len(ended.left)}."
    yield f"- Violations: {len(found.violations())}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=Plan.seconds / 60)
    parser.add_argument("--clients", type=int, default=Plan.clients)
    parser.add_argument("--models", type=int, default=Plan.models)
    parser.add_argument("--resident", type=int, default=Plan.resident)
    parser.add_argument("--kill-every-s", type=float, default=Plan.kill_every_s, help="mean pause between two kills")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    given = parser.parse_args()
    plan = Plan(
        seconds=given.minutes * 60,
        clients=given.clients,
        models=given.models,
        resident=given.resident,
        kill_every_s=given.kill_every_s,
        seed=given.seed,
    )
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = soak(plan, Path(folder))
    said = "\n".join(report(plan, found))
    print(said)
    if given.write:
        rewrite(PAGE, "soak", said)
    violations = found.violations()
    for violation in violations[:20]:
        print(f"VIOLATION {violation}")
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
