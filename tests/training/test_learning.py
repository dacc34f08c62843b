"""What the trainer asks of learners that draw what the policy learns from; what nobody draws is not stepped on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.algos import Algorithm, AlgorithmConfig
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import DrawingLearner, LearnerContext, LearnerSpec
from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.training import Trainer
from agentgym.training.learning import LearnerSet
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_resume import metrics


class Rows:
    """Draws the first rows of the batch as batches of one episode, as often as it is told to; adds column ``seen``."""

    def __init__(self, times: int | None, tokens: int = 5) -> None:
        self._times, self._tokens, self._asked = times, tokens, 0

    def setup(self, context: LearnerContext) -> None:
        """Need nothing."""

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        self._asked = 0
        first = batch.take(np.flatnonzero(batch.episode == 0))
        self._last = first.with_columns(seen=np.ones(len(first))), episodes[:1]
        return batch.with_columns(seen=np.zeros(len(batch)))

    @property
    def drawn_tokens(self) -> int:
        return self._asked * self._tokens

    def draws(self) -> Iterator[tuple[StepBatch, Sequence[Episode]]] | None:
        return None if self._times is None else self._draw(self._times)

    def _draw(self, times: int) -> Iterator[tuple[StepBatch, Sequence[Episode]]]:
        for _ in range(times):
            self._asked += 1
            yield self._last

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keep nothing."""


class Settings(AlgorithmConfig):
    times: tuple[int | None, ...] = (None,)


class Drawing(Algorithm[Settings]):
    """Credits every row alike and says how much of what it credits was drawn."""

    def learners(self) -> list[LearnerSpec]:
        return [LearnerSpec(f"{__name__}:Rows", {"times": times}) for times in self.config.times]

    def credit(self, batch: StepBatch) -> Credit:
        return Credit(np.ones(len(batch), np.float32), diagnostics={"seen": float(batch.columns["seen"].mean())})


def run(folder: Path, *times: int | None) -> dict[str, float]:
    config = small_config(folder, iterations=1, save_every=0)
    Trainer(make_corridor, small_policy(constrain="admissible"), Drawing(times=times), config, display=False).train()
    (row,) = metrics(folder)
    return row


def test_what_is_drawn_is_stepped_on_and_the_batch_is_reported(tmp_path: Path) -> None:
    assert isinstance(Rows(1), DrawingLearner)
    played, drawn = run(tmp_path / "played", None), run(tmp_path / "drawn", 3)
    assert (played["updates"], drawn["updates"]) == (1, 3)
    assert (drawn["credit/seen"], drawn["drawn/seen"]) == (0, 1)
    assert "drawn/seen" not in played
    assert played["rollout/drawn_tokens"] == 0
    assert drawn["rollout/drawn_tokens"] == 15
    assert drawn["total/generated_tokens"] == played["total/generated_tokens"] + 15
    assert drawn["reward"] == played["reward"]


def test_where_nothing_is_drawn_no_step_is_made(tmp_path: Path) -> None:
    row = run(tmp_path / "run", 0)
    assert (row["updates"], row["learning_rate"], row["total/updates"]) == (0, 0, 0)
    assert row["credit/seen"] == 0
    assert "loss" not in row


def test_one_learner_may_draw(tmp_path: Path) -> None:
    assert run(tmp_path / "one", None, 2)["updates"] == 2
    with pytest.raises(ConfigError, match=r"Drawing asks for 2 learners that draw .*\(Rows, Rows\); one can do so"):
        run(tmp_path / "two", 1, 1)


def test_without_such_a_learner_nothing_is_counted() -> None:
    class Plain(Algorithm[AlgorithmConfig]):
        """Asks for nobody."""

    assert LearnerSet(Plain()).costs() == {}
