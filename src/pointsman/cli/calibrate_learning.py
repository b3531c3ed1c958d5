"""Where calibration meets learning: graded answers become a quality profile, and a profile chooses for the report.

Knows: the rows of one and the profile of the other. Does not know: statistics, files. The two rooms do not know each
other. Invariant: at a choice the profile is told only what the router would know: the text, and the labels that the
classifier gives it, never the suite's own.
"""

from collections.abc import Callable, Sequence

from pointsman.calibration.items import Item
from pointsman.calibration.routing import Row
from pointsman.learning.fit import fit_profile
from pointsman.learning.rows import Answer, Graded, graded
from pointsman.policy.quality import Labels, ProfileData, QualityProfile, encode
from pointsman.settings import RoutingSettings
from pointsman.signals.classifier import Classifier
from pointsman.types import JsonPayload, Kind, Request, Turn

Measure = Callable[[Item], Labels]


def measured_labels(routing: RoutingSettings) -> Measure:
    """The labels that the router would see on an item."""
    classifier, known = Classifier(routing), dict[str, Labels]()

    def measure(item: Item) -> Labels:
        if item.id not in known:
            turns = ((Turn(role="system", text=item.system),) if item.system else ()) + (
                Turn(role="user", text=item.prompt),
            )
            request = Request(id=item.id, kind=Kind.CHAT, model="auto", payload=JsonPayload(members=()), turns=turns)
            signals = classifier.measure(request)
            known[item.id] = (signals.intent.label, signals.language.label, signals.complexity.label)
        return known[item.id]

    return measure


class ProfileChooser:
    """`routing.Chooser`: one fitted profile, its models in the table's order."""

    def __init__(self, data: ProfileData, models: tuple[str, ...], measure: Measure) -> None:
        self._profile = QualityProfile(data)
        self._models = models
        self._measure = measure

    def means(self, item: Item) -> Sequence[float]:
        by_model = {one.model_id: one.mean for one in self._profile.estimate(item.prompt, self._measure(item))}
        return [by_model[model] for model in self._models]

    def guarded(self, item: Item) -> int:
        return self._models.index(self._profile.choose(self._profile.view(item.prompt, self._measure(item))).model_id)


class ProfileLearner:
    """`routing.Learner`: fits as `pointsman quality fit` does."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def fit(self, rows: Sequence[Row], models: tuple[str, ...], seed: int) -> ProfileChooser:
        """Raises FitError where there are too few questions."""
        return ProfileChooser(fit_profile(answers_of(rows), seed=seed), models, self._measure)


def answers_of(rows: Sequence[Row]) -> Graded:
    """Calibration's rows as learning's table; a family is a group of questions alike."""
    return graded(
        [
            Answer(
                prompt=row.prompt,
                model=row.model,
                score=row.score,
                cost=row.cost,
                latency_ms=row.latency_ms,
                group=row.group,
                intent=row.intent,
                language=row.language,
                complexity=row.complexity,
            )
            for row in rows
        ]
    )


def profile_of(rows: Sequence[Row], seed: int) -> bytes:
    """A profile of all answers, as a file's bytes. Raises FitError where there are too few questions."""
    return encode(fit_profile(answers_of(rows), seed=seed))
