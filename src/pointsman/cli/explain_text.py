"""A decision as text: what the request was taken for, who would answer, who was left out, and why.

Knows: Signals and Plan, and rich's tables. Does not know: how either was made. Nothing is left out but the terms of
candidates beyond the third, whose scores still stand; what callers wrote is shown as text, never read as markup.
"""

from io import StringIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pointsman.types import Candidate, Explanation, Plan, Rejected, Scored, Signals, Term, WhatIf

IN_FULL = 3


def render(explanation: Explanation) -> Group:
    """The decision for a rich console: verdict, signals, candidates, what would have changed it, rejections."""
    signals, plan = explanation.signals, explanation.plan
    parts: list[RenderableType] = [_verdict(plan), Text(), _signals(signals), _facts(signals)]
    if plan.candidates:
        parts += [Text(), _candidates(plan.candidates[:IN_FULL])]
    if plan.candidates[IN_FULL:]:
        rest = ", ".join(f"{one.deployment_id} {one.score:.3f}" for one in plan.candidates[IN_FULL:])
        parts.append(Text(f"then {rest}"))
    if explanation.would_change:
        parts += [Text(), _would_change(explanation.would_change)]
    if plan.rejected:
        parts += [Text(), _rejected(plan.rejected)]
    return Group(*parts)


def explain_text(explanation: Explanation, width: int = 120) -> str:
    """The same as plain text, `width` characters wide."""
    console = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(render(explanation))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _verdict(plan: Plan) -> Text:
    if plan.candidates:
        head = Text(f"→ {plan.candidates[0].model_id}", style="bold green")
        where = plan.candidates[0].deployment_id
        head.append(f"  on {where}, strategy {plan.strategy}", style="dim")
    else:
        head = Text(f"→ nobody: {plan.problem}", style="bold red")
    return head.append(f"\n{plan.reason}", style="default")


def _signals(signals: Signals) -> Table:
    table = _table("signal", "label", "sure", "else", "because of")
    for name in ("use_case", "intent", "language", "complexity"):
        scored: Scored = getattr(signals, name)
        others = ", ".join(f"{label} {p:.2f}" for label, p in scored.alternatives)
        _row(table, name.replace("_", " "), scored.label, _sure(scored), others, ", ".join(scored.evidence))
    return table


def _sure(scored: Scored) -> str:
    return f"{scored.p:.2f} {scored.band}"


def _facts(signals: Signals) -> Text:
    facts = [
        f"takes {' and '.join(signals.inputs) or 'nothing'}",
        f"gives {' and '.join(signals.outputs) or 'nothing'}",
        f"{signals.prompt_tokens:,} prompt tokens",
        f"about {signals.output_tokens:,} to write",
        "needs tools" if signals.needs_tools else "no tools",
        f"{signals.script} script",
        f"novelty {signals.novelty:.2f}",
        f"settled at stage {signals.stage}{f' (encoder: {signals.degraded})' if signals.degraded else ''}",
    ]
    return Text(" · ".join(facts), style="dim")


def _candidates(shown: tuple[Candidate, ...]) -> Table:
    """Terms down, candidates across, so that the eye compares along a row."""
    table = _table("term", "weight", *(f"{place}. {one.deployment_id}" for place, one in enumerate(shown, 1)))
    for row, term in enumerate(shown[0].terms):
        _row(table, term.name, f"{term.weight:g}", *(_cell(one.terms[row]) for one in shown))
    table.add_section()
    _row(table, "score", "", *(f"{one.score:.3f}" for one in shown))
    return table


def _cell(term: Term) -> str:
    return f"{term.value:.2f}  {term.why}"


def _would_change(changes: tuple[WhatIf, ...]) -> Table:
    table = _table("what if", "then first")
    for one in changes:
        _row(table, one.change, one.model_id or "nobody")
    return table


def _rejected(rejected: tuple[Rejected, ...]) -> Table:
    table = _table("rejected", "code", "why")
    for one in rejected:
        _row(table, one.deployment_id, str(one.code), one.why)
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))
