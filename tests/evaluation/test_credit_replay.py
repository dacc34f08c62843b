"""Recorded rollouts scored side by side, on groups small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agentgym.algos import get_algorithm
from agentgym.batch import StepBatch
from agentgym.episodes import Episode, Group, Step
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.evaluation.credit_replay import _rank_correlation, _sign_agreement, near_identical, replay_credit
from agentgym.identity import text_hash


def episode(index: int, steps: list[tuple[str, str]], reward: float, group: str = "g") -> Episode:
    made = tuple(
        Step(
            observation=seen,
            action=done,
            reward=reward if last else 0.0,
            shaped_reward=reward if last else 0.0,
            terminated=last,
            truncated=False,
            valid=True,
            obs_hash=text_hash(seen),
            state_hash=text_hash(seen),
        )
        for (seen, done), last in zip(steps, [False] * (len(steps) - 1) + [True], strict=True)
    )
    return Episode(group, index, None, "task", "kind", "", made, reward > 0, reward, "success" if reward else "failure")


@pytest.fixture
def groups() -> list[Group]:
    return [
        Group(
            "g",
            (
                episode(0, [("hall", "north"), ("yard", "dig")], 1.0),
                episode(1, [("hall", "north"), ("cave", "wait")], 0.0),
                episode(2, [("hall", "south"), ("cave", "wait"), ("cave", "wait")], 0.0),
            ),
        ),
        Group("h", (episode(0, [("hall", "north")], 1.0, "h"), episode(1, [("hall", "north")], 1.0, "h"))),
    ]


def test_pairs_signal_and_conflicts_by_hand(groups: list[Group]) -> None:
    replay = replay_credit(groups, {"grpo": get_algorithm("grpo"), "gigpo": get_algorithm("gigpo")})
    # hall+north: one pair in g, one in h; cave+wait: one row of episode 1 with two of episode 2.
    assert replay.pairs == 4
    assert replay.conflict_before == replay.methods["grpo"].conflict == 0.25
    assert replay.methods["grpo"].signal == 7 / 9  # the two rows of h have equal returns
    assert np.array_equal(np.diag(replay.sign_agreement), [1, 1])
    assert np.allclose(np.diag(replay.rank_correlation), 1)


def test_rank_correlation_of_a_reversed_order_is_minus_one() -> None:
    values = [np.array([1.0, 2.0, 3.0, 3.0]), np.array([-1.0, -2.0, -3.0, -3.0]), np.zeros(4)]
    found = _rank_correlation(values)
    assert found[0, 1] == pytest.approx(-1)
    assert np.isnan(found[0, 2])
    # Ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4: products of deviations 3, 4.5 and 5.
    ties = _rank_correlation([np.array([0.0, 5.0, 5.0, 9.0]), np.array([2.0, 1.0, 3.0, 4.0])])
    assert ties[0, 1] == pytest.approx(3 / (4.5 * 5) ** 0.5)
    assert _sign_agreement(values)[0, 1] == 0
    assert np.isnan(_sign_agreement(values)[0, 2])


def test_health_and_warnings(groups: list[Group]) -> None:
    replay = replay_credit([*groups, Group("i", (episode(0, [("den", "wait")], 0.0, "i"),))], {})
    assert replay.health["zero_variance_group_share"] == replay.health["single_episode_group_share"] == 1 / 3
    assert replay.health["lone_anchor_share"] == 2 / 10  # yard and den
    assert replay.health["aliased_anchor_share"] == 0
    assert any("one episode" in warning for warning in replay.warnings)


def test_what_cannot_score_is_left_out_with_the_reason(groups: list[Group]) -> None:
    names = ("grpo", "ppo", "remax", "empg", "reinforce_pp", "progress_advantage", "spa", "ma_ppo", "archer")
    replay = replay_credit(groups, {name: get_algorithm(name) for name in names})
    assert list(replay.methods) == ["grpo"]
    assert "'value'" in replay.left_out["ppo"]
    assert "'value'" in replay.left_out["spa"]
    assert "'value'" in replay.left_out["ma_ppo"]
    assert "agentgym.learners:UtteranceCritics" in replay.left_out["archer"]
    assert "'baseline'" in replay.left_out["remax"]
    assert "'entropy'" in replay.left_out["empg"]
    assert "tokens" in replay.left_out["reinforce_pp"]
    assert all(any(name in warning for warning in replay.warnings) for name in names[1:])


def test_similar_steps_need_similar_actions_too() -> None:
    seen = "You are in the hall. You see a lamp."
    steps = [(seen, "take the lamp"), (seen.replace("a lamp", "a lamb"), "take the lamp"), (seen, "leave")]
    group = Group("g", tuple(episode(k, [("start", "go"), step], 0.0) for k, step in enumerate(steps)))
    batch = StepBatch.from_groups([group])
    exact, similar = near_identical(batch), near_identical(batch, 0.9)
    assert exact[1] != exact[3]
    assert similar[1] == similar[3] != similar[5]


def test_rows_are_written_whole(groups: list[Group], tmp_path: Path) -> None:
    replay = replay_credit(groups, {"gigpo": get_algorithm("gigpo")})
    replay.write(tmp_path / "credit.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "credit.jsonl").read_text().splitlines()]
    assert [row["gigpo"] for row in rows] == replay.methods["gigpo"].advantage.tolist()
    assert rows[1]["gigpo"] == pytest.approx(rows[1]["gigpo/episode"] + rows[1]["gigpo/step"])
    assert (rows[2]["group"], rows[2]["episode"], rows[2]["t"], rows[2]["action"]) == ("g", 1, 0, "north")
    parquet = pytest.importorskip("pyarrow.parquet")
    replay.write(tmp_path / "credit.parquet")
    with (tmp_path / "credit.parquet").open("rb") as file:
        assert parquet.read_table(file).to_pylist() == rows


def test_what_is_wrong_is_said(groups: list[Group], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="similarity"):
        replay_credit(groups, {}, similarity=0)
    with pytest.raises(AlgorithmError, match="no step"):
        replay_credit([], {})
    with pytest.raises(ConfigError, match="parquet"):
        replay_credit(groups, {}).write(tmp_path / "credit.csv")
