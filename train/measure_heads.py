"""What stage 1 alone says of requests it was not trained on, beside the dumbest things that could be said instead.

    python -m train.measure_heads [--set train/heldout] [--json]

Controls: the label most frequent in the corpus; the keyword rules settled by odds, as they were before anything was
learned; for complexity, two cuts through the length of the prompt, set on the corpus. `train.measure_decisions` has
both stages, noise and cost.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from train.check_corpus import Row
from train.heads import LABELS, label_of
from train.measured import Figure, auroc, bootstrap, calibration_error, macro_f1, write
from train.rows import corpus, request_of

from pointsman.settings import RoutingSettings
from pointsman.signals.classifier import COMPLEXITY, INTENT, USE_CASE, Classifier, Question
from pointsman.signals.evidence import settle
from pointsman.signals.look import Looked, Looker
from pointsman.signals.rulebook import Rulebook, builtin_rules
from pointsman.types import Signals

HERE = Path(__file__).parent
INDIAN = tuple("hi mr bn gu pa ta te kn ml".split())
OUT_OF_SCOPE = "out_of_scope.jsonl"


class Told(NamedTuple):
    """Rows, what stage 1 says of them, and what the rules alone say."""

    rows: list[Row]
    signals: list[Signals]
    looked: list[Looked]


def task_of(signals: Signals) -> str:
    return signals.intent.label if signals.use_case.label == "agent" else signals.use_case.label


def ruled(looked: Looked, question: Question) -> str:
    """What the rules, shapes and attachments come to without anything learned."""
    return settle(getattr(looked.votes, question.name), question.default, question.priors).label


def ruled_task(looked: Looked) -> str:
    use_case = ruled(looked, USE_CASE)
    return ruled(looked, INTENT) if use_case == "agent" else use_case


def by_language(rows: Sequence[Row], places: Sequence[int], score: Callable[[list[int]], float]) -> float:
    """The mean over the languages that these rows are in."""
    groups = [[at for at in places if rows[at].language == language] for language in INDIAN]
    return float(np.mean([score(group) for group in groups if group]))


def tasks(told: Told, name: str) -> list[Figure]:
    """Macro-F1 over the eight tasks: English, the mean of nine Indian languages, romanised and mixed."""
    truth = [LABELS["task"][label_of(row, "task")] for row in told.rows]
    ours, rules = [task_of(one) for one in told.signals], [ruled_task(one) for one in told.looked]
    usual = Counter(LABELS["task"][label_of(row, "task")] for row in corpus()).most_common(1)[0][0]

    def scored(said: Sequence[str]) -> Callable[[Sequence[int]], float]:
        return lambda places: macro_f1([truth[at] for at in places], [said[at] for at in places])

    def figure(what: str, places: list[int], is_mean: bool) -> Figure:
        def value(said: Sequence[str], drawn: Sequence[int]) -> float:
            score = scored(said)
            return by_language(told.rows, drawn, score) if is_mean else score(drawn)

        low, high = bootstrap(len(places), lambda drawn: value(ours, [places[at] for at in drawn]), resamples=300)
        controls = {"rules": value(rules, places), "majority": value([usual] * len(truth), places)}
        return Figure(what, name, len(places), value(ours, places), low, high, controls)

    every = range(len(truth))
    return [
        figure("stage 1, task macro-F1, English", [at for at in every if told.rows[at].language == "en"], False),
        figure(
            "stage 1, task macro-F1, mean of Indian languages",
            [at for at in every if told.rows[at].language != "en"],
            True,
        ),
        figure(
            "stage 1, task macro-F1, romanised and mixed",
            [at for at in every if told.rows[at].script != "native"],
            False,
        ),
    ]


def hardness(told: Told, name: str) -> Figure:
    """Accuracy of complexity, beside length alone and the rules."""
    truth = np.array([row.complexity for row in told.rows])
    ours = np.array([one.complexity.label for one in told.signals])
    low, high = bootstrap(len(truth), lambda at: float(np.mean(truth[at] == ours[at])))
    cuts = length_cuts([(len(row.text), row.complexity) for row in corpus()])
    controls = {
        "length": float(np.mean([by_length(len(row.text), cuts) == row.complexity for row in told.rows])),
        "rules": float(np.mean(truth == np.array([ruled(one, COMPLEXITY) for one in told.looked]))),
    }
    return Figure("stage 1, complexity accuracy", name, len(truth), float(np.mean(truth == ours)), low, high, controls)


def by_length(chars: int, cuts: tuple[int, int]) -> str:
    return "low" if chars < cuts[0] else "medium" if chars < cuts[1] else "high"


def length_cuts(known: Sequence[tuple[int, str]]) -> tuple[int, int]:
    """The two lengths that tell most rows right."""
    steps = range(20, 420, 20)
    pairs = [(low, high) for low in steps for high in steps if low < high]
    return max(pairs, key=lambda cuts: sum(by_length(chars, cuts) == label for chars, label in known))


def rest(told: Told, name: str) -> list[Figure]:
    """Calibration, tool need, and how many requests stage 2 is asked about."""
    right = [one.use_case.label == row.use_case for one, row in zip(told.signals, told.rows, strict=True)]
    ece = calibration_error([one.use_case.p for one in told.signals], right)
    needed = [one.tool_need for one, row in zip(told.signals, told.rows, strict=True) if row.needs_tools]
    other = [one.tool_need for one, row in zip(told.signals, told.rows, strict=True) if not row.needs_tools]
    unsure = float(np.mean([bool(one.unsure) for one in told.signals]))
    return [
        Figure("stage 1, calibration error of the use case", name, len(right), ece),
        Figure("stage 1, AUROC of tool need", name, len(right), auroc(needed, other), controls={"chance": 0.5}),
        Figure("stage 1, share asked of stage 2", name, len(right), unsure),
    ]


def strangeness(told: Told, path: Path, classifier: Classifier, name: str) -> list[Figure]:
    """AUROC of novelty against the set's own texts out of scope, where it has any."""
    if not path.exists():
        return []
    strange = [classifier.measure(request_of(row)).novelty for row in read(path)]
    known = [one.novelty for one in told.signals]
    value = auroc(strange, known)
    size = len(strange) + len(known)
    both = np.array([*strange, *known])

    def drawn(at: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> float:
        return auroc(both[at[at < len(strange)]].tolist(), both[at[at >= len(strange)]].tolist())

    low, high = bootstrap(size, drawn, resamples=200)
    what, chance = "novelty, AUROC of out of scope", {"chance": 0.5}
    return [Figure(what, name, size, value, low, high, chance, "≥ .95", value >= 0.95)]


def read(path: Path) -> list[Row]:
    """Rows as they stand; a row out of scope has no labels."""
    rows = (msgspec.json.decode(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [Row(**row) for row in rows]


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m train.measure_heads", description=__doc__)
    parser.add_argument("--set", type=Path, default=HERE / "heldout")
    parser.add_argument("--json", action="store_true", help="JSON lines; the only form there is")
    folder = parser.parse_args(arguments).set
    classifier, looker = Classifier(RoutingSettings()), Looker(Rulebook(builtin_rules()))
    rows = [row for path in sorted(folder.glob("??.jsonl")) for row in read(path)]
    requests = [request_of(row) for row in rows]
    told = Told(rows, [classifier.measure(one) for one in requests], [looker.look(one) for one in requests])
    name = folder.name
    write([*tasks(told, name), hardness(told, name), *rest(told, name)])
    write(strangeness(told, folder / OUT_OF_SCOPE, classifier, name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
