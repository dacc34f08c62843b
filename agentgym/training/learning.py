"""The learners of a run, seen by the trainer as one."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentgym.algos import Algorithm
from agentgym.batch import StepBatch
from agentgym.contracts import (
    DrawingLearner,
    Learner,
    LearnerContext,
    ReportingLearner,
    ValueLearner,
    WarmingLearner,
)
from agentgym.episodes import Episode
from agentgym.errors import ConfigError

__all__ = ["LearnerSet"]


class LearnerSet:
    """The learners that an algorithm asks for, in its order.

    Args:
        algorithm: Whose learners are built.

    Attributes:
        critic: The learner whose value model trains along with the policy, or None; known after ``setup``.
    """

    critic: ValueLearner | None

    def __init__(self, algorithm: Algorithm[Any]) -> None:
        self._method = type(algorithm).__name__
        built = [pkgutil.resolve_name(spec.name)(**spec.options) for spec in algorithm.learners()]
        self._all: list[Learner] = built

    def setup(self, context: LearnerContext) -> None:
        """Set all of them up.

        Raises:
            ConfigError: If there are several with a critic to train.
        """
        for learner in self._all:
            learner.setup(context)
        # A value model is there only now.
        critics = [learner for learner in self._all if isinstance(learner, ValueLearner)]
        self._refuse_several(critics, "critics", "train")
        self.critic = critics[0] if critics else None

    def _refuse_several(self, found: Sequence[object], kind: str, may: str) -> None:
        if len(found) > 1:
            names = ", ".join(type(learner).__name__ for learner in found)
            raise ConfigError(f"{self._method} asks for {len(found)} {kind} ({names}); one can {may}")

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> tuple[StepBatch, dict[str, float]]:
        """Return ``batch`` with the columns of all learners, and their figures; they train if it is time to."""
        figures: dict[str, float] = {}
        for learner in self._all:
            batch = learner.update(batch, episodes)
            if isinstance(learner, ReportingLearner):
                figures |= learner.metrics()
        return batch, figures

    def lessons(self, batch: StepBatch, episodes: Sequence[Episode]) -> Iterator[tuple[StepBatch, Sequence[Episode]]]:
        """Yield what the policy is to learn from, each time a batch and its episodes, to be learned from at once.

        That is the batch of the last ``update`` itself, or what a learner draws in its place, or nothing while a
        learner warms up.

        Args:
            batch: The batch that ``update`` returned.
            episodes: Its episodes.

        Raises:
            ConfigError: If several learners draw.
        """
        if any(isinstance(learner, WarmingLearner) and learner.warming for learner in self._all):
            return
        found = [(learner, learner.draws()) for learner in self._all if isinstance(learner, DrawingLearner)]
        drawing = [(learner, draws) for learner, draws in found if draws is not None]
        self._refuse_several([learner for learner, _ in drawing], "learners that draw what it learns from", "do so")
        if not drawing:
            yield batch, episodes
        for learner, draws in drawing:
            for drawn, spoken in draws:
                yield self._valued(drawn, spoken, learner), spoken

    def _valued(self, batch: StepBatch, episodes: Sequence[Episode], drawing: object) -> StepBatch:
        """Return what was drawn with the columns of a critic that trains along, which the loss reads."""
        for learner in self._all:
            if isinstance(learner, ValueLearner) and learner is not drawing:
                batch = learner.update(batch, episodes)
        return batch

    def costs(self) -> dict[str, float]:
        """Return what learners had the policy generate since the last ``update`` began; nothing where none may."""
        drawn = [learner.drawn_tokens for learner in self._all if isinstance(learner, DrawingLearner)]
        return dict.fromkeys(("generated_tokens", "drawn_tokens"), float(sum(drawn))) if drawn else {}

    def state_dict(self) -> list[dict[str, Any]]:
        """Return what a checkpoint must hold of each."""
        return [learner.state_dict() for learner in self._all]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Put back what ``state_dict`` returned."""
        for learner, saved in zip(self._all, states, strict=True):
            learner.load_state_dict(saved)
