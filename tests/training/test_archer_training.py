"""ArCHer and its neighbours from end to end: warm-up, resuming, two processes, data sets, and the best so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.algos import ArCHer, ArCHerOffline, FilteredBC
from agentgym.storage import write_groups
from agentgym.training import Trainer
from agentgym.training.checkpoint import read_checkpoint
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_processes import launch
from tests.training.test_resume import Knock, assert_same_run, metrics, train, weights

CRITICS: dict[str, Any] = {"steps": 2, "minibatch": 8, "critic_learning_rate": 1e-3}


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


def test_two_processes_train_the_critics_of_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 2, "groups": 2, "tokens_per_microbatch": 200, "eval_episodes": 0}
    launch(tmp_path / "two", algo="archer:steps=2+minibatch=8", **settings)
    train(tmp_path / "one", algorithm=ArCHer(steps=2, minibatch=8), **settings)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == 2
    for a, b in zip(one, two, strict=True):
        assert set(a) == set(b)
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=5e-3, abs=5e-5), (a["iteration"], name)
    first, second = critics(tmp_path / "one", 2), critics(tmp_path / "two", 2)
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=2e-3, atol=2e-4)


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
