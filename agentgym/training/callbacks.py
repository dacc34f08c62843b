"""Hooks into a run, and the ones every run has: the display and the sample of evaluation episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentgym.episodes import Group
from agentgym.evaluation import Evaluation
from agentgym.storage import write_groups

if TYPE_CHECKING:
    from agentgym.training.result import TrainResult
    from agentgym.training.trainer import Trainer

__all__ = ["Callback", "SaveEpisodes"]


class Callback:
    """Override what you need; every hook runs on the main process only."""

    def on_message(self, trainer: Trainer, text: str) -> None:
        """Take note of what the run is doing now."""

    def on_start(self, trainer: Trainer) -> None:
        """Act before the first iteration, after weights are loaded."""

    def on_rollout(self, trainer: Trainer, groups: Sequence[Group]) -> None:
        """Act after an iteration's groups were played and learned from, before its figures are known."""

    def on_iteration(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Act after an iteration."""

    def on_evaluate(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Act after an evaluation."""

    def on_save(self, trainer: Trainer, checkpoint: Path) -> None:
        """Act after a checkpoint was written."""

    def on_end(self, trainer: Trainer, result: TrainResult) -> None:
        """Act when the run is over and its report written."""

    def on_stop(self, trainer: Trainer) -> None:
        """Tidy up, however the run ended; the last hook of all."""


class SaveEpisodes(Callback):
    """Keeps episodes in ``rollouts/``, for ``agentgym credit`` and for reading.

    Of training all groups of the first iteration that has some and of every ``save_every``-th, of each evaluation the
    first episodes.

    Args:
        episodes: How many of each evaluation.
    """

    def __init__(self, episodes: int = 16) -> None:
        self._episodes = episodes

    def on_rollout(self, trainer: Trainer, groups: Sequence[Group]) -> None:
        """Write the groups."""
        number, every = trainer.iteration + 1, trainer.config.save_every
        folder = trainer.run_dir / "rollouts"
        # A search may go through iterations without finishing a tree.
        if groups and ((every and number % every == 0) or not any(folder.glob("train-*"))):
            write_groups(folder / f"train-{number:06d}.jsonl.gz", groups, env_id=trainer.environments.name)

    def on_evaluate(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Write the sample."""
        groups = [Group(episode.group, (episode,)) for episode in evaluation.episodes[: self._episodes]]
        path = trainer.run_dir / "rollouts" / f"eval-{trainer.iteration:06d}.jsonl"
        write_groups(path, groups, env_id=trainer.environments.name)
