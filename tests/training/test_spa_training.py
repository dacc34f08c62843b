"""SPA from end to end: its figures are logged, the run resumes, and two processes make the run of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentgym.algos import SPA
from agentgym.training.checkpoint import read_checkpoint
from tests.training.test_processes import launch
from tests.training.test_resume import Knock, assert_same_run, metrics, train, weights

ESTIMATOR: dict[str, Any] = {"learning_rate": 3e-3, "every": 2, "capacity": 12, "min_r2": None}


def saved(folder: Path, iteration: int) -> dict[str, Any]:
    """Return what a checkpoint holds of the estimator."""
    state: dict[str, Any] = read_checkpoint(folder / "checkpoints" / f"iteration-{iteration:06d}")["learners"][1]
    return state


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.003}
    algorithm = {"beta": 0.1, "estimator": ESTIMATOR}
    train(tmp_path / "straight", algorithm=SPA(**algorithm), **settings)
    train(tmp_path / "cut", algorithm=SPA(**algorithm), callbacks=[Knock(3)], **settings)
    train(tmp_path / "cut", algorithm=SPA(**algorithm), resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")
    one, two = saved(tmp_path / "straight", 4), saved(tmp_path / "cut", 4)
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, two["model"][name]), name
    np.testing.assert_array_equal(one["judged"], two["judged"])
    assert len(one["buffer"]["episodes"]) == 12
    rows = metrics(tmp_path / "cut")
    # Two batches are played before there is anything to judge; it learns after every second.
    assert ["progress/bias" in row for row in rows] == [False, False, True, True]
    assert ["progress/loss" in row for row in rows] == [False, True, False, True]
    assert [row["progress/trusted"] for row in rows] == [0, 0, 1, 1]


def test_two_processes_train_the_estimator_of_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"iterations": 3, "groups": 2, "tokens_per_microbatch": 200, "eval_episodes": 0}
    launch(tmp_path / "two", algo="spa:critic_rate=1.0", **settings)
    train(tmp_path / "one", algorithm=SPA(critic_rate=1.0), **settings)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == 3
    for a, b in zip(one, two, strict=True):
        assert set(a) == set(b)
        assert "progress/trusted" in a
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=2e-3, abs=2e-5), (a["iteration"], name)
    first, second = (saved(tmp_path / run, 3)["model"] for run in ("one", "two"))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-4)
    for name, tensor in weights(tmp_path / "one", 3).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two", 3)[name], rtol=1e-3, atol=1e-4)
