"""All experiments: hears of every request and verdict, looks at the evidence every second, moves the traffic.

Knows: which experiment an outcome belongs to, where the state is kept. Does not know: how one decides (`course`), who
reads its changes (`hear`).

Invariants: hearing takes microseconds and never blocks; a decision is in force for the next request; state survives a
restart, as of its last change or at most SAVE_S before; an unreadable file costs the evidence, never the start.
Gateways that share a store (`company`) tell each other every LOOK_S what they counted and decided; one without decides
on the requests that it answered itself.
"""

import asyncio
import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from pointsman.clock import Clock
from pointsman.errors import RequestError
from pointsman.experiments.course import Change, Course, Experiment, Point
from pointsman.experiments.verdict import Arm, Evidence, Status
from pointsman.experiments.word import decode, encode
from pointsman.policy.experiments import SMALL_LARGE, SWITCHBACK, arms_of
from pointsman.settings_experiments import ExperimentSettings
from pointsman.types import Outcome, Value
from pointsman.types_feedback import Judged
from pointsman.types_trial import Trial

LOOK_S, SAVE_S = 1.0, 30.0
VERSION = 1
MILLION = 1e6


class Standing(Value, frozen=True):
    """One experiment as `GET /v1/experiments` shows it. `evidence`: of all gateways that hear each other;
    `requests_here`, `verdicts_here`: of the control and the treatment, at this one."""

    name: str
    kind: str
    status: Status
    why: str
    is_paused: bool
    control: str
    treatment: str
    arms: tuple[str, str]
    ratio: float
    step: int
    rollout: tuple[float, ...]
    alpha: float
    pass_below: float
    rollback_above: float
    began_unix_s: float
    late_verdicts: int
    requests_here: tuple[int, int]
    verdicts_here: tuple[int, int]
    evidence: Evidence
    history: tuple[Point, ...]
    changes: tuple[Change, ...]


class _File(msgspec.Struct):
    """`gateway`: whose counts these are, where several share a store."""

    version: int = VERSION
    gateway: str = ""
    courses: dict[str, Course] = msgspec.field(default_factory=dict)


class Company(Protocol):
    """Where gateways hear each other. `me`: a name that no other has."""

    me: str

    async def meet(self, words: Mapping[str, bytes]) -> Mapping[str, Sequence[bytes]] | None:
        """Say a word by each name, and hear everybody's, ours too; None: nobody is heard."""
        ...

    async def close(self) -> None: ...


