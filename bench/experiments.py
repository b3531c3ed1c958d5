"""`python -m bench.experiments`: how often experiments decide wrongly, how soon rightly; writes docs/experiments.md.

Method: each run is the gateway's own `Experiments`, fed as the ledger and the feedback endpoint feed it: a request's
arm by the hash of its query, its Outcome, its verdict (thumbs: up with the arm's true probability), and a look after
every request. What is counted is what the controller did. Interval: Wilson's, 95 %. The last table puts the same
question to two other tests on runs of their own: a z-test that is looked at after every request, as dashboards invite
one to, and the mixture sequential probability ratio test.
"""

import argparse
import hashlib
import math
import multiprocessing
import multiprocessing.pool
import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec
import numpy as np

from pointsman.experiments.controller import Experiments
from pointsman.experiments.course import Change, Point
from pointsman.policy.experiments import arms_of, place_of
from pointsman.settings_experiments import ExperimentSettings
from pointsman.testing.decisions import ask
from pointsman.testing.experiments import judged, outcome

PAGE = Path(__file__).resolve().parent.parent / "docs/experiments.md"
PICTURE = PAGE.parent / "plots/experiments.png"
MARK = "figures"
QUALITY, FAILURES, SPREAD = 0.8, 0.01, 0.5
RUNS, QUERIES, LATENCIES = 2000, 20_000, 64
CONTROL, TREATMENT = arms_of("canary")
ROLLED_BACK, BETTER, PASSED, REVIEW = "rolled_back", "better", "passed", "review"


class Scenario(msgspec.Struct, frozen=True):
    """What is true. `loss`: of quality, relative; `slower`: the treatment's latency over the control's; `delay`: mean
    number of requests until a verdict comes; `drift`: what everybody's quality loses over the run; `wrong`: decisions
    that are errors here; `right`: the one that should be taken."""

    words: str
    requests: int
    wrong: tuple[str, ...] = ()
    right: str = ""
    loss: float = 0.0
    failures: float = FAILURES
    slower: float = 1.0
    judged: float = 1.0
    delay: float = 0.0
    drift: float = 0.0
    rollout: tuple[float, ...] = ()
    proved_above: float = 0.05


NO_EFFECT = (ROLLED_BACK, BETTER)
SCENARIOS = {
    "same": Scenario("no difference", 2000, NO_EFFECT),
    "drift": Scenario("no difference, while everybody's quality falls by a quarter", 1500, NO_EFFECT, drift=0.25),
    "late": Scenario("no difference, half the verdicts, 300 requests late", 1500, NO_EFFECT, judged=0.5, delay=300),
    "steps": Scenario("no difference, rollout 10, 30, 50, 80 %", 1500, NO_EFFECT, rollout=(0.1, 0.3, 0.5, 0.8)),
    "between": Scenario("7 % loss", 2000, (ROLLED_BACK, BETTER, PASSED), REVIEW, loss=0.07),
    "worse": Scenario("12 % loss", 14_000, (BETTER, PASSED), ROLLED_BACK, 0.12),
    "sooner": Scenario("12 % loss, `proved_above: 0`", 14_000, (BETTER, PASSED), ROLLED_BACK, 0.12, proved_above=0.0),
    "much": Scenario("25 % loss", 8000, (BETTER, PASSED), ROLLED_BACK, 0.25),
    "better": Scenario("10 % gain", 2500, (ROLLED_BACK,), BETTER, -0.10),
    "slow": Scenario("answers take twice as long", 3000, (BETTER,), ROLLED_BACK, slower=2.0),
    "failing": Scenario("8 % more requests fail", 3000, (BETTER,), ROLLED_BACK, failures=FAILURES + 0.08),
}  # fmt: skip


class Ran(msgspec.Struct, frozen=True):
    """When each kind of decision was first taken, by requests; how it stood in the end."""

    first: dict[str, int]
    status: str


