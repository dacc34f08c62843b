from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.batch import Credit, StepBatch, encode
from agentgym.episodes import Episode, Group, Step
from agentgym.errors import AlgorithmError


def _step(**values: Any) -> Step:
    given = {
        "observation": "o", "action": "a", "reward": 0.0, "shaped_reward": 0.0, "terminated": False, "truncated": False,
        "valid": True, "obs_hash": "h",
    } | values  # fmt: skip
    return Step(**given)


def _episode(steps: list[Step], **values: Any) -> Episode:
    given = {
        "group": "g", "index": 0, "seed": None, "task_id": "t", "task_type": "", "goal": "", "won": False, "score": 0.0,
        "end": "failure",
    } | values  # fmt: skip
    return Episode(steps=tuple(steps), **given)


def _groups() -> list[Group]:
    tokens = {"response_ids": (5, 6), "logprobs": (-0.5, -1.0), "prompt_ids": (1,)}
    won = _episode(
        [
            _step(obs_hash="A", **tokens),
            _step(obs_hash="B", reward=1.0, shaped_reward=10.0, terminated=True, valid=False),
        ],
        won=True,
        score=1.0,
    )
    lost = _episode([_step(obs_hash="A", format_ok=False, truncated=True)], score=0.5)
    return [Group("one", (won, lost)), Group("two", (_episode([_step(obs_hash="B", state_hash="s")]),))]


def test_columns_of_recorded_groups() -> None:
    batch = StepBatch.from_groups(_groups())
    assert len(batch) == 4
    assert batch.group.tolist() == [0, 0, 0, 1]
    assert batch.episode.tolist() == [0, 0, 1, 2]
    assert batch.t.tolist() == [0, 1, 0, 0]
    assert batch.anchor.tolist() == [0, 1, 0, 1]
    assert batch.state.tolist() == [-1, -1, -1, 0]
    assert batch.reward.tolist() == [0.0, 10.0, 0.0, 0.0]
    assert batch.env_reward.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert batch.terminated.tolist() == [False, True, False, False]
    assert batch.truncated.tolist() == [False, False, True, False]
    assert batch.valid.tolist() == [True, False, True, True]
    assert batch.format_ok.tolist() == [True, True, False, True]
    assert batch.won.tolist() == [True, True, False, False]
    assert batch.score.tolist() == [1.0, 1.0, 0.5, 0.0]
    assert batch.token_offsets.tolist() == [0, 2, 2, 2, 2]
    assert batch.token_ids.tolist() == [5, 6]
    assert batch.observations == ("o",) * 4


def test_no_groups_make_an_empty_batch() -> None:
    batch = StepBatch.from_groups([])
    assert len(batch) == 0
    assert batch.token_offsets.tolist() == [0]


def _batch(lengths: list[int]) -> StepBatch:
    """Rows whose every column tells the row, and tokens whose every column tells the token."""
    rows, tokens = len(lengths), sum(lengths)
    number = np.arange(rows)
    flags = {name: number % 2 == 0 for name in ("terminated", "truncated", "valid", "format_ok", "won")}
    values = {name: number.astype(float) for name in ("reward", "env_reward", "score")}
    return StepBatch(
        group=number, episode=number, t=number, anchor=number, state=number, **flags, **values,
        token_offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        token_ids=np.arange(tokens), logprobs=np.arange(tokens, dtype=np.float32),
        observations=tuple(f"o{i}" for i in number), actions=tuple(f"a{i}" for i in number),
        columns={"value": number * 10.0}, token_columns={"progress": np.arange(tokens) * 100.0},
    )  # fmt: skip


@given(st.lists(st.integers(0, 3), max_size=6), st.data())
def test_take_moves_rows_with_their_tokens_and_added_columns(lengths: list[int], data: st.DataObject) -> None:
    batch = _batch(lengths)
    rows = np.array(
        data.draw(st.lists(st.sampled_from(range(len(lengths))), max_size=8) if lengths else st.just([])), int
    )
    taken = batch.take(rows)
    assert taken.group.tolist() == rows.tolist()
    assert taken.columns["value"].tolist() == (rows * 10.0).tolist()
    assert taken.observations == tuple(f"o{i}" for i in rows)
    expected = [t for row in rows for t in range(batch.token_offsets[row], batch.token_offsets[row + 1])]
    assert taken.token_ids.tolist() == expected
    assert taken.token_columns["progress"].tolist() == [t * 100.0 for t in expected]
    assert np.diff(taken.token_offsets).tolist() == [lengths[row] for row in rows]


def test_row_columns_stay_row_columns_where_rows_and_tokens_are_equally_many() -> None:
    taken = _batch([2, 0]).take(np.array([0]))
    assert taken.columns["value"].tolist() == [0.0]
    assert taken.token_columns["progress"].tolist() == [0.0, 100.0]


