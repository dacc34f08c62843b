"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentgym.evaluation import Evaluation, Interval, compare
from agentgym.training.warm_start import WarmStart

__all__ = ["Stopped", "TrainResult"]

Stopped = Literal["done", "token budget", "time limit", "interrupted"]


@dataclass(frozen=True)
class TrainResult:
    """The evaluations of a run, and where everything is.

    Attributes:
        run_dir: Everything the run wrote.
        checkpoint: The last checkpoint, or None if none was written; its ``model/`` loads with transformers.
        stopped: Why the run ended.
        iterations: Finished iterations.
        seconds: Wall-clock time, interruptions left out.
        evaluations: Evaluations by the iteration after which they were made.
        warm_start: What the supervised start took, or None if there was none.
    """

    run_dir: Path
    checkpoint: Path | None
    stopped: str
    iterations: int
    seconds: float
    evaluations: dict[int, Evaluation]
    warm_start: WarmStart | None = None

    @property
    def before(self) -> Evaluation | None:
        """The evaluation before the first iteration."""
        return self.evaluations.get(0)

    @property
    def after(self) -> Evaluation | None:
        """The evaluation after the last iteration; None if the run was interrupted before it."""
        return self.evaluations.get(self.iterations) if self.iterations else None

    @property
    def gain(self) -> Interval | None:
        """Success after less success before on the same games, with its paired 95% bootstrap interval."""
        return None if self.before is None or self.after is None else compare(self.before, self.after)

    def summary(self) -> str:
        """Return the result in a few lines."""
        lines = [f"{self.stopped} after {self.iterations} iterations and {self.seconds / 60:.1f} minutes"]
        for name, evaluation in (("before", self.before), ("after", self.after)):
            if evaluation is not None:
                games = f"{len(evaluation.outcomes)} games of {evaluation.source}"
                lines.append(f"success {name:6s} {evaluation.success.percent()} on {games}")
        if self.gain is not None:
            lines.append(f"gain           {self.gain.points()} (same games, paired bootstrap)")
        if self.checkpoint is not None:
            lines.append(f"model          {self.checkpoint / 'model'}")
        if self.stopped == "interrupted":
            lines.append(f"resume with    resume_from_checkpoint={str(self.run_dir)!r}")
        else:
            lines.append(f"report         {self.run_dir / 'report.md'}")
        return "\n".join(lines)
