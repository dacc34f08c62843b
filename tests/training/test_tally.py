"""Iterations of several batches: what is learned from each, and what is reported of all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agentgym.algos import GRPO
from agentgym.contracts import CollectorSpec
from agentgym.episodes import Group
from agentgym.policies import RandomPolicy
from agentgym.rollouts import COLLECTORS, GroupCollector, Rollout
from agentgym.storage import read_groups
from agentgym.training import Trainer
from agentgym.training.tally import Coverage
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_resume import metrics


class Waves(GroupCollector):
    """Yields three batches an iteration, the second without rows; reports its groups as paths of trees."""

    def batches(self, iteration: int) -> Iterator[Rollout]:
        for wave in range(3):
            played = self.collect(3 * iteration + wave)
            groups = [] if wave == 1 else played.groups
            trees = [Group.of_paths(g.id, g.episodes) for g in played.groups]
            yield Rollout(groups, played.stats, trees=trees, gauges={"wave": float(wave)})


class InWaves(GRPO):
    def collector(self) -> CollectorSpec:
        return CollectorSpec("waves")


@pytest.fixture(autouse=True)
def waves(monkeypatch: pytest.MonkeyPatch) -> None:
    table: Mapping[str, Any] = {**COLLECTORS, "waves": Waves}
    monkeypatch.setattr("agentgym.rollouts.collectors.COLLECTORS", table)


def train(folder: Path, algorithm: Any, resume: bool = False, **settings: Any) -> Trainer:
    config = small_config(folder, **{"iterations": 2, "max_generated_tokens": 10_000, **settings})
    trainer = Trainer(make_corridor, small_policy(constrain="admissible"), algorithm, config, display=False)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_every_batch_is_learned_from_and_the_iteration_is_reported_as_one(tmp_path: Path) -> None:
    train(tmp_path / "run", InWaves(), minibatches=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2]
    for line in lines:
        assert line["updates"] == 4  # two of three batches have rows, two optimiser steps each
        assert line["rollout/episodes"] == 3 * 2 * 4
        assert line["rollout/wave"] == 1.0
        assert line["episode/length"] > 0
    saved = read_groups(tmp_path / "run" / "rollouts" / "train-000002.jsonl.gz")
    assert len(saved) == 6
    assert saved[0].episodes[0].steps[0].node == 0


def test_a_run_of_several_batches_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    train(tmp_path / "whole", InWaves(), iterations=4)
    # The schedule of the first half must be that of the whole run.
    train(tmp_path / "halves", InWaves(), iterations=2)
    train(tmp_path / "halves", InWaves(), resume=True, iterations=4)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "halves")


def test_one_batch_is_the_same_iteration_with_and_without_waves(tmp_path: Path) -> None:
    class One(Waves):
        def batches(self, iteration: int) -> Iterator[Rollout]:
            yield self.collect(iteration)

    train(tmp_path / "one", GRPO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agentgym.rollouts.collectors.COLLECTORS", {**COLLECTORS, "waves": One})
        train(tmp_path / "other", InWaves())
    assert metrics(tmp_path / "one") == metrics(tmp_path / "other")


def test_coverage_counts_each_state_once_and_survives_a_checkpoint() -> None:
    collector = GroupCollector(make_corridor, RandomPolicy(), groups=4, group_size=3)
    coverage = Coverage()
    rounds = [collector.collect(i).groups for i in range(3)]
    for groups in rounds:
        coverage.add(groups)
    steps = [s for groups in rounds for g in groups for e in g.episodes for s in e.steps]
    expected = {
        "unique_states": len({s.state_hash for s in steps}),
        "unique_observations": len({s.obs_hash for s in steps}),
    }
    assert coverage.totals() == expected
    again = Coverage()
    again.load_state_dict(coverage.state_dict())
    again.add(rounds[0])
    assert again.totals() == expected
    assert Coverage().totals() == {}
