"""Pools of tasks: what is in them, in what order they recur, and which are kept."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.episodes import Group
from agentgym.errors import ConfigError
from agentgym.rollouts import TaskPool, select_tasks
from agentgym.rollouts.tasks import PoolTask, success_rates
from tests.learners.test_buffers import episode
from tests.worlds import Bare, Corridor, Dice

RATES = st.dictionaries(st.integers(0, 50), st.integers(0, 16).map(lambda n: n / 16))
BOUNDS = st.tuples(st.integers(0, 15), st.integers(1, 16)).map(lambda b: (min(b[0], b[1] - 1) / 16, b[1] / 16))


@given(rates=RATES, bounds=BOUNDS)
def test_selection_keeps_the_interval_and_is_idempotent(rates: dict[int, float], bounds: tuple[float, float]) -> None:
    kept = select_tasks(rates, *bounds)
    assert kept == {task: rate for task, rate in rates.items() if bounds[0] < rate <= bounds[1]}
    assert select_tasks(kept, *bounds) == kept
    assert 0.0 not in select_tasks(rates).values()
    assert set(rates) - set(select_tasks(rates)) == {task for task, rate in rates.items() if rate == 0}


def test_rates_are_shares_of_won_episodes() -> None:
    made = [(1.0, True), (0.5, False), (0.0, False), (1.0, True)]
    played = [replace(episode(reward), won=won, index=i) for i, (reward, won) in enumerate(made)]
    assert success_rates([Group("a", tuple(played)), Group("b", tuple(played[1:3]))]) == {0: 0.5, 1: 0.0}


@given(size=st.integers(1, 9), seed=st.integers(0, 99), start=st.integers(0, 40))
def test_every_round_plays_every_task_once(size: int, seed: int, start: int) -> None:
    pool = TaskPool([PoolTask(n) for n in range(size)], seed)
    rounds = [[pool.at(r * size + n).seed for n in range(size)] for r in range(start, start + 3)]
    assert [sorted(found) for found in rounds] == [list(range(size))] * 3
    # The order follows from the position alone, whatever was asked before.
    again = TaskPool([PoolTask(n) for n in range(size)], seed)
    assert again.at((start + 1) * size).seed == rounds[1][0]
    kept = pool.keep(range(0, size, 2))
    assert sorted(kept.at(n).seed for n in range(len(kept))) == list(range(0, size, 2))


def test_rounds_differ_in_order() -> None:
    pool = TaskPool([PoolTask(n) for n in range(20)])
    rounds = [tuple(pool.at(20 * r + n).seed for n in range(20)) for r in range(3)]
    assert len(set(rounds)) == 3


@pytest.mark.parametrize("world", [Dice, Bare])
def test_an_endless_split_gives_seeds(world: type[gym.Env[str, str]]) -> None:
    pool = TaskPool.of(world, 30, seed=4)
    assert len({task.seed for task in pool.tasks}) == 30
    assert {task.options for task in pool.tasks} == {None}
    assert TaskPool.of(world, 10, seed=4).tasks == pool.tasks[:10]
    assert TaskPool.of(world, 10, seed=5).tasks != pool.tasks[:10]


def test_a_finite_split_gives_names_and_at_most_all_of_them() -> None:
    names = sorted(Corridor().tasks)
    pool = TaskPool.of(Corridor, 128, seed=4)
    assert sorted((task.options or {})["task"] for task in pool.tasks) == names
    assert TaskPool.of(Corridor, 2, seed=4).tasks == pool.tasks[:2]
    choices = {tuple((t.options or {})["task"] for t in TaskPool.of(Corridor, 2, seed=s).tasks) for s in range(20)}
    assert len(choices) > 5


def test_empty_pools_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one task, not 0"):
        TaskPool.of(Corridor, 0)
    with pytest.raises(ConfigError, match="at least one task"):
        TaskPool([])
