"""PPO from end to end: the critic learns, the run resumes, and two processes make the run of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.algos import PPO, Algorithm, AlgorithmConfig, get_algorithm
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.training import Trainer
from agentgym.training.checkpoint import read_checkpoint
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_processes import launch
from tests.training.test_resume import Knock, assert_same_run, metrics, train, weights


def run(folder: Path, algorithm: Any, **settings: Any) -> list[dict[str, float]]:
    train(folder, algorithm=algorithm, eval_episodes=0, **settings)
    return [row for row in metrics(folder) if "loss" in row]


@pytest.mark.parametrize(("level", "shared", "rate"), [("turn", False, 30.0), ("token", True, 300.0)])
def test_the_critic_learns_to_tell_states_apart(tmp_path: Path, level: Any, shared: bool, rate: float) -> None:
    # The policy all but stands still, so that the values have something to settle on.
    algorithm = PPO(level=level, shared=shared, critic_rate=rate, gamma=0.9, value_clip=None)
    settings: dict[str, Any] = {"groups": 4, "epochs": 2, "minibatches": 2, "learning_rate": 1e-4, "save_every": 0}
    rows = run(tmp_path / "run", algorithm, iterations=14, **settings)
    assert rows[0]["credit/value_mean"] == 0
    assert rows[0]["credit/value_explained_variance"] == pytest.approx(0, abs=1e-6)
    assert np.mean([row["value_loss"] for row in rows[-4:]]) < 0.5 * rows[0]["value_loss"]
    # A constant would explain nothing, however much it lowered the loss.
    assert np.mean([row["credit/value_explained_variance"] for row in rows[-4:]]) > 0.15
    assert all(row["critic_grad_norm"] > 0 and row["grad_norm"] > 0 for row in rows)


class Watching(PPO):
    """PPO that remembers the batches it gave credit to."""

    seen: list[StepBatch]

    def credit(self, batch: StepBatch) -> Credit:
        self.seen = [*getattr(self, "seen", []), batch]
        return super().credit(batch)


def test_truncation_bootstraps_in_training(tmp_path: Path) -> None:
    algorithm = Watching(critic_rate=100.0)
    run(tmp_path / "run", algorithm, iterations=3, groups=4)
    batch = algorithm.seen[-1]
    assert batch.truncated.any()
    assert batch.terminated.any()
    assert (batch.columns["next_value"][batch.truncated] != 0).all()
    assert not batch.columns["next_value"][batch.terminated].any()


@pytest.mark.parametrize("options", [{"level": "turn"}, {"level": "token", "shared": True, "kl_coef": 0.1}])
def test_a_run_with_a_critic_goes_on_bit_for_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.003, "minibatches": 2}
    train(tmp_path / "straight", algorithm=PPO(**options), **settings)
    train(tmp_path / "cut", algorithm=PPO(**options), callbacks=[Knock(2)], **settings)
    train(tmp_path / "cut", algorithm=PPO(**options), resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")
    one, two = (
        read_checkpoint(tmp_path / name / "checkpoints" / "iteration-000004")["learners"][0]
        for name in ("straight", "cut")
    )
    assert set(one) == set(two)
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
    assert one["head.weight"].abs().sum() > 0
    assert ("trunk.norm.weight" in one) == (not options.get("shared"))


def test_micro_batches_and_checkpointing_do_not_change_the_critic(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 2, "learning_rate": 0.003}
    one = run(tmp_path / "one", PPO(), **settings)
    many = run(tmp_path / "many", PPO(), tokens_per_microbatch=120, gradient_checkpointing=True, **settings)
    for name in ("value_loss", "loss", "critic_grad_norm", "credit/value_mean"):
        assert [row[name] for row in many] == pytest.approx([row[name] for row in one], rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("name", ["ppo_verl_agent", "dapo", "remax", "starpo", "empg", "progress_advantage"])
def test_methods_that_need_a_learner_or_a_collector_train_by_name(tmp_path: Path, name: str) -> None:
    algorithm = get_algorithm(name)
    rows = run(tmp_path / "run", algorithm, iterations=2)
    assert len(rows) == 2
    assert all(np.isfinite(row["loss"]) for row in rows)
    counted = rows[0]["rollout/episodes"]
    assert counted >= 8
    if name == "remax":
        assert counted == 8 + 2
    if name == "starpo":
        assert rows[0]["rollout/dropped_groups"] == 1
    if name == "progress_advantage":
        assert (tmp_path / "run" / "reference").is_dir()


def test_two_processes_train_the_critic_of_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 2, "groups": 2, "tokens_per_microbatch": 200, "eval_episodes": 0}
    launch(tmp_path / "two", algo="ppo", **settings)
    train(tmp_path / "one", algorithm=PPO(), **settings)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == 2
    for a, b in zip(one, two, strict=True):
        assert set(a) == set(b)
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=2e-3, abs=2e-5), (a["iteration"], name)
    for name, tensor in weights(tmp_path / "one", 2).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two", 2)[name], rtol=1e-3, atol=1e-4)
    first, second = (
        read_checkpoint(tmp_path / run / "checkpoints" / "iteration-000002")["learners"][0] for run in ("one", "two")
    )
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-4)


class _Blind(Algorithm[AlgorithmConfig]):
    """Asks for critics and has nothing to train them on."""

    critics = 1

    def credit(self, batch: StepBatch) -> Credit:
        return Credit(np.ones(len(batch), np.float32))

    def learners(self) -> list[LearnerSpec]:
        return [LearnerSpec("agentgym.learners:Critic")] * self.critics


def test_a_critic_needs_returns_and_is_alone(tmp_path: Path) -> None:
    def start(algorithm: _Blind, folder: Path) -> None:
        config = small_config(folder, iterations=1)
        Trainer(make_corridor, small_policy(constrain="admissible"), algorithm, config, display=False).train()

    with pytest.raises(AlgorithmError, match="_Blind asks for a critic, but its credit has no returns"):
        start(_Blind(), tmp_path / "one")
    both = _Blind()
    both.critics = 2
    with pytest.raises(ConfigError, match=r"_Blind asks for 2 critics \(Critic, Critic\)"):
        start(both, tmp_path / "two")
