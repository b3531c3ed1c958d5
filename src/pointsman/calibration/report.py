"""The report of a calibration in Markdown: which model for what, and what routing would save.

Knows: words and tables. Does not know: how anything was measured or computed, where the pictures are drawn (`plots`).
Pure. Invariants: every share stands with its interval or its number of answers; where no difference can be claimed the
report says so; errors are told apart from wrong answers; names of the user's models are shown as they are.
"""

from collections.abc import Iterable, Sequence

from pointsman.calibration.items import Item
from pointsman.calibration.measured import (
    MONEY,
    WORK,
    Cell,
    Key,
    Measured,
    Pair,
    cells,
    overall,
    pairs,
    profiles,
    speeds,
)
from pointsman.calibration.routing import Area, Simulation, Standing, area, standings, sweep
from pointsman.calibration.statistics import ALPHA, Interval

LEAST = 0.0005  # half of the last digit shown: nothing smaller is claimed
NO_WORSE = 0.05  # a loss that a smaller model is worth
ANSWERS_AT_LEAST = 60  # with fewer, not even a spotless record rules out a greater loss (rule of three: 3/60 = 5 %)
OUT_OF_REACH = 0.1  # nobody can do it: every model's upper bound is below this
UNITS = {
    MONEY: "price units an answer",
    WORK: "GB·tokens an answer (gigabytes of weights × tokens read and written)",
}
BY_FAMILY, BY_LANGUAGE, BY_LABEL = "family", "language", "intent, complexity"


def family(item: Item) -> str:
    return item.family


def language(item: Item) -> str:
    return item.language


def label(item: Item) -> str:
    return f"{item.intent}, {item.complexity}"


KEYS: tuple[tuple[str, Key], ...] = ((BY_FAMILY, family), (BY_LANGUAGE, language), (BY_LABEL, label))
PICTURES = {
    BY_FAMILY: "accuracy-by-family.png",
    BY_LANGUAGE: "accuracy-by-language.png",
    BY_LABEL: "accuracy-by-label.png",
    "speed": "speed.png",
    "routing": "routing.png",
}


