"""`pointsman quality fit | predict | evaluate`: from graded answers to a profile, and what it says and is worth."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pointsman.cli.common import lines_of, written_whole
from pointsman.policy.quality import Choice, Estimate, ProfileError, QualityProfile

if TYPE_CHECKING:  # it reads Parquet, which `predict` does not need
    from pointsman.learning.rows import Graded

MISUSED = 2

DataOption = Annotated[
    Path,
    typer.Option("--data", help="Rows `prompt,model,score[,cost,latency_ms,group]`: JSON lines, or Parquet."),
]
ProfileOption = Annotated[Path, typer.Option("--profile", help="A profile that `quality fit` wrote.")]


def fit(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Where the profile goes: one file.")],
    *,
    join: Annotated[
        Path | None, typer.Option("--join", help="Keep this profile; add only the models it does not know.")
    ] = None,
    incumbent: Annotated[
        str, typer.Option("--incumbent", help="The model to leave only on evidence; default: the best single one.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Same rows, same seed, same profile.")] = 0,
) -> None:
    """Fit a profile to graded answers."""
    from pointsman.learning.fit import FitError, fit_profile
    from pointsman.learning.join import join_models
    from pointsman.policy.quality import encode

    graded = _graded(data)
    try:
        made = join_models(_load(join), graded) if join else fit_profile(graded, incumbent=incumbent, seed=seed)
    except FitError as error:
        _refuse(str(error))
    with written_whole(out) as file:
        file.write(encode(made))
    _show_notes(*graded.notes, made.note)
    _show_fit(QualityProfile(made), out)


def predict(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help='Lines of {"id", "prompt"}.')],
    target: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help='Lines of {"id", "scores", "choice"}.')],
    *,
    profile: ProfileOption,
    cost_weight: Annotated[
        float,
        typer.Option("--cost-weight", min=0.0, help="Utility = quality - this · cost; the dearest model costs 1."),
    ] = 0.0,
    incumbent: Annotated[str, typer.Option("--incumbent", help="The model to leave only on evidence.")] = "",
) -> None:
    """Estimate every model's quality on each prompt, with intervals, and choose."""
    if not math.isfinite(cost_weight):
        _refuse(f"--cost-weight must be a number from 0, not {cost_weight}")
    model = _load(profile)
    if incumbent and incumbent not in model.models:
        _refuse(f"the profile does not know {incumbent!r}; it knows: {', '.join(model.models)}")
    asked = _questions(source)
    with written_whole(target) as out:
        for one in asked:
            view = model.view(one.prompt)
            choice = model.choose(view, cost_weight, incumbent)
            out.write(msgspec.json.encode(_answer(one, model.estimates(view), choice)) + b"\n")


def evaluate(
    profile: ProfileOption,
    data: DataOption,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON alone, without the table.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the resampling.")] = 0,
) -> None:
    """Measure a profile on graded answers, beside its controls: APGR, CPT, AIQ, regret, with 95 % intervals."""
    from pointsman.learning import evaluate as evaluation

    model, graded = _load(profile), _graded(data)
    try:
        report = evaluation.evaluate(model, graded, seed=seed)
    except evaluation.EvaluationError as error:
        _refuse(str(error))
    _show_notes(*graded.notes, *report.notes)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        Console(highlight=False).print(_table(report))


def add_quality(app: typer.Typer) -> None:
    """Hang the three commands under `quality`."""
    quality = typer.Typer(name="quality", help="Which model is good at what: profiles from graded answers.")
    for command in (fit, predict, evaluate):
        quality.command()(command)
    app.add_typer(quality)


class Question(msgspec.Struct, frozen=True):
    """One line in."""

    id: str | int | float
    prompt: str


def _questions(source: Path) -> list[Question]:
    """Every line, or exit 2 with each wrong one named."""
    found, problems = [], []
    for number, line in enumerate(lines_of(source), 1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.json.decode(line, type=Question))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            problems.append(f"line {number}: {error}")
    if problems:
        _refuse(*problems[:20], *([f"and {len(problems) - 20} more"] if len(problems) > 20 else ()))
    return found


def _answer(question: Question, estimates: tuple[Estimate, ...], choice: Choice) -> dict[str, Any]:
    """One line out: the documented fields, figures to four places."""
    scores = {
        one.model_id: {"mean": round(one.mean, 4), "low": round(one.low, 4), "high": round(one.high, 4)}
        for one in estimates
    }
    return {"id": question.id, "scores": scores, "choice": choice.model_id}


def _graded(path: Path) -> "Graded":
    """The graded answers, or exit 2 saying what is wrong with them."""
    from pointsman.learning.rows import RowsError, read_graded

    try:
        return read_graded(path)
    except RowsError as error:
        _refuse(*error.problems)
    except OSError as error:
        _refuse(f"{path}: cannot be read ({error.strerror or error}); name an existing file of graded answers")


def _load(path: Path) -> QualityProfile:
    try:
        return QualityProfile.from_bytes(path.read_bytes())
    except ProfileError as error:
        _refuse(f"{path}: {error}")
    except OSError as error:
        _refuse(f"{path}: cannot be read ({error.strerror or error}); name a profile that `quality fit` wrote")


def _show_notes(*notes: str) -> None:
    for note in notes:
        if note:
            _err().print(f"Note: {note.rstrip('.')}.", markup=False, soft_wrap=True)


def _refuse(*problems: str) -> NoReturn:
    for problem in problems:
        _err().print(problem, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(MISUSED)


def _err() -> Console:
    return Console(stderr=True, highlight=False)


def _show_fit(profile: QualityProfile, out: Path) -> None:
    table = Table("model", "mean quality", "answers", box=None, pad_edge=False, header_style="bold")
    for model, mean, count in zip(profile.models, profile.data.means, profile.data.counts, strict=True):
        table.add_row(model, f"{mean:.3f}", f"{count:.0f}")
    console = Console(highlight=False)
    console.print(table)
    size = out.stat().st_size / 1e6
    console.print(f"{out}: {size:.1f} MB, incumbent {profile.incumbent}.", markup=False, soft_wrap=True)


def _table(report: Any) -> Table:
    title = f"{report.questions} questions, {len(report.models)} models, gap {report.weak} → {report.strong}"
    table = Table("figure", "value", "95 % interval", title=title, box=None, pad_edge=False, header_style="bold")
    for one in report.figures:
        interval = "" if math.isnan(one.low) else f"{one.low:.4f} … {one.high:.4f}"
        table.add_row(one.what, f"{one.value:.4f}", interval)
    return table
