"""What was asked, by whom, how it went and what it cost, in sums: what `/v1/model-routing/stats` is made of, and what
the information page and the console say of it. There is no second count of any of it.

Knows: which sums a request and a verdict belong to. Does not know: how they are shown (`report`, `stats`).
A request is added once, to the sums of its combination of labels; they go into those of each label when somebody asks.
Invariants: memory does not grow with traffic (a dimension has at most MOST labels, the rest is `other`, MOST_NEW
combinations wait, and WINDOW latencies are kept one by one); hearing of a request takes microseconds. Latencies are of
whole answers that a model gave: a refusal or a kept answer is quick and says nothing of any model.
"""

from collections import deque
from collections.abc import Callable, Iterable

from pointsman.ledger.cost import Spent
from pointsman.ledger.reading import STATUSES
from pointsman.types import Assignment, Intent, Outcome, UseCase
from pointsman.types_feedback import Judged

UNKNOWN, OTHER = "unknown", "other"
MOST, MOST_NEW = 128, 64
WINDOW = 1000
CACHE = ("hit", "semantic", "miss", "bypass")
Combination = tuple[str, str, str, str, str]
"""A model, a task, a language, `experiment:arm` or "", a tenant."""


class Sums:
    """Of one group of requests. `x`, `y`: tokens written and seconds taken, of answers."""

    __slots__ = (
        "answers", "baseline_cost", "completion_tokens", "cost", "gpu_s", "latency_s", "latency_s2", "prompt_tokens",
        "requests", "saved_cost", "saved_tokens", "successes", "tokens", "tokens2", "tokens_latency", "verdict_sum",
        "verdicts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.successes = self.answers = self.verdicts = 0
        self.prompt_tokens = self.completion_tokens = self.saved_tokens = 0
        self.latency_s = self.latency_s2 = self.tokens = self.tokens2 = self.tokens_latency = 0.0
        self.cost = self.baseline_cost = self.saved_cost = self.gpu_s = self.verdict_sum = 0.0

    def add(self, outcome: Outcome, spent: Spent) -> bool:
        """Whether a model gave a whole answer."""
        usage = outcome.usage
        self.requests += 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cost += spent.cost
        self.baseline_cost += spent.baseline_cost
        self.gpu_s += spent.gpu_s
        if outcome.cached_model:
            self.saved_tokens += outcome.saved.total_tokens
            self.saved_cost += spent.saved_cost
        if outcome.status == "success":
            self.successes += 1
            if not outcome.cached_model:
                self._add_answer(outcome.total_s, usage.completion_tokens)
                return True
        return False

    def _add_answer(self, total_s: float, tokens: int) -> None:
        self.answers += 1
        self.latency_s += total_s
        self.latency_s2 += total_s * total_s
        self.tokens += tokens
        self.tokens2 += tokens * tokens
        self.tokens_latency += tokens * total_s

    def judge(self, value: float, replaces: float | None) -> None:
        """A verdict counts once however often it is changed."""
        self.verdicts += replaces is None
        self.verdict_sum += value - (replaces or 0.0)

    def take(self, other: "Sums") -> None:
        """Theirs are in these, too."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Group(dict[str, Sums]):
    """Sums by label. `known` are there from the start; beyond MOST labels the rest is `other`."""

    def __init__(self, known: Iterable[str] = (), is_closed: bool = False) -> None:
        super().__init__((name, Sums()) for name in known)
        self._beyond = UNKNOWN if is_closed else OTHER
        self._most = len(self) if is_closed else MOST

    def know(self, labels: Iterable[str]) -> None:
        """From now on these have sums of their own."""
        for label in labels:
            self.setdefault(label, Sums())
        self._most = max(self._most, len(self))

    def __missing__(self, label: str) -> Sums:
        if len(self) >= self._most:
            label = self._beyond
        return self.setdefault(label, Sums())


class Groups:
    """Everybody's sums, and those by each label. `models`: those configured."""

    def __init__(self, models: Iterable[str]) -> None:
        self.all = Sums()
        self.models = Group((*models, UNKNOWN), is_closed=True)
        self.tasks = Group((*Intent, *(one for one in UseCase if one is not UseCase.AGENT), UNKNOWN), is_closed=True)
        self.languages = Group()
        self.arms = Group()
        self.tenants = Group()

    def take(self, combination: Combination, sums: Sums) -> None:
        """Into everybody's and those of each label."""
        model, task, language, arm, tenant = combination
        self.all.take(sums)
        self.models[model].take(sums)
        self.tasks[task].take(sums)
        self.languages[language].take(sums)
        self.tenants[tenant].take(sums)
        if arm:
            self.arms[arm].take(sums)


class Tally:
    """A sink but for the money, which `accounts` adds. `models` are the configured ids, `unix` gives the hour."""

    def __init__(self, models: Iterable[str], unix: Callable[[], float]) -> None:
        self._models = tuple(models)
        self._unix = unix
        self.reset()

    def reset(self) -> None:
        """Begin anew. What is under way is counted when it ends."""
        self.since_unix_s = self._unix()
        self._groups = Groups(self._models)
        self._new: dict[Combination, Sums] = {}
        self.by_status = dict.fromkeys(STATUSES, 0)
        self.by_cache = dict.fromkeys(CACHE, 0)
        self.fallbacks = 0
        self.latencies_s: deque[float] = deque(maxlen=WINDOW)

    def know(self, models: Iterable[str]) -> None:
        """These are configured, too."""
        self._models = tuple(dict.fromkeys((*self._models, *models)))
        self.groups().models.know(self._models)

    def closed(self, outcome: Outcome, spent: Spent) -> None:
        self.by_status[outcome.status] += 1
        self.by_cache[outcome.cache] += 1
        self.fallbacks += bool(outcome.fallback_from)
        signals, plan = outcome.signals, outcome.plan
        language = signals.language.label if signals else UNKNOWN
        arm = _arm(plan.assignment if plan else None)
        sums = self._sums((outcome.model_id, outcome.task, language or UNKNOWN, arm, outcome.tenant))
        if sums.add(outcome, spent):
            self.latencies_s.append(outcome.total_s)

    def judged(self, judged: Judged) -> None:
        """Into the same groups, however long ago the request was."""
        task = judged.intent if judged.use_case == UseCase.AGENT else judged.use_case
        arm, given = _arm(judged.assignment), judged.feedback
        combination = (judged.model_id, task or UNKNOWN, judged.language or UNKNOWN, arm, given.tenant)
        self._sums(combination).judge(given.value, judged.replaces)

    def _sums(self, combination: Combination) -> Sums:
        """What is new of that very combination."""
        sums = self._new.get(combination)
        if sums is None:
            if len(self._new) >= MOST_NEW:
                self.groups()
            sums = self._new[combination] = Sums()
        return sums

    def groups(self) -> Groups:
        """As of now."""
        for combination, sums in self._new.items():
            self._groups.take(combination, sums)
        self._new.clear()
        return self._groups

    def __repr__(self) -> str:
        return f"Tally({sum(self.by_status.values())} requests)"


def _arm(assignment: Assignment | None) -> str:
    return f"{assignment.experiment}:{assignment.arm}" if assignment else ""