def report(measured: Measured, simulation: Simulation | None, why_no_routing: str, date: str) -> str:
    """The whole report. `simulation` None: `why_no_routing` says why."""
    parts = [
        "# Calibration report",
        _head(measured, date),
        "## The models",
        _models(measured),
        *_accuracy(measured),
        "## Do the models differ?",
        _differences(measured),
        "## Which model for what",
        _recommended(measured),
        "## Speed",
        _speed(measured),
        "## What routing would save",
        _routing(measured, simulation) if simulation else why_no_routing,
        "## How this was measured",
        _method(measured),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ---------------------------------------------------------------- words


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def ranged(interval: Interval) -> str:
    """`61.2 % [57.0, 65.3]`."""
    return f"{percent(interval.mean)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def points(interval: Interval) -> str:
    """A difference in percentage points: `+4.1 [+1.0, +7.2]`."""
    mean, low, high = (round(100 * value, 1) + 0.0 for value in (interval.mean, interval.low, interval.high))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures. A bar in a name does not break it."""
    lines = [" | ".join(head), " | ".join([":--", *("--:" for _ in head[1:])])]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def joined(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# ---------------------------------------------------------------- sections


def _head(measured: Measured, date: str) -> str:
    asked, answered = len(measured.items) * len(measured.targets), len(measured.answers)
    lines = [
        (
            f"{date}. Suite version `{measured.suite}`: {len(measured.items)} questions to "
            f"{len(measured.targets)} models, {answered:,} of {asked:,} answered and graded."
        ),
        *(f"- **{failure.model} could not be measured to the end**: {failure.why}" for failure in measured.failures),
        *(f"- {remark}." for remark in measured.remarks),
    ]
    missing = asked - answered
    if missing:
        failed = sum(measured.errors)
        lines.append(
            f"- {missing:,} questions have no answer ({failed:,} of them were asked and failed). They count neither as "
            "right nor as wrong; run the same command again to ask them."
        )
    return "\n".join(lines)


def _models(measured: Measured) -> str:
    targets = {target.model: target for target in measured.targets}
    errors = dict(zip(targets, measured.errors, strict=True))
    rows = [
        (
            f"`{cell.model}`",
            ranged(cell.score),
            str(cell.score.n),
            str(errors[cell.model]),
            f"{targets[cell.model].size_bytes / 1e9:.2f} GB" if targets[cell.model].size_bytes else "",
            f"`{targets[cell.model].model_print}`",
        )
        for cell in overall(measured)
    ]
    return grid(("model", "right [95 %]", "answers", "errors", "weights", "fingerprint"), rows)


def _accuracy(measured: Measured) -> list[str]:
    parts = []
    for name, key in KEYS:
        found = cells(measured, key)
        parts += [
            f"## Right answers by {name}",
            f"![Right answers by {name}, with 95 % intervals](plots/{PICTURES[name]})",
            _by_group(measured, found),
            _out_of_reach(found, name),
        ]
    return parts


def _by_group(measured: Measured, found: Sequence[Cell]) -> str:
    """Groups down, models across."""
    by = {(cell.group, cell.model): cell.score for cell in found}
    groups = tuple(dict.fromkeys(cell.group for cell in found))
    rows = [
        (
            group,
            *(ranged(by[group, model]) if by[group, model].n else "no answer" for model in measured.models),
            str(max(by[group, model].n for model in measured.models)),
        )
        for group in groups
    ]
    return grid(("", *(f"`{model}`" for model in measured.models), "answers"), rows)


def _out_of_reach(found: Sequence[Cell], name: str) -> str:
    """Groups where nobody gets anything right: there is nothing to choose by, and it should be said."""
    groups: dict[str, list[Interval]] = {}
    for cell in found:
        groups.setdefault(cell.group, []).append(cell.score)
    beyond = [group for group, scores in groups.items() if all(one.n and one.high < OUT_OF_REACH for one in scores)]
    zero = [group for group, scores in groups.items() if all(one.n and one.mean == 0 for one in scores)]
    if not beyond and not zero:
        return ""
    named = ", ".join(dict.fromkeys((*zero, *beyond)))
    return (
        f"**Out of reach of all these models** (by {name}): {named}. Every one of them is at or near zero there, so "
        "this part of the suite cannot tell them apart, and routing among them cannot help."
    )


def _differences(measured: Measured) -> str:
    if len(measured.models) < 2:
        return "One model has answered; there is nothing to compare."
    found = (*pairs(measured, lambda _: "all families"), *pairs(measured, family))
    rows = [
        (
            f"`{pair.first}` − `{pair.second}`",
            pair.group,
            points(_as_interval(pair)),
            str(pair.difference.n),
            chance(pair.p_adjusted),
            _claim(pair),
        )
        for pair in found
    ]
    kinds = [
        f"- `{one.first}` and `{one.second}`: "
        + (
            f"their strengths differ in kind (p {_p(one.p)}): the gap between them is not the same in every family."
            if one.p < ALPHA
            else f"no difference in kind can be claimed (p {_p(one.p)}): one gap throughout explains the answers."
        )
        for one in profiles(measured)
    ]
    head = ("difference in points [95 %]", "on", "points", "items", "p", "says")
    return "\n\n".join(
        (
            (
                "Paired over the items that both have answered. p: McNemar's exact test where all answers are right or "
                "wrong, else a paired bootstrap; adjusted after Holm for all rows of one kind."
            ),
            grid(("models", *head[1:]), rows),
            "Are they good at *different* things (permutation test of model × family, Holm-adjusted)?",
            "\n".join(kinds),
        )
    )


def _p(p: float) -> str:
    return chance(p) if p < 0.001 else f"= {chance(p)}"


def _as_interval(pair: Pair) -> Interval:
    return Interval(mean=pair.difference.mean, low=pair.difference.low, high=pair.difference.high)


def _claim(pair: Pair) -> str:
    if pair.difference.n == 0:
        return "nothing to compare"
    if pair.p_adjusted >= ALPHA:
        return "no difference can be claimed"
    return f"`{pair.first if pair.difference.mean > 0 else pair.second}` is better"


def _recommended(measured: Measured) -> str:
    if len(measured.models) < 2:
        return f"There is only {joined(measured.models)}." if measured.models else "No model has answered."
    best = max(overall(measured), key=lambda cell: cell.score.mean).model
    rows = [row for name, key in KEYS for row in _recommended_by(measured, name, key, best)]
    note = (
        f"Best on the whole: `{best}`. Take it, unless another is surely better (Holm-adjusted p < 0.05), or a smaller "
        f"(cheaper) one is surely no more than {100 * NO_WORSE:.0f} points worse (the lower end of the paired 95 % "
        f"interval, on at least {ANSWERS_AT_LEAST} answers). With few answers neither can be shown; more questions may "
        "show it. This is advice for the use-case matrix; the profile decides request by request."
    )
    return f"{note}\n\n{grid(('for', 'highest share', 'take', 'because'), rows)}"


def _recommended_by(measured: Measured, name: str, key: Key, incumbent: str) -> list[tuple[str, str, str, str]]:
    against: dict[str, list[tuple[str, Pair, int]]] = {}
    for pair in pairs(measured, key):
        if incumbent in {pair.first, pair.second}:
            is_first = pair.second == incumbent
            other = pair.first if is_first else pair.second
            against.setdefault(pair.group, []).append((other, pair, 1 if is_first else -1))
    highest: dict[str, Cell] = {}
    for cell in cells(measured, key):
        if cell.group not in highest or cell.score.mean > highest[cell.group].score.mean:
            highest[cell.group] = cell
    rows = []
    for group, cell in highest.items():
        take, why = _taken(measured, incumbent, against.get(group, []))
        if cell.score.mean == 0:
            take, why = "none of these", "no answer was right"
        rows.append((f"{name}: {group}", f"`{cell.model}` {percent(cell.score.mean)}", take, why))
    return rows


def _taken(measured: Measured, incumbent: str, rivals: Sequence[tuple[str, Pair, int]]) -> tuple[str, str]:
    """The model to take, and why."""
    weight = {target.model: (target.cost_per_mtok, target.size_bytes) for target in measured.targets}
    better = [
        (sign * pair.difference.mean, other)
        for other, pair, sign in rivals
        if pair.p_adjusted < ALPHA and sign * pair.difference.mean > 0
    ]
    if better:
        return f"`{max(better)[1]}`", "surely better than the best on the whole"
    as_good = [
        other
        for other, pair, sign in rivals
        if pair.difference.n >= ANSWERS_AT_LEAST
        and (pair.difference.low if sign > 0 else -pair.difference.high) > -NO_WORSE
        and weight[other] < weight[incumbent]
    ]
    if as_good:
        return f"`{min(as_good, key=lambda model: weight[model])}`", "smaller, and surely hardly worse"
    return f"`{incumbent}`", "nothing else is shown to be as good"


def _speed(measured: Measured) -> str:
    rows = [
        (
            f"`{one.model}`",
            f"{one.tokens_per_s:.1f}",
            f"{one.first_token_p50_s:.2f} s" if one.first_token_p50_s is not None else "",
            f"{one.p50_s:.2f} s",
            f"{one.p95_s:.2f} s",
            f"{one.tokens_per_answer:.0f}",
            percent(one.cut_off),
            str(one.concurrency),
        )
        for one in speeds(measured)
    ]
    head = (
        *("model", "tokens/s, one answer", "first token p50", "answer p50", "answer p95", "tokens an answer"),
        *("cut off by the limit", "at once"),
    )
    return (
        f"![Speed and latency](plots/{PICTURES['speed']})\n\n{grid(head, rows)}\n\n"
        "As they were on this machine while the suite ran, so many questions at once; whatever else ran then slowed "
        "them."
    )


# ---------------------------------------------------------------- routing


def _routing(measured: Measured, simulation: Simulation) -> str:
    table = simulation.table
    shown = (*simulation.singles, simulation.best_single, *simulation.policies, simulation.oracle)
    found = standings(simulation, shown, measured.seed)
    rows = [_routing_row(one, table.models) for one in found]
    head = (
        *("choice", "right [95 %]", "cost", "seconds", "over best single", "over random at its cost"),
        *("over its shares shuffled", "cost saved to best single"),
    )
    return "\n\n".join(
        (
            (
                f"On the {len(table.items)} questions that every model has answered. Every question's model was "
                "chosen by a profile fitted without it (and without the same task in other languages). "
                f"Cost: {UNITS.get(table.unit, 'seconds an answer')}. Differences in percentage points."
            ),
            f"![Quality against cost](plots/{PICTURES['routing']})",
            grid(head, rows),
            "\n".join((*_verdicts(found, simulation), *_over_budgets(area(simulation, measured.seed)))),
            _shares(found, table.models),
            _swept(simulation, measured.seed),
        )
    )


def _swept(simulation: Simulation, seed: int) -> str:
    """The profile as the router uses it: quality less weighted cost."""
    rows = [
        (
            f"{one.weight:g}",
            ranged(one.standing.quality),
            points(one.standing.over_best),
            ranged(one.standing.cost_saved),
            points(one.over_best),
            points(one.groups_over_best),
            points(one.standing.over_random),
            " / ".join(f"{100 * share:.0f}" for share in one.standing.shares),
        )
        for one in sweep(simulation, seed)
    ]
    head = (
        *("cost weight", "right [95 %]", "over best single", "cost saved", "utility over best single at this weight"),
        *("group means: the same", "over random at its cost"),
        f"% {' / '.join(f'`{model}`' for model in simulation.table.models)}",
    )
    return (
        "At a cost weight *w* a model's utility is its expected quality less *w* × its cost, the dearest model's mean "
        "cost being 1. *Best single at this weight*: the model with the most utility, picked in hindsight.\n\n"
        f"{grid(head, rows)}"
    )


def _routing_row(one: Standing, models: tuple[str, ...]) -> tuple[str, ...]:
    is_single = one.name in models
    return (
        f"always `{one.name}`" if is_single else one.name,
        ranged(one.quality),
        f"{one.cost.mean:.3g}",
        f"{one.answer_s:.2f}",
        points(one.over_best),
        "" if is_single else points(one.over_random),
        "" if is_single else points(one.over_shuffled),
        ranged(one.cost_saved),
    )


def _over_budgets(found: Area) -> tuple[str, str]:
    """One figure for the whole curve."""
    return (
        (
            "- **The profile over all budgets** (cost weights 0 to 2, averaged over every budget between the cheapest "
            f"and the dearest model): {_verdict(found.over_mixtures, 'the best random mixture of models')};"
        ),
        f"  {_verdict(found.over_singles, 'the best single model that the budget affords')}.",
    )


def _verdicts(found: Sequence[Standing], simulation: Simulation) -> list[str]:
    """What the table shows, said; a claim only where its interval leaves zero out."""
    names = [policy.name for policy in simulation.policies if policy.name.startswith("profile")]
    said = []
    for one in (one for one in found if one.name in names):
        claims = [
            _verdict(one.over_best, "the best single model"),
            _verdict(one.over_random, "the best random mixture at the same cost"),
            _verdict(one.over_shuffled, "its own choices shuffled"),
        ]
        saving = one.cost_saved
        if saving.low > LEAST:
            claims.append(f"costs {percent(saving.mean)} less than the best single model")
        elif saving.high < -LEAST:
            claims.append(f"costs {percent(-saving.mean)} more than the best single model")
        said.append(f"- **{one.name}**: {'; '.join(claims)}.")
    return said


def _verdict(gain: Interval, other: str) -> str:
    if gain.low > LEAST:
        return f"better than {other} ({points(gain)})"
    if gain.high < -LEAST:
        return f"worse than {other} ({points(gain)})"
    return f"no difference to {other} can be claimed ({points(gain)})"


def _shares(found: Sequence[Standing], models: tuple[str, ...]) -> str:
    rows = [(one.name, *(percent(share) for share in one.shares)) for one in found if one.name not in models]
    return "Who answers:\n\n" + grid(("choice", *(f"`{model}`" for model in models)), rows)


def _method(measured: Measured) -> str:
    return "\n".join(
        (
            (
                "- The suite ships with Pointsman; answers are graded by programs (numbers, choices, JSON fields, unit "
                "tests in a sandbox, chrF for translations, checks of instructions), never by a model. Its questions "
                "are short: it says nothing of long documents, long answers or conversations."
            ),
            "- Temperature 0, one answer a question; the interval is over questions, not over repeated answers.",
            (
                "- Intervals are Wilson's for shares and the percentile bootstrap over questions for the rest "
                f"(2,000 resamples, seed {measured.seed})."
            ),
            (
                "- Routing: five folds, three divisions; the cost weight of the thrifty profile is chosen inside the "
                "training folds. *Random at its cost* is the best mixture of two single models, dealt by chance, that "
                "costs no more on average. *Shuffled* deals the profile's own shares by chance. *Oracle* knows every "
                "grade beforehand and is a bound, not a method."
            ),
            (
                "- Questions were written by the same hands; yours may differ. A profile is worth as much as the suite "
                "is like your traffic."
            ),
        )
    )