class Ticks:
    """A clock that stands still but where a rollout needs to tell one step from the next: then a second a request."""

    def __init__(self) -> None:
        self.at_s = 1.8e9

    def now(self) -> float:
        return self.at_s

    def unix(self) -> float:
        return self.at_s

    async def sleep(self, duration_s: float) -> None:
        self.at_s += duration_s

    def rng(self, seed: int | None = None) -> random.Random:
        return random.Random(seed)


def settings_of(scenario: Scenario) -> ExperimentSettings:
    return ExperimentSettings(
        name="e",
        kind="canary",
        control="old",
        treatment="new",
        rollout=scenario.rollout,
        proved_above=scenario.proved_above,
    )


class World:
    """One run's chances, drawn at once."""

    def __init__(self, scenario: Scenario, seed: int, places: Any) -> None:
        chances = np.random.default_rng(seed)
        n = scenario.requests
        self.places = places[chances.integers(0, len(places), n)].tolist()
        self.thumb = chances.random(n).tolist()
        self.fails = chances.random(n).tolist()
        self.latency = chances.integers(0, LATENCIES, n).tolist()
        self.is_judged = (chances.random(n) < scenario.judged).tolist()
        self.delay = chances.exponential(scenario.delay, n).astype(int).tolist() if scenario.delay else [0] * n


def places() -> Any:
    """Where queries stand, by the router's own hash."""
    return np.array([place_of("e", ask(f"What is question {number} about?")) for number in range(QUERIES)])


def run(scenario: Scenario, where: Any, seed: int) -> Ran:
    """One experiment from its start to its rollback, or to the end of the requests."""
    clock, changes = Ticks(), list[Change]()
    controller = Experiments(clock, None, changes.append)
    controller.configure((settings_of(scenario),))
    world, first = World(scenario, seed, where), dict[str, int]()
    for number, _ in enumerate(requests(scenario, world, clock, controller)):
        controller.look()
        while changes:
            first.setdefault(changes.pop().event, number + 1)
        if ROLLED_BACK in first:
            break
    return Ran(first=first, status=controller.standing("e").status)


def requests(scenario: Scenario, world: World, clock: Ticks, controller: Experiments) -> Iterator[None]:
    """Everything that is heard, request by request."""
    built, said = lru_cache(1024)(outcome), lru_cache(64)(judged)
    waiting: dict[int, deque[tuple[str, float, float]]] = {}
    usual = [math.exp(SPREAD * quantile) for quantile in np.linspace(-2.3, 2.3, LATENCIES)]
    for number in range(scenario.requests):
        clock.at_s += bool(scenario.rollout)
        (trial,) = controller.trials()
        is_treated = world.places[number] < trial.ratio
        arm = TREATMENT if is_treated else CONTROL
        fails = world.fails[number] < (scenario.failures if is_treated else FAILURES)
        total_s = usual[world.latency[number]] * (scenario.slower if is_treated else 1.0)
        status = "error" if fails else "success"
        controller.closed(built("e", arm, received_unix_s=clock.at_s, status=status, total_s=total_s))
        if world.is_judged[number]:
            quality = QUALITY * (1 - scenario.drift * number / scenario.requests)
            value = float(world.thumb[number] < quality * (1 - scenario.loss * is_treated))
            waiting.setdefault(number + world.delay[number], deque()).append((arm, value, clock.at_s))
        for given, value, then_s in waiting.pop(number, ()):
            controller.judged(said("e", given, value, then_s))
        yield


# ---------------------------------------------------------------- other tests, for comparison


