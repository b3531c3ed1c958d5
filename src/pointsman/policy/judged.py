"""What graded answers say of each model on one request: the quality profile, asked once, and guarded.

Knows: which text and labels to ask with, how a guarded quality is made. Does not know: deployments, other terms.

Nobody wins out of distribution without a guard (`docs/evaluation.md` has the figures), so a model is never preferred to
the incumbent, the best single model of those graded, on a mere hope: 1 what is not like anything graded is answered by
the models' overall means; 2 a gain over the incumbent that is not sure counts for nothing, a loss counts in full.
"""

from collections.abc import Collection

from pointsman.harness import last_said
from pointsman.policy.quality import Estimate, QualityProfile
from pointsman.types import Intent, Request, Scored, Signals, UseCase, Value

SURE_OF_LABEL = 0.6  # labels less sure than this are left out of the question to the profile


class Verdict(Value, frozen=True):
    """One model's guarded quality in [0, 1], and the reason in words."""

    model_id: str
    quality: float
    why: str


class Judged(Value, frozen=True):
    """One verdict a graded model. `novelty` in [0, 1]: how little the text is like anything that was graded."""

    verdicts: tuple[Verdict, ...] = ()
    novelty: float = 0.0

    def of(self, model_id: str) -> Verdict | None:
        """The verdict on one model; None where no answer of it was graded."""
        for verdict in self.verdicts:
            if verdict.model_id == model_id:
                return verdict
        return None


def incumbent_of(profile: QualityProfile, configured: Collection[str]) -> str:
    """Whom the guard falls back to: the profile's incumbent, or the best single one of those that are configured."""
    if profile.incumbent in configured:
        return profile.incumbent
    here = [(mean, name) for name, mean in profile.overall() if name in configured]
    return max(here)[1] if here else profile.incumbent


def judge(profile: QualityProfile, request: Request, signals: Signals, incumbent: str = "") -> Judged:
    """Ask the profile about the user's last words, without tool results and reminders, as the signals read them.
    Empty where there are none, or where no chat model is asked."""
    text = last_said(request.turns)[0].strip()
    if not text or signals.use_case.label != UseCase.AGENT:
        return Judged()
    view = profile.view(text, _labels(signals))
    incumbent = incumbent or profile.incumbent
    estimates = profile.estimates(view)
    ours = next(one for one in estimates if one.model_id == incumbent)
    if profile.is_novel(view):
        overall = profile.overall()
        return Judged(
            verdicts=tuple(
                Verdict(
                    model_id=name, quality=mean, why=f"{mean:.2f} over all graded answers; nothing like this was graded"
                )
                for name, mean in overall
            ),
            novelty=view.novelty,
        )
    gains = profile.gains(view, incumbent)
    return Judged(
        verdicts=tuple(_verdict(one, ours, gain, low) for one, (gain, low) in zip(estimates, gains, strict=True)),
        novelty=view.novelty,
    )


def _verdict(one: Estimate, incumbent: Estimate, gain: float, low: float) -> Verdict:
    said = f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f}) on requests like this"
    if gain > 0 >= low and one.model_id != incumbent.model_id:
        kept = min(one.mean, incumbent.mean)
        return Verdict(
            model_id=one.model_id,
            quality=kept,
            why=f"{said}, not surely better than {incumbent.model_id}: counted as {kept:.2f}",
        )
    return Verdict(model_id=one.model_id, quality=one.mean, why=said)


def _labels(signals: Signals) -> tuple[str, str, str] | None:
    """(intent, language, complexity), where the classifier is sure enough of them to be worth asking with."""
    asked: tuple[Scored, ...] = (signals.intent, signals.language)
    if any(scored.p < SURE_OF_LABEL for scored in asked) or signals.intent.label not in {*map(str, Intent)}:
        return None
    return signals.intent.label, signals.language.label, signals.complexity.label
