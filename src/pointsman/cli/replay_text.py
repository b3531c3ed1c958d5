"""A replay's report as Markdown, for a screen and for a file alike. Pure: the same report, the same text."""

from collections.abc import Iterator

from pointsman.learning.offpolicy import CONFIDENCE, Interval, Support
from pointsman.learning.replay import Figure, Report

DOUBTFUL_ESS, DOUBTFUL_SHARE = 100, 0.2


def render(report: Report, source: str, policy: str, when: str = "") -> str:
    """Who would have answered, what that would have come to, what the figures rest on, what was left out. `when`: of
    what time the rows are."""
    elsewhere = sum(one.requests for one in report.moved if one.from_model != one.to_model)
    moved = f"{_count(elsewhere)} ({_share(elsewhere, report.replayed)}) would have gone elsewhere"
    lines = [f"# `{source}` under `{policy}`", ""]
    lines.append(f"{report.rows:,} rows{when}, {report.replayed:,} of them decided again; {moved}.")
    if report.moved:
        lines += ["", *_moves(report)]
    if report.figures:
        lines += ["", *_figures(report), "", *_estimators(report), "", *_supports(report)]
    if report.left:
        lines += ["", "| not decided again | rows |", "|---|---|"]
        lines += [f"| {one.why} | {one.rows:,} |" for one in report.left]
    notes = list(_notes(report))
    return "\n".join([*lines, *([""] if notes else []), *(f"- {note}" for note in notes)]) + "\n"


def _moves(report: Report) -> Iterator[str]:
    yield from ("| from | to | requests | share |", "|---|---|---|---|")
    for one in report.moved:
        to = "stays" if one.to_model == one.from_model else one.to_model
        yield f"| {one.from_model} | {to} | {_count(one.requests)} | {_share(one.requests, report.replayed)} |"


def _figures(report: Report) -> Iterator[str]:
    yield f"| | as it was | as it would have been | change | {CONFIDENCE:.0%} interval |"
    yield "|---|---|---|---|---|"
    for figure in report.figures:
        found = figure.estimates
        if found.refused:
            yield f"| {figure.name} | – | – | – | {found.refused} |"
            continue
        rows = [("a request", 1.0)]
        rows += [(f"of {found.requests:,} requests", float(found.requests))] if figure.is_total else []
        for what, factor in reversed(rows):
            old, change = found.old.times(factor), found.change.times(factor)
            low, high = _number(change.low, figure), _number(change.high, figure)
            yield (
                f"| {figure.name}, {what} | {_number(old.value, figure)} | {_number(old.value + change.value, figure)} "
                f"| {_number(change.value, figure, sign=True)} | {low} to {high} |"
            )


def _estimators(report: Report) -> Iterator[str]:
    yield "| a request, under the new policy | doubly robust | SNIPS | IPS |"
    yield "|---|---|---|---|"
    for figure in report.figures:
        found = figure.estimates
        if not found.refused:
            said = (_interval(one, figure) for one in (found.dr, found.snips, found.ips))
            yield f"| {figure.name} | {' | '.join(said)} |"


def _supports(report: Report) -> Iterator[str]:
    rests = ("what they rest on", "sure to stay", "by chance", "means alone", "nothing")
    weights = ("outcomes", "ESS", "mean weight", "largest")
    yield f"| {' | '.join((*rests, *weights))} |"
    yield "|" + "---|" * len((*rests, *weights))
    for figure in report.figures:
        found, outcomes = figure.estimates.support, figure.estimates.outcomes
        shares = " | ".join(f"{share:.1%}" for share in (found.stays, found.chance, found.model, found.none))
        carried = f"{found.ess:,.0f} | {found.mean_weight:.3f} | {found.largest_weight:.1f}"
        yield f"| {figure.name} | {shares} | {outcomes:,} | {carried} |"


def _notes(report: Report) -> Iterator[str]:
    if report.wordless:
        yield (
            f"{report.wordless:,} rows were stored without their words (`ledger.store_prompts`), so the quality "
            "profile could not be asked about them: their quality terms are those of their own plan."
        )
    if report.strangers:
        yield f"The log has no answer of {', '.join(report.strangers)}: nothing can be said of what would go there."
    for figure in report.figures:
        yield from (f"{figure.name}: {said}" for said in _doubts(figure.estimates.support))


def _doubts(rests: Support) -> Iterator[str]:
    if rests.none:
        yield f"{rests.none:.1%} of the requests are left out, on both sides: the log has no answers to tell from."
    if rests.model > DOUBTFUL_SHARE:
        yield (
            f"{rests.model:.0%} rests on means of like requests alone, as the log left nothing to chance there; true "
            "only if within a cell the old policy gave no model the easier ones. `routing.bandit` brings chance."
        )
    if rests.chance and rests.ess < DOUBTFUL_ESS:
        yield f"few outcomes carry the weights (ESS {rests.ess:.0f}): trust the interval, not the figure."


def _interval(found: Interval, figure: Figure) -> str:
    if found.value != found.value:  # not a number
        return "–"
    low, high = _number(found.low, figure), _number(found.high, figure)
    return f"{_number(found.value, figure)} ({low} to {high})"


def _number(value: float, figure: Figure, *, sign: bool = False) -> str:
    shown = f"{value:+,.{figure.digits}f}" if sign else f"{value:,.{figure.digits}f}"
    return f"{shown} {figure.unit}".strip()


def _count(requests: float) -> str:
    """Expected counts need not be whole."""
    return f"{requests:,.0f}" if abs(requests - round(requests)) < 0.05 else f"{requests:,.1f}"


def _share(part: float, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