def test_added_columns_are_checked() -> None:
    batch = _batch([2, 1])
    added = batch.with_columns(critic=np.zeros(2)).with_token_columns(entropy=np.zeros(3))
    assert set(added.columns) == {"value", "critic"}
    assert set(added.token_columns) == {"progress", "entropy"}
    with pytest.raises(AlgorithmError, match=r"column 'critic' has shape \(3,\), expected \(2,\)"):
        batch.with_columns(critic=np.zeros(3))
    with pytest.raises(AlgorithmError, match=r"token column 'entropy' has shape \(2,\), expected \(3,\)"):
        batch.with_token_columns(entropy=np.zeros(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.zeros(3)}, r"'reward' has shape \(3,\), expected \(2,\)"),
        ({"token_offsets": np.array([0, 2])}, "'token_offsets' has shape"),
        ({"token_offsets": np.array([0, 4, 3])}, "never fall"),
        ({"token_offsets": np.array([1, 2, 3])}, "start at 0"),
        ({"logprobs": np.zeros(2, np.float32)}, r"'logprobs' has shape \(2,\), expected \(3,\)"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    batch = _batch([2, 1])
    fields = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    with pytest.raises(AlgorithmError, match=message):
        StepBatch(**{**fields, **change})


def test_encode_numbers_by_first_appearance() -> None:
    assert encode(["x", None, "y", "x", 0, False]).tolist() == [0, -1, 1, 0, 2, 2]
    assert encode([]).dtype == np.int64


def test_credit_per_token() -> None:
    batch = _batch([2, 0, 1])
    rows = Credit(np.array([1, 2, 3], np.float32))
    assert rows.per_token(batch).tolist() == [1, 1, 3]
    with pytest.raises(AlgorithmError, match="4"):
        Credit(np.zeros(4, np.float32)).per_token(batch)
    tokens = Credit(np.array([7, 8, 9], np.float32), level="token")
    assert tokens.per_token(batch).tolist() == [7, 8, 9]


def test_the_level_of_credit_is_stated_and_not_told_from_its_shape() -> None:
    # Two rows and two tokens, but both tokens are the first row's.
    batch = _batch([2, 0])
    values = np.array([7, 8], np.float32)
    assert Credit(values).per_token(batch).tolist() == [7, 7]
    assert Credit(values, level="token").per_token(batch).tolist() == [7, 8]
    with pytest.raises(AlgorithmError, match=r"token-level credit has shape \(2,\); .* 2 rows and 3 response tokens"):
        Credit(values, level="token").per_token(_batch([2, 1]))
    with pytest.raises(AlgorithmError, match="level 'turn'"):
        Credit(values, level="turn")  # type: ignore[arg-type]
    with pytest.raises(AlgorithmError, match=r"component 'bonus' has shape \(3,\), expected \(2,\)"):
        Credit(values, {"bonus": np.zeros(3, np.float32)})


def test_macro_actions_belong_to_credit_of_tokens() -> None:
    values, macro = np.array([7, 8], np.float32), np.array([0, 0])
    assert Credit(values, level="token", macro=macro).macro is macro
    with pytest.raises(AlgorithmError, match=r"'macro' has shape \(3,\), expected \(2,\)"):
        Credit(values, level="token", macro=np.zeros(3, np.int64))
    with pytest.raises(AlgorithmError, match="credit that has 'macro' needs level 'token'"):
        Credit(values, macro=macro)


class TestTrees:
    """One group is a tree whose second path leaves the first after a step; the other has two straight episodes."""

    @staticmethod
    def batch() -> StepBatch:
        root, left, right = _step(action="go"), _step(action="left"), _step(action="right")
        other = _step(action="stay")
        tree = Group.of_paths("tree", [_episode([root, left]), _episode([root, right, other]), _episode([other])])
        straight = Group("straight", (_episode([_step(), _step()]), _episode([_step()])))
        return StepBatch.from_groups([tree, straight])

    def test_paths_share_the_decisions_before_they_fork(self) -> None:
        batch = self.batch()
        assert batch.t.tolist() == [0, 1, 0, 1, 2, 0, 0, 1, 0]
        assert batch.node.tolist() == [0, 1, 0, 2, 3, 3, 4, 5, 6]
        assert batch.episode.tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 4]

    def test_parents_and_branches(self) -> None:
        root, left, right, deep = (_step(action=name) for name in ("root", "left", "right", "deep"))
        lone = _step(action="lone")
        tree = Group.of_paths("g", [_episode([root, left]), _episode([root, right, deep]), _episode([lone])])
        batch = StepBatch.from_groups([tree, Group("s", (_episode([_step(), _step()]), _episode([_step()])))])
        assert batch.node.tolist() == [0, 1, 0, 2, 3, 4, 5, 6, 7]
        assert batch.parent.tolist() == [-1, 0, -1, 0, 2, -1, -1, 5, -1]
        assert batch.branch.tolist() == [0, 0, 0, 1, 0, 1, 0, 0, 1]
        rows = np.random.default_rng(1).permutation(9)
        mixed = batch.take(rows)
        assert mixed.node.tolist() == batch.node[rows].tolist()
        assert mixed.parent.tolist() == batch.parent[rows].tolist()
        assert mixed.branch.tolist() == batch.branch[rows].tolist()

    def test_straight_rollouts_are_trees_that_fork_at_the_start_only(self) -> None:
        batch = StepBatch.from_groups(_groups())
        assert batch.tree_node is None
        assert batch.node.tolist() == [0, 1, 2, 3]
        assert batch.parent.tolist() == [-1, 0, -1, -1]
        assert batch.branch.tolist() == [0, 0, 1, 0]

    def test_a_column_of_another_shape_is_refused(self) -> None:
        batch = StepBatch.from_groups(_groups())
        with pytest.raises(AlgorithmError, match=r"'tree_node' has shape \(2,\), expected \(4,\)"):
            dataclasses.replace(batch, tree_node=np.zeros(2, np.int64))
