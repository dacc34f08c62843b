"""3SPO trains: cut off with searches under way it goes on bit for bit; with nothing to learn from it goes on too."""

from __future__ import annotations

from pathlib import Path

from agentgym.algos import ThreeSPO
from tests.training.test_resume import assert_same_run, metrics, train


def test_it_resumes_in_the_middle_of_its_searches(tmp_path: Path) -> None:
    algorithm = ThreeSPO(waves=3, revive_after=30)
    train(tmp_path / "straight", algorithm=algorithm)
    train(tmp_path / "cut", algorithm=algorithm, iterations=2)
    train(tmp_path / "cut", resume=True, algorithm=algorithm)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")
    rows = [row for row in metrics(tmp_path / "cut") if "updates" in row]
    assert [row["updates"] for row in rows] == [3] * 4
    assert any(row["grad_norm"] > 0 for row in rows)
    assert rows[-1]["rollout/known_states"] > rows[0]["rollout/known_states"]


def test_it_goes_on_where_everything_is_given_up(tmp_path: Path) -> None:
    trainer = train(tmp_path / "run", algorithm=ThreeSPO(waves=20, xi=1), eval_episodes=0, groups=1)
    last = metrics(tmp_path / "run")[-1]
    assert trainer.iteration == 4
    assert last["rollout/samples"] == 0
    assert last["rollout/n_0"] > 0
