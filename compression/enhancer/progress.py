"""Progress of many trainings in a row, for a person who waits."""

from __future__ import annotations

from typing import Any

import click


class Bar:
    """Progress of training: one bar per stage on a terminal, else a line each tenth of a stage."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True))
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bar:
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, stage: str, step: int, steps: int, value: float) -> None:
        if not self._progress.console.is_terminal:
            if step % max(1, steps // 10) == 0:
                click.echo(f"{stage}: {step} of {steps} batches, loss {value:.3f}", err=True)
            return
        if stage not in self._tasks or step == 1:
            self._tasks[stage] = self._progress.add_task(stage, total=steps)
        self._progress.update(self._tasks[stage], completed=step, description=f"{stage} (loss {value:.3f})")