def others(runs: int, loss: float, n: int, seed: int = 1) -> dict[str, float]:
    """Share of runs in which two other tests at 5 % find a difference at any look, from the 100th request on."""
    chances, found = np.random.default_rng(seed), {"z": 0, "msprt": 0}
    for _ in range(runs):
        is_treated = chances.random(n) < 0.5
        ups = chances.random(n) < QUALITY * (1 - loss * is_treated)
        counts = [np.cumsum(is_treated == arm) for arm in (False, True)]
        means = [np.cumsum(ups & (is_treated == arm)) / np.maximum(1, count) for arm, count in enumerate(counts)]
        variance = sum(mean * (1 - mean) / np.maximum(1, count) for mean, count in zip(means, counts, strict=True))
        step, looks = np.abs(means[0] - means[1])[100:], np.maximum(variance, 1e-9)[100:]
        spread = 0.05**2
        width = 2 * looks * (looks + spread) / spread * np.log(np.sqrt((looks + spread) / looks) / 0.05)
        found["z"] += bool(np.any(step > 1.96 * np.sqrt(looks)))
        found["msprt"] += bool(np.any(step > np.sqrt(width)))
    return {name: count / runs for name, count in found.items()}


# ---------------------------------------------------------------- the page


def wilson(count: int, n: int) -> str:
    """A share with its 95 % interval."""
    share, z = count / n, 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return f"{share:.1%} ({max(0.0, middle - half):.1%}–{min(1.0, middle + half):.1%})"


def row(scenario: Scenario, done: list[Ran]) -> str:
    def share(event: str) -> str:
        return wilson(sum(event in one.first for one in done), len(done))

    wrong = sum(any(event in one.first for event in scenario.wrong) for one in done)
    took = [one.first[scenario.right] for one in done if scenario.right in one.first]
    when = f"{median(took):,.0f} ({quantiles(took, n=20)[-1]:,.0f})" if len(took) > 1 else "–"
    cells = (scenario.words, share(ROLLED_BACK), share(BETTER), share(PASSED), wilson(wrong, len(done)), when)
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, list[Ran]]) -> str:
    head = "truth | rolled back | proved better | passed | decided wrongly | requests until decided: median (95 %)"
    return "\n".join([f"| {head} |", "|---" * 6 + "|", *(row(SCENARIOS[name], done) for name, done in results.items())])


def versus(runs: int, results: dict[str, list[Ran]]) -> str:
    """The same question put to other tests; ours as the controller answered it."""
    n, loss = SCENARIOS["same"].requests, 0.12
    same, worse = others(runs, 0.0, n), others(runs, loss, n)
    ours = sum(any(event in one.first for event in NO_EFFECT) for one in results["same"])
    found = sum(one.first.get(ROLLED_BACK, n + 1) <= n for one in results["sooner"])
    count = len(results["same"])
    rows = (
        ("betting, as used here (`proved_above: 0`, guard rails included)", wilson(ours, count), wilson(found, count)),
        ("mixture SPRT", wilson(round(same["msprt"] * runs), runs), wilson(round(worse["msprt"] * runs), runs)),
        ("z-test, watched", wilson(round(same["z"] * runs), runs), wilson(round(worse["z"] * runs), runs)),
    )
    head = f"test at 5 % | finds a difference where there is none | finds a 12 % loss within {n:,} requests"
    return "\n".join([f"| {head} |", "|---" * 3 + "|", *(f"| {' | '.join(cells)} |" for cells in rows)])