class Experiments:
    """A sink of the ledger and of feedback. `prices`: model → cost of a million tokens; `hear`: of every change."""

    def __init__(
        self, clock: Clock, path: Path | None, hear: Callable[[Change], None], company: Company | None = None
    ) -> None:
        self._clock = clock
        self._path = path
        self._hear = hear
        self._company = company
        self._told: Mapping[str, Sequence[bytes]] | None = None
        self._prices: Mapping[str, float] = {}
        self._running: dict[str, Experiment] = {}
        self._trials: tuple[Trial, ...] = ()
        self._epoch = ""
        self._is_dirty = False
        self._saved_s = clock.now()
        self._writing = threading.Lock()
        self.problem = ""
        self._kept = self._read()

    def configure(self, settings: Iterable[ExperimentSettings], prices: Mapping[str, float] | None = None) -> None:
        """What the settings say now. One that is defined as before goes on where it stands."""
        now_unix_s = self._clock.unix()
        self._kept |= {name: one.course for name, one in self._running.items()}
        self._prices = prices or {}
        self._running = {one.name: self._continued(one, now_unix_s) for one in settings}
        for name, one in self._running.items():
            if one.course is not self._kept.get(name):
                self._changed(one.course.changes[-1])
        self._refresh()

    def _continued(self, settings: ExperimentSettings, now_unix_s: float) -> Experiment:
        old = self._running.get(settings.name)
        if old is not None and old.settings == settings:
            return old
        return Experiment(settings, now_unix_s, self._kept.get(settings.name))

    # What decisions read.

    def trials(self) -> tuple[Trial, ...]:
        """Those under way, for a `World`."""
        if any(one.kind == SWITCHBACK for one in self._trials):
            self._refresh()
        return self._trials

    def ratio(self) -> float | None:
        """The live `ab_test_ratio`: of the first small/large pair; None without one."""
        pairs = (one for one in self._running.values() if one.settings.kind == SMALL_LARGE)
        return next((one.course.ratio for one in pairs), None)

    def epoch(self) -> str:
        """A word that changes with every rollback: an answer that is kept from before it is given no more."""
        return self._epoch

    # What is heard.

    def closed(self, outcome: Outcome) -> None:
        """Count an outcome of ours. Kept answers have no plan, and count for nobody."""
        assignment = outcome.plan.assignment if outcome.plan else None
        if assignment is not None and (one := self._running.get(assignment.experiment)) is not None:
            one.closed(outcome, assignment.arm, self._cost(outcome))
            self._is_dirty = True

    def judged(self, judged: Judged) -> None:
        """Count a verdict of a caller, however late; one on a request from before the step only as late."""
        assignment = judged.assignment
        if assignment is not None and (one := self._running.get(assignment.experiment)) is not None:
            one.judged(judged, assignment.arm)
            self._is_dirty = True

    def copied(self, experiment: str, received_unix_s: float, is_good: bool, total_s: float, tokens: int) -> None:
        """Count a shadow's copy, for the treatment."""
        if (one := self._running.get(experiment)) is not None:
            arm, cost = arms_of(one.settings.kind)[1], tokens * self._prices.get(one.settings.treatment, 0.0) / MILLION
            one.counted(arm, received_unix_s, is_good, total_s, cost)
            self._is_dirty = True

    def _cost(self, outcome: Outcome) -> float:
        model = outcome.attempts[-1].model_id if outcome.attempts else ""
        return outcome.usage.total_tokens * self._prices.get(model, 0.0) / MILLION

    # What is done.

    def look(self) -> bool:
        """Decide every experiment by what is known now. Whether anything was decided."""
        now_unix_s, is_decided = self._clock.unix(), False
        for one in self._running.values():
            while (change := one.look(now_unix_s)) is not None:
                self._changed(change)
                self._refresh()
                is_decided = True
        return is_decided

    def mark(self) -> None:
        """Keep a point of each confidence sequence, where one is due."""
        for one in self._running.values():
            one.mark()

    async def meet(self) -> None:
        """Tell the other gateways how it goes here, hear how it goes there, and follow the foremost."""
        if self._company is None or not self._running:
            return
        running = {f"{name}:{one.course.fingerprint}": one for name, one in self._running.items()}
        told = await self._company.meet({name: encode(one.word()) for name, one in running.items()})
        if told is None:
            for one in running.values():
                one.alone()
        elif told != self._told:
            self._is_dirty = True
            now_unix_s = self._clock.unix()
            for name, one in running.items():
                if self._running.get(one.settings.name) is not one:
                    continue  # a reload came between
                for change in one.heard(decode(told[name]), now_unix_s):
                    self._changed(change)
            self._refresh()
        self._told = told

    async def watch(self) -> None:
        """Meet, look, mark, save, for as long as the server runs."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self.meet()
            if not self._is_dirty:
                continue
            if self.look():
                await self.meet()  # a rollback is told at once
            self.mark()
            if self._clock.now() - self._saved_s >= SAVE_S:
                await asyncio.to_thread(self.write, self._encoded())

    def order(self, name: str, action: str, ratio: float | None, who: str) -> Change:
        """What an operator asks for: `action` is one of ratio, pause, resume, rollback. Raises RequestError."""
        one = self._running.get(name)
        if one is None:
            known = ", ".join(self._running) or "none"
            raise RequestError(f"There is no experiment `{name[:80]}`; there are {known}", code="not_found")
        now_unix_s = self._clock.unix()
        if action == "ratio":
            if ratio is None or not 0 <= ratio <= 1:
                raise RequestError("`ratio` must be a number from 0 to 1", param="ratio")
            change = one.ratio(ratio, now_unix_s, who)
        elif action == "rollback":
            change = one.rollback(now_unix_s, who)
        else:
            change = one.pause(now_unix_s, who, is_paused=action == "pause")
        self._changed(change)
        self._refresh()
        return change

    def standings(self) -> tuple[Standing, ...]:
        """All of them, for readers. Takes milliseconds each."""
        return tuple(_standing(one) for one in self._running.values())

    def standing(self, name: str) -> Standing:
        """One that there is."""
        return _standing(self._running[name])

    def _changed(self, change: Change) -> None:
        self._is_dirty, self._saved_s = True, -math.inf  # the next look saves it
        self._hear(change)

    def _refresh(self) -> None:
        now_unix_s = self._clock.unix()
        trials = (one.trial(now_unix_s) for one in self._running.values())
        self._trials = tuple(trial for trial in trials if trial is not None)
        back = ((name, one.course.rollbacks) for name, one in self._running.items())
        self._epoch = "".join(f" {name}:{times}" for name, times in back if times)

    # What is kept.

    def _read(self) -> dict[str, Course]:
        if self._path is None:
            return {}
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self.problem = f"{self._path}: {type(error).__name__}: {error}"
            return {}
        if file.version != VERSION:
            return {}
        if self._company is not None and file.gateway != self._company.me:
            for course in file.courses.values():  # told already, by who counted it
                course.control, course.treatment = Arm(), Arm()
        return file.courses

    def _encoded(self) -> bytes:
        self._is_dirty, self._saved_s = False, self._clock.now()
        me = self._company.me if self._company else ""
        courses = self._kept | {name: one.course for name, one in self._running.items()}
        return msgspec.json.encode(_File(gateway=me, courses=courses))

    def write(self, data: bytes | None = None) -> None:
        """To disk, whole or not at all. Blocks; from any thread, with what `data` holds, else as it is now."""
        if self._path is None or not (data or self._running):
            return
        data = data or self._encoded()
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with self._writing, contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(self._path)

    async def close(self) -> None:
        """Say the last word, and drop the connections."""
        if self._company is not None:
            await self.meet()
            await self._company.close()

    def __repr__(self) -> str:
        return f"Experiments({', '.join(repr(one) for one in self._running.values()) or 'none'})"


def _standing(one: Experiment) -> Standing:
    settings, course = one.settings, one.course
    return Standing(
        name=settings.name,
        kind=settings.kind,
        status=course.status,
        why=course.why,
        is_paused=course.is_paused,
        control=settings.control,
        treatment=settings.treatment,
        arms=arms_of(settings.kind),
        ratio=course.ratio,
        step=course.step,
        rollout=settings.rollout,
        alpha=settings.alpha,
        pass_below=settings.pass_below,
        rollback_above=settings.rollback_above,
        began_unix_s=course.began_unix_s,
        late_verdicts=course.late,
        requests_here=(course.control.requests, course.treatment.requests),
        verdicts_here=(course.control.quality.n, course.treatment.quality.n),
        evidence=one.evidence(),
        history=tuple(course.history),
        changes=tuple(course.changes),
    )
