"""ArCHer and its neighbours from end to end: warm-up, fresh utterances, resuming, two processes, and data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agentgym.algos import ArCHer, ArCHerOffline, FilteredBC, get_algorithm
from agentgym.policies import HFPolicy
from agentgym.storage import write_groups
from agentgym.training import Trainer
from agentgym.training.checkpoint import read_checkpoint
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_processes import launch
from tests.training.test_resume import Knock, assert_same_run, metrics, train, weights

CRITICS: dict[str, Any] = {"steps": 2, "minibatch": 8, "critic_learning_rate": 1e-3}
FRESH: dict[str, Any] = {"actor": "fresh", "actor_steps": 2, "actor_minibatch": 8}


def critics(folder: Path, iteration: int) -> dict[str, Any]:
    """Return the checkpoint of the critics, flat."""
    saved = read_checkpoint(folder / "checkpoints" / f"iteration-{iteration:06d}")["learners"][0]
    return {f"{part}.{name}": tensor for part in ("model", "target") for name, tensor in saved[part].items()} | {
        "turns": torch.from_numpy(np.asarray(saved["buffer"]["turns"]))
    }


def test_while_the_critics_warm_up_the_policy_is_bit_identical(tmp_path: Path) -> None:
    # Decay and a penalty would move the weights even where no token has an advantage.
    algorithm = ArCHer(warmup=2, kl_coef=0.1, **CRITICS)
    settings: dict[str, Any] = {"iterations": 3, "weight_decay": 0.1, "eval_episodes": 0, "keep_checkpoints": 3}
    train(tmp_path / "run", algorithm=algorithm, **settings)
    rows = metrics(tmp_path / "run")
    assert [row["updates"] for row in rows] == [0, 0, 1]
    assert [row["critics/warming"] for row in rows] == [1, 1, 0]
    assert [row["total/updates"] for row in rows] == [0, 0, 1]
    start = dict(small_policy(constrain="admissible").model.state_dict())
    for iteration in (1, 2):
        assert all(torch.equal(t, start[name]) for name, t in weights(tmp_path / "run", iteration).items())
    moved = [not torch.equal(t, start[name]) for name, t in weights(tmp_path / "run", 3).items()]
    assert all(moved)
    early, late = critics(tmp_path / "run", 1), critics(tmp_path / "run", 2)
    assert not torch.equal(early["model.q.0.4.weight"], late["model.q.0.4.weight"])


def test_a_run_with_critics_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.003}
    options = {**CRITICS, "warmup": 1, "capacity": 40}
    train(tmp_path / "straight", algorithm=ArCHer(**options), **settings)
    train(tmp_path / "cut", algorithm=ArCHer(**options), callbacks=[Knock(2)], **settings)
    train(tmp_path / "cut", algorithm=ArCHer(**options), resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")
    one, two = critics(tmp_path / "straight", 4), critics(tmp_path / "cut", 4)
    assert set(one) == set(two)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert len(one["turns"]) == 40


def test_filtered_cloning_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.003}
    train(tmp_path / "straight", algorithm=FilteredBC(capacity=20), **settings)
    train(tmp_path / "cut", algorithm=FilteredBC(capacity=20), callbacks=[Knock(2)], **settings)
    train(tmp_path / "cut", algorithm=FilteredBC(capacity=20), resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")


def test_a_run_on_fresh_utterances_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.003, "free": True, "minibatches": 2}
    options = {**CRITICS, **FRESH, "warmup": 1, "actions": "fresh", "baseline": True}
    train(tmp_path / "straight", algorithm=ArCHer(**options), **settings)
    train(tmp_path / "cut", algorithm=ArCHer(**options), callbacks=[Knock(2)], **settings)
    train(tmp_path / "cut", algorithm=ArCHer(**options), resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")
    rows = metrics(tmp_path / "cut")
    assert [row["updates"] for row in rows] == [0, 4, 4, 4]
    # While the critics warm up only V has anything said anew.
    assert ["drawn/advantage_mean" in row for row in rows] == [False, True, True, True]
    assert rows[0]["rollout/drawn_tokens"] == rows[0]["critics/drawn_tokens"] > 0
    assert rows[1]["rollout/drawn_tokens"] > rows[1]["critics/drawn_tokens"] > 0
    assert all(row["baseline_loss"] > 0 for row in rows[1:])
    assert len({row["drawn/advantage_mean"] for row in rows[1:]}) == 3


def test_what_is_reported_of_the_rollouts_is_what_was_played(tmp_path: Path) -> None:
    """The first iteration of two runs that differ in what the policy learns from."""
    settings: dict[str, Any] = {"iterations": 1, "eval_episodes": 0, "free": True, "groups": 3}
    for name, options in (("batch", {}), ("fresh", FRESH)):
        train(tmp_path / name, algorithm=ArCHer(**CRITICS, **options), **settings)
    (batch,), (fresh,) = (metrics(tmp_path / name) for name in ("batch", "fresh"))
    learned = {"loss", "policy_loss", "grad_norm", "entropy", "updates", "total/updates"}
    learned |= {name for name in batch if "sampling_logp_difference" in name}
    drawn = fresh["rollout/drawn_tokens"]
    assert drawn >= 16
    counted = {"rollout/drawn_tokens", "rollout/generated_tokens", "total/generated_tokens"}
    for name in set(batch) - learned:
        assert fresh[name] == batch[name] + (drawn if name in counted else 0), name
    assert fresh["credit/utterance_std"] > 0
    assert (batch["updates"], fresh["updates"]) == (1, 2)
    assert {name.partition("/")[0] for name in set(fresh) - set(batch)} == {"drawn"}


def test_what_is_drawn_counts_towards_the_budget(tmp_path: Path) -> None:
    options: dict[str, Any] = {"iterations": 100, "eval_episodes": 0, "free": True, "lr_schedule": "linear"}
    algorithm = ArCHer(**CRITICS, **FRESH)
    trainer = train(tmp_path / "run", algorithm=algorithm, max_generated_tokens=600, save_every=0, **options)
    rows = metrics(tmp_path / "run")
    total = 0.0
    for row in rows:
        # Neither what is played nor what is drawn in an iteration moves its own learning rate.
        assert row["learning_rate"] == pytest.approx(1e-3 * (1 - max(total / 600, (row["iteration"] - 1) / 100)))
        total += row["rollout/generated_tokens"]
        assert row["total/generated_tokens"] == total
        played = row["completions/mean_length"] * row["rollout/env_steps"]
        assert row["rollout/generated_tokens"] == pytest.approx(played + row["rollout/drawn_tokens"])
    assert trainer.iteration == len(rows) > 1
    assert total >= 600 > total - rows[-1]["rollout/generated_tokens"]


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 2, "tokens_per_microbatch": 200, "eval_episodes": 0, "free": True}
    options = {"steps": 2, "minibatch": 8, **FRESH, "actions": "fresh", "baseline": True}
    words = "+".join(f"{name}={value}" for name, value in options.items())
    launch(tmp_path / "two", algo=f"archer:{words}", **settings)
    train(tmp_path / "one", algorithm=ArCHer(**options), **settings)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == 2
    assert one[0]["grad_norm"] > 0
    for a, b in zip(one, two, strict=True):
        assert set(a) == set(b)
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=5e-3, abs=5e-5), (a["iteration"], name)
    first, second = critics(tmp_path / "one", 2), critics(tmp_path / "two", 2)
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=2e-3, atol=2e-4)
    for name, tensor in weights(tmp_path / "one", 2).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two", 2)[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("world", ["ALFWorld-v0", "WebShop-v0"])
def test_the_tiny_policy_learns_from_what_it_says_anew(tmp_path: Path, world: str) -> None:
    policy = HFPolicy.from_pretrained("tiny", world=world, needs_warm_start=False)

    def make() -> gym.Env[str, str]:
        env = gym.make(world, data="builtin", max_episode_steps=3)
        return gym.wrappers.TransformReward(env, lambda reward: float(reward) - 0.1)  # something to learn at once

    config = small_config(tmp_path / "run", groups=1, group_size=2, save_every=0)
    algorithm = get_algorithm("archer:actor=fresh+actor_minibatch=4+steps=2+minibatch=4+critic_learning_rate=1e-3")
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    Trainer(make, policy, algorithm, config, display=False).train()
    rows = metrics(tmp_path / "run")
    assert [row["updates"] for row in rows] == [1, 1]
    for row in rows:
        assert row["rollout/drawn_tokens"] >= 4
        assert row["grad_norm"] > 0
        assert row["sampling/sampling_logp_difference/max"] < 1e-3
    assert any(not torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())


def test_a_data_set_is_learned_from_without_playing(tmp_path: Path) -> None:
    from agentgym.rollouts import GroupCollector

    policy = small_policy(constrain="admissible")
    groups = GroupCollector(make_corridor, policy, groups=3, group_size=2).collect(0).groups
    write_groups(tmp_path / "games.jsonl", groups)
    algorithm = ArCHerOffline(data=str(tmp_path / "games.jsonl"), **CRITICS)
    config = small_config(tmp_path / "run", iterations=3, groups=2, save_every=0)
    Trainer(make_corridor, policy, algorithm, config, display=False).train()
    rows = metrics(tmp_path / "run")
    assert [row["rollout/env_steps"] for row in rows] == [0, 0, 0]
    assert rows[-1]["total/episodes"] == 0
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["credit/advantage_mean"] > 0
