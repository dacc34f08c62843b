"""One cell of a comparison: from the shared start, cut off and gone on with, to its measured end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentgym.algos import GRPO
from agentgym.errors import TrainingError
from agentgym.policies import HFPolicy
from agentgym.training import Callback, SFTConfig, Trainer
from agentgym.training.cell import Measure, check_start, curves, make_start, train_cell
from agentgym.training.comparing import read_summary
from agentgym.training.grid import Cell
from tests.training.small import corridor_expert, make_corridor, small_config, small_policy

MEASURE = Measure(episodes=3, seed=5, temperature=1.0, last=2)


class Knock(Callback):
    """Sends this process a signal after the first iteration."""

    def on_iteration(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        if trainer.iteration == 1:
            os.kill(os.getpid(), signal.SIGINT)


def train(folder: Path, *callbacks: Callback) -> tuple[Cell, bool]:
    cell = Cell.of(folder, "grpo", 0)
    config = small_config(cell.folder / "run", iterations=10**9, save_every=0, max_generated_tokens=200)
    policy = small_policy(constrain="admissible")
    trainer = Trainer(make_corridor, policy, GRPO(), config, callbacks=callbacks, display=False)
    return cell, train_cell(cell, trainer, MEASURE, "rule")


def result(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cell.result.read_text())
    found["costs"].pop("seconds")
    for evaluation in found["evaluations"].values():
        evaluation.pop("seconds")
    return found


def test_a_cell_that_is_cut_off_comes_to_the_same_end(tmp_path: Path) -> None:
    straight, finished = train(tmp_path / "straight")
    assert finished
    cut, finished = train(tmp_path / "cut", Knock())
    assert not finished
    assert not cut.result.exists()
    assert train(tmp_path / "cut")[1]
    assert result(cut) == result(straight)
    summary = read_summary(cut, "rule")
    assert summary is not None
    assert summary.costs["iterations"] == len(summary.curve) > 1
    assert summary.curve[-1][0] == summary.costs["generated_tokens"] >= 200
    assert summary.states[-1] == tuple(summary.costs[name] for name in ("episodes", "env_steps", "unique_states"))
    assert 0 < summary.costs["unique_states"] <= summary.costs["env_steps"]
    assert 0 < summary.costs["unique_observations"] <= summary.costs["env_steps"]
    assert summary.figures["training"] == pytest.approx((summary.curve[-1][1] + summary.curve[-2][1]) / 2)
    temperatures = [result(cut)["evaluations"][name]["temperature"] for name in ("sampled", "greedy")]
    assert temperatures == [1.0, 0.0]


def test_iterations_in_which_no_episode_ends_have_no_point_on_the_curve() -> None:
    totals = {"total/generated_tokens": 9.0, "total/episodes": 2.0, "total/env_steps": 5.0}
    silent, plain = totals, {**totals, "episode/success_rate": 0.5}
    searching, whole = ({**row, "total/unique_states": 4.0} for row in (silent, plain))
    assert curves([silent, searching, plain, whole]) == ([[9.0, 0.5], [9.0, 0.5]], [[2.0, 5.0, 4.0], [2.0, 5.0, 4.0]])
    assert curves([]) == ([], [])


def test_a_cell_cut_off_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    run = Cell.of(tmp_path, "grpo", 0).folder / "run"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"iteration": 1, "total/generated_tokens": 5}\n')
    cell, finished = train(tmp_path)
    assert finished
    assert result(cell)["curve"][0][0] > 5


def test_the_start_is_made_once_and_its_weights_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def make(seed: int) -> dict[str, Any]:
        policy = small_policy(seed, constrain="admissible", needs_warm_start=True)
        config = SFTConfig(steps=2, demonstrations=4)
        return make_start(
            *(tmp_path / "start", policy, make_corridor, config, MEASURE, make_corridor),
            expert=corridor_expert,
            cpu=True,
            say=said.append,
        )

    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "cache"))
    start = make(0)
    told = len(said)
    assert make(1) == start  # what is there stays
    assert len(said) == told > 0
    assert start["warm_start"]["steps"] == 2
    assert start["figures"].keys() == {"sampled", "greedy"}
    check_start(HFPolicy.from_pretrained(tmp_path / "start" / "model"), start["digest"])
    with pytest.raises(TrainingError, match="the shared start was changed"):
        check_start(small_policy(), start["digest"])
