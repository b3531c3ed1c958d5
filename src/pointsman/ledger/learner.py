"""What verdicts taught, kept while the server runs and over restarts: the state of `policy.bandit`.

Knows: which request a verdict is about, the file. Does not know: how a regression is fitted, what is decided with it.
Invariants: memory does not grow with traffic (the last RECENT requests, one matrix a model); a verdict costs the same
whatever came before; the file is replaced whole; one that cannot be read counts as empty and is said to be (`problem`).
"""

import asyncio
import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec

from pointsman.clock import Clock
from pointsman.policy import bandit
from pointsman.policy.catalogue import primary_language
from pointsman.settings import BanditSettings
from pointsman.types import Outcome, Value
from pointsman.types_feedback import Judged
from pointsman.types_learned import Learned

RECENT = 10_000
SAVE_S = 30.0
QUALITY = "quality"


class LearnerStatistics(Value, frozen=True):
    """Verdicts since the start: learned from, changed afterwards, and on requests that are no longer remembered."""

    learned: int
    changed: int
    unknown: int


class Context(Value, frozen=True):
    """What the features of one answer are made of. `quality`: what its model was held to be good at then."""

    model_id: str
    label: str
    language: str
    complexity: str
    prompt_tokens: int
    quality: float

    def features(self) -> bandit.Features:
        return bandit.features_of(self.label, self.language, self.complexity, self.prompt_tokens, self.quality)


class _Kept(msgspec.Struct):
    gram: list[list[float]]
    moment: list[float]
    n: float


class _File(msgspec.Struct):
    version: int
    size: int
    models: dict[str, _Kept]


VERSION = 1


class Learner:
    """A sink of Outcomes and of verdicts. `settings`: those in force; while they are off, nothing is kept."""

    def __init__(self, settings: Callable[[], BanditSettings], path: Path | None = None) -> None:
        self._settings = settings
        self._path = path
        self._recent: OrderedDict[tuple[str, str], Context] = OrderedDict()
        self._evidence: dict[str, bandit.Evidence] = {}
        self._verdicts = self._changed = self._unknown = 0
        self._writing = threading.Lock()
        self._is_written = True
        self.problem = ""
        with contextlib.suppress(FileNotFoundError):
            self._read()
        self.learned: tuple[Learned, ...] = tuple(map(bandit.learned_of, self._evidence.values()))

    def closed(self, outcome: Outcome) -> None:
        """Remember what was asked and what the model that answered was held to be good at."""
        context = context_of(outcome) if self._settings().enabled else None
        if context is None:
            return
        self._recent[outcome.tenant, outcome.request_id] = context
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def judged(self, judged: Judged) -> None:
        """Learn from a verdict, about 30 µs."""
        settings = self._settings()
        if not settings.enabled:
            return
        context = self._recent.get((judged.feedback.tenant, judged.feedback.request_id))
        if context is None or context.model_id != judged.model_id:
            self._unknown += 1
            return
        before = self._evidence.get(context.model_id) or bandit.nothing(context.model_id)
        features, value = context.features(), judged.feedback.value
        if judged.replaces is None:
            self._verdicts += 1
            after = bandit.taught(before, features, value - context.quality, settings.half_life)
        else:
            self._changed += 1
            after = bandit.corrected(before, features, value - judged.replaces)
        self._evidence[context.model_id] = after
        others = (one for one in self.learned if one.model_id != context.model_id)
        self.learned = (*others, bandit.learned_of(after))
        self._is_written = False

    async def watch(self, clock: Clock) -> None:
        """Keep the file fresh, until cancelled."""
        while True:
            await clock.sleep(SAVE_S)
            await asyncio.to_thread(self.write)

    def write(self) -> None:
        """To disk, where there is news. Blocks; from any thread. A disk that cannot be written costs only the memory
        of it."""
        if self._path is None or self._is_written:
            return
        kept = {
            name: _Kept(gram=one.gram.round(6).tolist(), moment=one.moment.round(6).tolist(), n=round(one.n, 6))
            for name, one in sorted(dict(self._evidence).items())
        }
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with self._writing, contextlib.suppress(OSError):
            self._is_written = True
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(_File(version=VERSION, size=bandit.SIZE, models=kept)))
            temporary.replace(self._path)

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            self._evidence = evidence_in(self._path.read_bytes())
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            self.problem = f"{self._path}: {type(error).__name__}: {error}"

    def statistics(self) -> LearnerStatistics:
        return LearnerStatistics(learned=self._verdicts, changed=self._changed, unknown=self._unknown)

    def counts(self) -> tuple[tuple[str, float], ...]:
        """By result, as metrics tell them."""
        return tuple((name, float(count)) for name, count in msgspec.structs.asdict(self.statistics()).items())

    def __repr__(self) -> str:
        return f"Learner({self._verdicts} verdicts on {len(self._evidence)} models)"


def context_of(outcome: Outcome) -> Context | None:
    """None where no model answered, or the plan does not say what it was held to be good at."""
    model_id, signals, plan = outcome.answered_by, outcome.signals, outcome.plan
    if not model_id or signals is None or plan is None:
        return None
    held = next((one for one in plan.candidates if one.model_id == model_id), None)
    term = next((term for term in held.terms if term.name == QUALITY), None) if held else None
    if term is None:
        return None
    return Context(
        model_id=model_id,
        label=outcome.task,
        language=primary_language(signals.language.label),
        complexity=signals.complexity.label,
        prompt_tokens=signals.prompt_tokens,
        quality=term.value,
    )


def evidence_in(raw: bytes) -> dict[str, bandit.Evidence]:
    """What a file of `write` holds. Raises ValueError where it is none, or one of other features."""
    file = msgspec.json.decode(raw, type=_File)
    if (file.version, file.size) != (VERSION, bandit.SIZE):
        raise ValueError(f"of version {file.version} with {file.size} features, not {VERSION} with {bandit.SIZE}")
    return {name: bandit.evidence_of(name, kept.gram, kept.moment, kept.n) for name, kept in file.models.items()}
