"""ARPO in training: GRPO where nothing is replayed, and runs that are cut off with a full buffer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from agentgym.algos import ARPO, GRPO
from agentgym.training import Trainer
from agentgym.training.checkpoint import read_checkpoint
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_resume import Knock, metrics, weights
from tests.worlds import Corridor

SETTINGS: dict[str, Any] = {"iterations": 4, "groups": 4, "learning_rate": 0.03, "save_every": 0}


def make_seldom_won() -> gym.Env[str, str]:
    """A corridor that the untrained policy now and then solves in time."""
    return gym.wrappers.TimeLimit(Corridor(), max_episode_steps=9)


def train(folder: Path, algorithm: Any, make_env: Any = make_seldom_won, resume: bool = False, **settings: Any) -> None:
    callbacks = settings.pop("callbacks", ())
    config = small_config(folder, **{**SETTINGS, **settings})
    policy = small_policy(constrain="admissible")
    Trainer(make_env, policy, algorithm, config, callbacks=callbacks, display=False).train(
        resume_from_checkpoint=resume
    )


def assert_same(one: Path, other: Path, iterations: int, but: tuple[str, ...] = ()) -> None:
    assert metrics(one) == [{k: v for k, v in row.items() if k not in but} for row in metrics(other)]
    for name, tensor in weights(one, iterations).items():
        assert torch.equal(tensor, weights(other, iterations)[name]), name


def test_with_replay_off_it_is_grpo(tmp_path: Path) -> None:
    train(tmp_path / "grpo", GRPO(clip_high=0.3), make_corridor, iterations=2)
    train(tmp_path / "arpo", ARPO(replay=False, pool=None), make_corridor, iterations=2)
    assert_same(tmp_path / "grpo", tmp_path / "arpo", 2)


def test_where_nothing_is_repaired_it_is_grpo_on_the_same_tasks(tmp_path: Path) -> None:
    train(tmp_path / "off", ARPO(replay=False, pool=4), make_corridor, iterations=2)
    train(tmp_path / "on", ARPO(max_mean=-1, pool=4), make_corridor, iterations=2)
    extra = tuple(f"rollout/{name}" for name in ("replayed_groups", "buffer_tasks", "buffer_episodes"))
    assert_same(tmp_path / "off", tmp_path / "on", 2, but=extra)
    assert metrics(tmp_path / "on")[-1]["rollout/buffer_episodes"] > 0


def test_a_run_cut_off_with_a_full_buffer_goes_on_bit_for_bit(tmp_path: Path) -> None:
    algorithm = ARPO(pool=4, select=True, probes=12)
    settings: dict[str, Any] = {"learning_rate": 0.01, "seed": 1}
    train(tmp_path / "straight", algorithm, **settings)
    train(tmp_path / "cut", algorithm, callbacks=[Knock(2)], **settings)
    state = read_checkpoint(tmp_path / "cut" / "checkpoints" / "iteration-000002")["collector"]
    assert state["buffer"]["episodes"]
    assert 0 < len(state["kept"]) < 4
    train(tmp_path / "cut", algorithm, resume=True, **settings)
    assert_same(tmp_path / "straight", tmp_path / "cut", 4)
    assert sum(row["rollout/replayed_groups"] for row in metrics(tmp_path / "cut")[2:]) > 0


@pytest.mark.parametrize("old_logp", ["recompute", "stored", "stored_clipped"])
def test_the_three_old_log_probabilities_begin_where_they_should(tmp_path: Path, old_logp: Any) -> None:
    train(tmp_path / "run", ARPO(pool=4, capacity=99, old_logp=old_logp))
    rows = metrics(tmp_path / "run")
    # What was replayed counts neither as played nor as won, and is not stored again.
    assert {row["rollout/episodes"] for row in rows} == {16.0}
    wins = np.cumsum([16 * row["episode/success_rate"] for row in rows])
    assert [row["rollout/buffer_episodes"] for row in rows] == pytest.approx(wins)
    gap = [row["sampling/sampling_logp_difference/max"] for row in rows if row["rollout/replayed_groups"]]
    assert gap
    if old_logp == "recompute":
        assert max(gap) < 1e-4
    elif old_logp == "stored":
        assert max(gap) > 0.3
    else:
        assert 0.1 < max(gap) < 0.263  # log 1.3 is 0.262, and log 0.8 is -0.223