def draw(results: dict[str, list[Ran]], where: Any) -> None:
    """Left: how many runs had decided by when. Right: the confidence sequence of one run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, event, colour in (
        ("much", ROLLED_BACK, "#D55E00"), ("sooner", ROLLED_BACK, "#E69F00"), ("worse", ROLLED_BACK, "#CC79A7"),
        ("better", BETTER, "#009E73"), ("same", ROLLED_BACK, "#000000"),
    ):  # fmt: skip
        if name not in results:
            continue
        scenario, done = SCENARIOS[name], results[name]
        took = sorted(one.first[event] for one in done if event in one.first)
        shares = [100 * (place + 1) / len(done) for place in range(len(took))]
        label = f"{scenario.words.replace('`', '')}: {event.replace('_', ' ')}"
        left.step(
            [0, *took, 14_000], [0, *shares, shares[-1] if shares else 0], where="post", color=colour, label=label
        )
    left.axhline(5, color="#666666", linewidth=0.8, linestyle=":")
    left.set(xlabel="requests", ylabel="runs that have decided (%)", xlim=(0, 8000), ylim=(0, 101))
    left.legend(loc="center right", fontsize=7, frameon=False)
    points = history(SCENARIOS["worse"], where)
    verdicts = [point.verdicts for point in points]
    low, high = [100 * point.low for point in points], [100 * point.high for point in points]
    right.fill_between(verdicts, low, high, color="#56B4E9", alpha=0.4, label="confidence sequence, 96 %")
    right.plot(verdicts, [100 * point.loss for point in points], color="#0072B2", label="estimate")
    for level, words in ((5, "passes below"), (10, "rolled back above")):
        right.axhline(level, color="#666666", linewidth=0.8, linestyle=":")
        right.text(verdicts[-1], level, words, ha="right", va="bottom", fontsize=7, color="#666666")
    right.axhline(12, color="#D55E00", linewidth=0.8, label="truth")
    right.set(xlabel="verdicts", ylabel="loss of quality (%)", ylim=(-30, 60))
    right.legend(loc="upper right", fontsize=7, frameon=False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, facecolor="white")


def history(scenario: Scenario, where: Any) -> tuple[Point, ...]:
    """The confidence sequence of one run, as the server keeps it."""
    clock, changes = Ticks(), list[Change]()
    controller = Experiments(clock, None, changes.append)
    controller.configure((settings_of(scenario),))
    for _ in requests(scenario, World(scenario, 1, where), clock, controller):
        controller.look()
        controller.mark()
        if changes[-1].event == ROLLED_BACK:
            break
    return controller.standing("e").history


def between(text: str, inside: str) -> str:
    """The page with what stands between its marks replaced."""
    begin, end = f"<!-- {MARK}:begin -->\n", f"<!-- {MARK}:end -->\n"
    before, after = text.index(begin) + len(begin), text.index(end)
    return text[:before] + inside + text[after:]


def ran(name: str, runs: int, where: Any, pool: multiprocessing.pool.Pool, keep: Path | None) -> list[Ran]:
    """All runs of a scenario; those that an interrupted benchmark has kept are not made again."""
    scenario = SCENARIOS[name]
    path = None if keep is None else keep / f"{hashlib.sha256(repr((scenario, runs)).encode()).hexdigest()[:16]}.json"
    if path is not None and path.exists():
        return msgspec.json.decode(path.read_bytes(), type=list[Ran])
    results = pool.map(partial(run, scenario, where), range(runs), chunksize=20)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(results))
    return results


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.experiments", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each scenario")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="a folder for what is done, so that a second call goes on from there")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, help="make and keep these; the page stays as it is")
    options = parser.parse_args(arguments)
    began_s, where, results = time.perf_counter(), places(), dict[str, list[Ran]]()
    with multiprocessing.Pool(options.jobs) as pool:
        for name in options.only or SCENARIOS:
            results[name] = ran(name, options.runs, where, pool, options.keep)
            print(row(SCENARIOS[name], results[name]), f"{time.perf_counter() - began_s:.0f} s", flush=True)
        pool.close()
        pool.join()
    if options.only:
        return 0
    draw(results, where)
    told = (
        f"{options.runs:,} runs each, all by `python -m bench.experiments`. Thumbs, {QUALITY:.0%} up for the control; "
        f"{FAILURES:.0%} of requests fail; 95 % intervals in brackets.\n\n{table(results)}\n\n"
        f"![Share of runs decided, and one confidence sequence](plots/{PICTURE.name})\n\n"
        f"{versus(options.runs, results)}\n"
    )
    PAGE.write_text(between(PAGE.read_text(encoding="utf-8"), told), encoding="utf-8")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
