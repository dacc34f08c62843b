"""The history of states: what is counted, when it is read, and what comes back from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.errors import ConfigError, TrainingError
from agentgym.learners.state_store import StateStore
from agentgym.training.checkpoint import read_checkpoint, write_checkpoint


def written(paths: list[tuple[list[str], bool]], **settings: Any) -> StateStore:
    """Return a store in which trajectories through named states were written, all at once."""
    store = StateStore(**settings)
    store.write([], [([store.key("t", name) for name in names], won) for names, won in paths])
    return store


def keys(store: StateStore, *names: str, task: str = "t") -> list[str]:
    return [store.key(task, name) for name in names]


def test_each_distinct_state_of_a_trajectory_counts_once() -> None:
    store = written([(["a", "b", "a"], True), (["a", "c"], False)])
    names = keys(store, "a", "b", "c", "d")
    assert store.visits(names).tolist() == [2, 1, 1, 0]
    assert store.finished == 2
    assert store.scores(names).tolist() == pytest.approx([3 ** (-50 * 0.5 / (1 + 5e-7)), 3**-50.0, 1, 1], rel=1e-4)
    assert len(store) == 3


def test_states_that_were_only_seen_have_no_history() -> None:
    store = StateStore()
    key, other = keys(store, "a", "b")
    store.write([key], [])
    assert store.seen([key, other]).tolist() == [True, False]
    assert store.visits([key]).tolist() == [0]
    assert store.scores([key, other]).tolist() == [1, 1]


def test_what_is_written_does_not_depend_on_the_order() -> None:
    paths = [(["a", "b"], True), (["b", "c"], False), (["a", "c"], False)]
    one, other = written(paths), written(paths[::-1])
    names = keys(one, "a", "b", "c")
    assert one.scores(names).tolist() == other.scores(names).tolist()


def test_scope_global_pools_tasks_and_scope_task_keeps_them_apart() -> None:
    for scope, pooled in (("global", True), ("task", False)):
        store = StateStore(scope=scope)  # type: ignore[arg-type]
        store.write([], [(keys(store, "a", task="one"), False)] * 10)
        assert store.scores(keys(store, "a", task="one")).tolist() == [0]
        assert store.scores(keys(store, "a", task="two")).tolist() == ([0] if pooled else [1])


@pytest.mark.parametrize(("clock", "t"), [("finished_trajectories", 21), ("state_visits", 4), ("iteration", 8)])
def test_what_t_counts(clock: Any, t: int) -> None:
    store = written(
        [(["a"], True), (["a"], False), (["a"], False), (["a"], False)] + [(["b"], False)] * 16, clock=clock
    )
    store.iteration = 7
    assert store.scores(keys(store, "a"))[0] == pytest.approx(t ** (-50 * 0.25), rel=1e-3)
    assert StateStore(clock=clock, xi=None).scores(["00"]).tolist() == [1], "t is 2 at least"


def test_a_state_with_ten_failures_starves() -> None:
    store = written([(["a"], False)] * 10)
    store.write([], [(keys(store, "b"), True)] * 10_000)
    assert store.scores(keys(store, "a")).tolist() == [0]


def test_a_starved_state_can_be_revived() -> None:
    store = written([(["a"], False)] * 10 + [(["solved"], True)] * 3, revive_after=5)
    names = keys(store, "a", "solved")
    assert store.scores(names)[0] == 0
    store.write([], [(keys(store, "b"), False)] * 4)
    assert store.scores(names)[0] == 0, "too early"
    store.write([], [(keys(store, "b"), False)])
    assert store.scores(names)[0] == 1
    assert store.visits(names).tolist() == [0, 3], "its history is forgotten, that of others is not"
    store.write([], [([names[0]], False)] * 10)
    assert store.scores(names)[0] == 0, "it can starve again"
    with pytest.raises(ConfigError, match="revive_after"):
        StateStore(revive_after=0)


def test_it_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    store = written([([f"state {i}", "start"], i % 7 == 0) for i in range(600)], revive_after=400)
    store.iteration = 3
    path = write_checkpoint(tmp_path, 1, lambda to: to.mkdir(), {"store": store.state_dict()}, keep=1)
    other = StateStore(revive_after=400)
    other.load_state_dict(read_checkpoint(path)["store"])
    names = keys(store, "start", "unseen", *(f"state {i}" for i in range(600)))
    for times in (0, 9):
        for one in (store, other):
            one.write(["f" * 32], [(names[:1], True)] * times)
        assert (store.iteration, store.finished, len(store)) == (other.iteration, other.finished, len(other))
        assert store.scores(names).tolist() == other.scores(names).tolist()
        assert store.visits(names).tolist() == other.visits(names).tolist()
    assert all(isinstance(value, int | np.ndarray) for value in store.state_dict().values())


def test_what_is_saved_does_not_change_afterwards() -> None:
    store = written([(["a"], True)])
    saved = store.state_dict()
    store.write([], [(keys(store, "a", "b"), False)])
    assert saved["totals"].tolist() == [1]


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(TrainingError, match="not the saved state of a StateStore"):
        StateStore().load_state_dict({"iteration": 3})


def test_an_empty_store_is_saved_too() -> None:
    other = StateStore()
    other.load_state_dict(StateStore().state_dict())
    assert len(other) == 0
