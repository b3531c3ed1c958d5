"""What is seen of a calibration while it runs: a bar a model on a terminal, a line now and then in a log.

Knows: rich, the runner's three calls. Does not know: where answers come from or go to.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from pointsman.calibration.journal import Answered
from pointsman.calibration.runner import Failure, Target
from pointsman.clock import Clock

LINE_EVERY_S = 15.0


class Tally:
    """Counts of one model: all of its answers, and the speed of this run's."""

    def __init__(self, total: int, done: Sequence[Answered], now_s: float) -> None:
        self.total = total
        self.before = len(done)
        self.count = len(done)
        self.points = sum(one.score for one in done)
        self.errors = 0
        self.tokens = 0
        self.began_s = now_s

    def add(self, answered: Answered) -> None:
        self.count += 1
        if answered.error:
            self.errors += 1
        else:
            self.points += answered.score
            self.tokens += answered.completion_tokens

    def words(self, now_s: float) -> str:
        """`61.2 % right · 23 tokens/s · 2 errors`."""
        graded, busy_s = self.count - self.errors, now_s - self.began_s
        said = [f"{100 * self.points / graded:.1f} % right" if graded else "no answer yet"]
        if self.tokens and busy_s > 0:
            said.append(f"{self.tokens / busy_s:.0f} tokens/s")
        if self.errors:
            said.append(f"{self.errors} errors")
        return " · ".join(said)

    def left_s(self, now_s: float) -> float | None:
        """How long the rest will take at this run's pace."""
        asked = self.count - self.before
        return (now_s - self.began_s) / asked * (self.total - self.count) if asked else None


class Bars:
    """`runner.Watcher` on a terminal."""

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self._progress = progress
        self._clock = clock
        self._rows: dict[str, TaskID] = {}
        self._tallies: dict[str, Tally] = {}

    def began(self, target: Target, total: int, done: Sequence[Answered]) -> None:
        self._tallies[target.model] = Tally(total, done, self._clock.now())
        self._rows[target.model] = self._progress.add_task(
            target.model, total=total, completed=len(done), said="loading …" if len(done) < total else "all there"
        )

    def answered(self, answered: Answered) -> None:
        tally = self._tallies[answered.model]
        if tally.count == tally.before:
            tally.began_s = self._clock.now() - answered.latency_ms / 1e3  # loading is over
        tally.add(answered)
        said = tally.words(self._clock.now())
        self._progress.update(self._rows[answered.model], completed=tally.count, said=said)

    def ended(self, target: Target, failure: Failure | None) -> None:
        row = self._rows[target.model]
        self._progress.stop_task(row)
        if failure is not None:
            self._progress.update(row, said=Text(f"failed: {failure.why}", style="red"))


class Lines:
    """`runner.Watcher` where nobody looks at a terminal."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._tallies: dict[str, Tally] = {}
        self._said_s = 0.0

    def began(self, target: Target, total: int, done: Sequence[Answered]) -> None:
        self._tallies[target.model] = Tally(total, done, self._clock.now())
        self._say(f"{target.model}: {total - len(done)} questions to ask, {len(done)} answered before")

    def answered(self, answered: Answered) -> None:
        tally, now_s = self._tallies[answered.model], self._clock.now()
        tally.add(answered)
        if now_s - self._said_s >= LINE_EVERY_S:
            left_s = tally.left_s(now_s)
            left = "" if left_s is None else f", about {left_s / 60:.0f} min left"
            self._say(f"{answered.model}: {tally.count} of {tally.total}, {tally.words(now_s)}{left}")

    def ended(self, target: Target, failure: Failure | None) -> None:
        tally = self._tallies[target.model]
        how = f"failed: {failure.why}" if failure else tally.words(self._clock.now())
        self._say(f"{target.model}: {tally.count} of {tally.total}, {how}")

    def _say(self, line: str) -> None:
        self._said_s = self._clock.now()
        self._console.print(Text(line), soft_wrap=True)


def bars_of(console: Console) -> Progress:
    """Name, bar, count, time left, how well it does."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[said]}"),
        console=console,
    )
