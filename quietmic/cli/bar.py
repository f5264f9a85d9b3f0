"""Progress on standard error: bars on a terminal, else a line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from quietmic.cli.lines import one_line

LINES = 10  # for each part of the work, where there is no terminal


class Bar:
    """A bar for each part of the work; what the library calls `progress`."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}

    def __call__(self, what: str, done: float, total: float, note: str = "") -> None:
        """Moves the bar of `what`, or begins another one where the same work is done once more."""
        text = one_line(f"{what} ({note})" if note else what)
        if not self._bars.console.is_terminal:
            self._tell(what, done, total, text)
            return
        task = self._tasks.get(what)
        if task is None or self._bars.tasks[task].completed > done:
            task = self._tasks[what] = self._bars.add_task(text, total=total)
        self._bars.update(task, completed=done, description=text)

    def _tell(self, what: str, done: float, total: float, text: str) -> None:
        tenth = int(LINES * done / total) if total else LINES
        if tenth != self._told.get(what, 0):
            self._told[what] = tenth
            self._bars.console.print(f"{text}: {tenth * 100 // LINES} %")


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """A bar that goes with the context."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield Bar(bars)
