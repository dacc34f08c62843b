"""A budget of generated tokens: everything played counts, and the run stops after the iteration that reaches it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentgym.algos import DAPO, GRPO, Algorithm, ReMax, StarPO
from agentgym.episodes import Episode
from agentgym.training import Callback, TrainConfig, Trainer
from agentgym.training.update import learning_rate
from tests.training.small import make_corridor, small_config, small_policy


class Meter(Callback):
    """Counts the tokens of every episode that the environment loop played, whatever became of it."""

    def __init__(self, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
        from agentgym.rollouts import group

        self.tokens = 0
        play = group.run_episodes

        def counted(*arguments: Any, **options: Any) -> list[Episode]:
            episodes = play(*arguments, **options)
            self.tokens += sum(len(step.response_ids or ()) for episode in episodes for step in episode.steps)
            return episodes

        monkeypatch.setattr(group, "run_episodes", counted)
        self.before: list[int] = []

    def on_iteration(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        assert metrics["total/generated_tokens"] == self.tokens
        self.before.append(self.tokens)


@pytest.mark.parametrize(
    "algorithm",
    [GRPO(), DAPO(max_batches=3), ReMax(), StarPO(keep=0.5)],
    ids=["group", "dynamic", "greedy_baseline", "uncertainty"],
)
def test_all_that_was_played_counts(algorithm: Algorithm[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = 150
    config = small_config(tmp_path / "run", iterations=100, save_every=0, max_generated_tokens=budget)
    trainer = Trainer(make_corridor, small_policy(constrain="admissible"), algorithm, config, display=False)
    meter = Meter(trainer, monkeypatch)
    trainer.callbacks.append(meter)
    result = trainer.train()
    assert result.stopped == "token budget"
    assert result.iterations == len(meter.before) < 100
    assert meter.before[-1] >= budget
    assert all(tokens < budget for tokens in meter.before[:-1])


def test_a_spent_budget_stays_spent(tmp_path: Path) -> None:
    def train(resume: bool) -> Any:
        config = small_config(tmp_path / "run", iterations=100, max_generated_tokens=60)
        trainer = Trainer(make_corridor, small_policy(constrain="admissible"), GRPO(), config, display=False)
        return trainer.train(resume_from_checkpoint=resume)

    first, again = train(False), train(True)
    assert again.stopped == "token budget"
    assert again.iterations == first.iterations
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == first.iterations


def test_the_schedule_follows_the_nearer_end() -> None:
    config = TrainConfig(learning_rate=1.0, iterations=100, lr_schedule="linear", max_generated_tokens=1000)
    assert learning_rate(config, 0, 250) == 0.75
    assert learning_rate(config, 50, 250) == 0.5
    assert learning_rate(config, 0, 2000) == 0.0
    assert learning_rate(TrainConfig(learning_rate=1.0, iterations=4, lr_schedule="linear"), 1, 10**9) == 0.75
