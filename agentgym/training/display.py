"""What a person sees: one line an iteration, and in a terminal a bar with the time left below it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from agentgym.evaluation import Evaluation
from agentgym.training.callbacks import Callback

if TYPE_CHECKING:
    from agentgym.training.result import TrainResult
    from agentgym.training.trainer import Trainer

__all__ = ["Display"]

_SHOWN = (
    ("success", "episode/success_rate", "{:6.1%}"),
    ("reward", "reward", "{:6.3f}"),
    ("length", "episode/length", "{:5.1f}"),
    ("entropy", "entropy", "{:5.3f}"),
    ("kl", "kl", "{:7.4f}"),
    ("grad", "grad_norm", "{:5.2f}"),
    ("tok/s", "tokens_per_second", "{:6.0f}"),
)


class Display(Callback):
    """Prints the run to a console; a log file gets the same lines without the bar.

    Args:
        console: Where to; standard output if None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._began = time.monotonic()
        self._first = 0

    def on_message(self, trainer: Trainer, text: str) -> None:
        """Print the text."""
        self._console.print(text)

    def on_start(self, trainer: Trainer) -> None:
        """Start the bar."""
        self._began, self._first = time.monotonic(), trainer.iteration
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._task = self._progress.add_task(
                "training", total=trainer.config.iterations, completed=self._first, left=""
            )
            self._progress.start()

    def on_iteration(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Print the line of an iteration."""
        left = self._time_left(trainer)
        total = trainer.config.iterations
        parts = [f"{name} {form.format(metrics[key])}" for name, key, form in _SHOWN if key in metrics]
        self._console.print(
            f"iteration {trainer.iteration:{len(str(total))}d}/{total} | {' | '.join(parts)} | {left} left"
        )
        if self._progress is not None:
            self._progress.update(self._task, completed=trainer.iteration, left=f"{left} left")

    def on_evaluate(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Print the success rate with its interval."""
        self._console.print(
            f"evaluation after iteration {trainer.iteration}: success {evaluation.success.percent()} on "
            f"{len(evaluation.outcomes)} games of {evaluation.source}, length {evaluation.mean('length'):.1f} "
            f"({_clock(evaluation.seconds)})"
        )

    def on_save(self, trainer: Trainer, checkpoint: Path) -> None:
        """Say where the checkpoint is, in a terminal only for the last one."""
        if trainer.finished:
            self._console.print(f"checkpoint: {checkpoint}")

    def on_end(self, trainer: Trainer, result: TrainResult) -> None:
        """Print how it ended."""
        self._console.print(result.summary())

    def on_stop(self, trainer: Trainer) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()

    def _time_left(self, trainer: Trainer) -> str:
        done = trainer.iteration - self._first
        elapsed = time.monotonic() - self._began
        left = elapsed / done * (trainer.config.iterations - trainer.iteration)
        if trainer.config.max_minutes is not None:
            left = min(left, max(0.0, 60 * trainer.config.max_minutes - trainer.seconds))
        return _clock(left)


def _clock(seconds: float) -> str:
    """Return a duration for people.

    >>> _clock(83), _clock(3723)
    ('1:23', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
