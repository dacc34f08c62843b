"""Forks in worlds of chance: a restore repeats what chance did, and a reseed after it gives an independent sample.

Tolerances are four standard errors of the mean under the exact distribution; seeds are fixed, so nothing can flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import comb
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from agentgym import Episode
from agentgym.envs.finite import FiniteMDP, FiniteTextEnv, best_policy, solve
from agentgym.identity import text_hash
from agentgym.policies import ScriptedPolicy
from agentgym.rollouts import EnvPool, Point, Start, run_branches
from agentgym.wrappers import CopySnapshot, ReplaySnapshot
from tests.trajectories import some_policy
from tests.worlds import Dice

Env = gym.Env[str, str]

WAYS: dict[str, Callable[[Env], Env]] = {
    "native": lambda env: env,
    "copy": CopySnapshot,
    "replay": ReplaySnapshot,
}
THROWS = 9
THROW = ScriptedPolicy(lambda turn: "throw")

every_way = pytest.mark.parametrize("way", WAYS)


def dice_pool(way: str) -> EnvPool:
    return EnvPool(lambda: WAYS[way](TimeLimit(Dice(), THROWS)))


def points_at(pool: EnvPool, policy: Any, depth: int, seeds: Sequence[int], **options: Any) -> list[Point]:
    """Return the moments after ``depth`` decisions of episodes that last longer."""
    starts = [Start(f"g{seed}", seed=seed, noise=(seed,), **options) for seed in seeds]
    branches = run_branches(pool, policy, starts, decisions=depth)
    return [branch.point for branch in branches if branch.point is not None]


def play_forks(
    pool: EnvPool, policy: Any, point: Point, forks: Sequence[int | None], noise: int = 77, **options: Any
) -> list[Episode]:
    starts = [Start("g", point=point, fork=fork, noise=(noise, number)) for number, fork in enumerate(forks)]
    branches = run_branches(pool, policy, starts, **options)
    assert all(branch.lost is None for branch in branches)
    return [branch.episode for branch in branches]


def texts(episode: Episode) -> tuple[str, ...]:
    return (*(step.observation for step in episode.steps), episode.final_observation)


def within(mean: float, exact: float, deviation: float, samples: int) -> bool:
    return bool(abs(mean - exact) <= 4 * deviation / np.sqrt(samples) + 1e-12)


# Dice: the agent has no choice, so all that differs is the world's chance ---------------------------------------------


@every_way
def test_a_fork_without_a_reseed_repeats_the_chance_exactly(way: str) -> None:
    pool = dice_pool(way)
    [point] = points_at(pool, THROW, 3, [5])
    straight = run_branches(pool, THROW, [Start("g5", seed=5, noise=(5,))])[0].episode
    again = play_forks(pool, THROW, point, [None] * 4)
    assert {texts(episode) for episode in again} == {texts(straight)}
    assert len(straight) > point.depth


@every_way
def test_a_fork_is_named_by_its_number_whatever_is_played_beside_it(way: str) -> None:
    pool = dice_pool(way)
    [point, other] = points_at(pool, THROW, 3, [5, 6])
    forks = list(range(12))
    many = play_forks(pool, THROW, point, forks)
    assert len({texts(episode) for episode in many}) == 12, "different numbers, different chance"
    backwards = play_forks(pool, THROW, point, forks[::-1], noise=3, max_live=2)[::-1]
    assert [texts(episode) for episode in backwards] == [texts(episode) for episode in many], "same number, same chance"
    elsewhere = play_forks(pool, THROW, other, forks)
    ahead = point.depth + 1
    assert all(texts(a)[ahead:] != texts(b)[ahead:] for a, b in zip(many, elsewhere, strict=True))


def test_every_way_of_saving_plays_the_same_forks() -> None:
    played = {}
    for way in WAYS:
        pool = dice_pool(way)
        [point] = points_at(pool, THROW, 4, [5])
        played[way] = [texts(episode) for episode in play_forks(pool, THROW, point, [None, 0, 1, 2**40])]
    assert played["native"] == played["copy"] == played["replay"]


def test_a_fork_of_a_fork_is_a_sample_of_its_own() -> None:
    pool = dice_pool("native")
    [point] = points_at(pool, THROW, 2, [5])
    [branch] = run_branches(pool, THROW, [Start("g", point=point, fork=1)], decisions=2)
    assert branch.point is not None
    inner = [texts(episode) for episode in play_forks(pool, THROW, branch.point, [None, 1, 2])]
    assert inner[0] == texts(play_forks(pool, THROW, point, [1])[0]), "without a reseed the branch goes on as it would"
    assert len(set(inner)) == 3


@every_way
def test_reseeded_forks_of_dice_have_the_exact_mean(way: str) -> None:
    """Wins take three sixes; with two on the table and h throws left they come with 1 - (5/6)^h, and so on."""
    pool, forks = dice_pool(way), 250
    seen = set()
    for point in points_at(pool, THROW, 4, range(12)):
        sixes, left = point.recorder.copy().finish().score * 3, THROWS - 4
        if sixes in seen:
            continue
        seen.add(sixes)
        lacking = 3 - round(sixes)
        exact = sum(comb(left, k) * 5 ** (left - k) for k in range(lacking, left + 1)) / 6**left
        won = [episode.won for episode in play_forks(pool, THROW, point, range(forks))]
        assert within(float(np.mean(won)), exact, np.sqrt(exact * (1 - exact)), forks), (sixes, np.mean(won), exact)
        assert len({episode.won for episode in play_forks(pool, THROW, point, [None] * 3)}) == 1, "no sample at all"
    assert len(seen) >= 3


@every_way
def test_forks_are_independent_of_the_path_and_of_one_another(way: str) -> None:
    """The face thrown next, over many episodes: on the path, in two of its forks, and in its repetition."""
    pool, episodes = dice_pool(way), 150
    faces: dict[str, list[int]] = {"path": [], "again": [], "one": [], "two": []}
    for point in points_at(pool, THROW, 2, range(episodes)):
        starts = [Start("g", point=point, fork=fork) for fork in (None, None, 1, 2)]
        for name, branch in zip(faces, run_branches(pool, THROW, starts, decisions=1), strict=True):
            faces[name].append(int(branch.episode.final_observation[-2]))
    assert len(faces["path"]) == episodes
    correlation = np.corrcoef(list(faces.values()))
    assert correlation[0, 1] == pytest.approx(1)
    apart = correlation[[0, 0, 2], [2, 3, 3]]
    assert np.abs(apart).max() < 4 / np.sqrt(episodes)


# Finite worlds: a policy of its own chance in a world of its own chance, with exact values ----------------------------

HORIZON = 10


def tabular(mdp: FiniteMDP, policy: np.ndarray) -> ScriptedPolicy:
    rows = {text: row for text, row in zip(mdp.texts, policy, strict=True)}
    return ScriptedPolicy(lambda turn: mdp.actions[int(turn.chance.choice(len(mdp.actions), p=rows[turn.observation]))])


def world(name: str) -> FiniteMDP:
    env = gym.make(name).unwrapped
    assert isinstance(env, FiniteTextEnv)
    return env.mdp


def finite_pool(name: str, way: str, limit: int = HORIZON) -> EnvPool:
    return EnvPool(lambda: WAYS[way](gym.make(name, max_episode_steps=limit, disable_env_checker=True)))


def state_of(mdp: FiniteMDP, point: Point) -> int:
    """Return the number of the hidden state at a point."""
    return [text_hash(state) for state in mdp.states].index(point.info["state_hash"])


def sure_policy(mdp: FiniteMDP) -> np.ndarray:
    """Return a good policy without chance, so that only the world's is left."""
    logits = np.where(mdp.legal, best_policy(mdp, HORIZON), -np.inf)
    table: np.ndarray = np.eye(len(mdp.actions))[logits.argmax(1)] * mdp.legal.any(1, keepdims=True)
    return table


def check_mean(way: str, name: str, table: np.ndarray, depth: int, limit: int) -> None:
    pool, mdp, forks = finite_pool(name, way, limit), world(name), 250
    value = solve(mdp, table, limit).v[limit - depth]
    policy = tabular(mdp, table)
    points = points_at(pool, policy, depth, range(20))
    point = max(points, key=lambda point: -abs(value[state_of(mdp, point)] - 0.5))
    exact = float(value[state_of(mdp, point)])
    assert 0.005 < exact < 0.995, "a point whose outcome is open"
    played = play_forks(pool, policy, point, range(forks))
    returns = [sum(step.reward for step in episode.steps[depth:]) for episode in played]
    assert within(float(np.mean(returns)), exact, np.sqrt(exact * (1 - exact)), forks), (np.mean(returns), exact)


@every_way
@pytest.mark.parametrize("name", ["Chain-v0", "KeyRoom-v0", "DistractorShop-v0"])
def test_the_mean_return_of_reseeded_forks_is_the_value(name: str, way: str) -> None:
    """V of the hidden state and the steps left, by backward induction."""
    check_mean(way, name, some_policy(world(name), seed=2), depth=3, limit=HORIZON)


@every_way
@pytest.mark.parametrize(("name", "limit"), [("Chain-v0", 6), ("KeyRoom-v0", 4), ("MiniHousehold-v0", 6)])
def test_the_mean_is_the_value_where_the_world_alone_leaves_things_open(name: str, limit: int, way: str) -> None:
    check_mean(way, name, sure_policy(world(name)), depth=1, limit=limit)


@every_way
def test_the_next_states_of_reseeded_forks_have_the_worlds_probabilities(way: str) -> None:
    """Every fork does the same, so only the world's chance speaks: a step on the chain slips once in ten."""
    pool, forks = finite_pool("Chain-v0", way), 400
    forward = ScriptedPolicy(lambda turn: "step forward")
    [point] = points_at(pool, forward, 2, [1])
    starts = [Start("g", point=point, fork=fork) for fork in range(forks)]
    slipped = np.array(
        [
            branch.episode.final_observation == point.observation
            for branch in run_branches(pool, forward, starts, decisions=1)
        ],
        np.float64,
    )
    assert within(slipped.mean(), 0.1, 0.3, forks)
    neighbours = np.corrcoef(slipped[:-1], slipped[1:])[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(forks), "forks of neighbouring numbers have nothing to do with each other"


def test_the_policys_chance_and_the_worlds_are_two_things() -> None:
    """Other noise gives other decisions, another fork another world."""
    pool, mdp = finite_pool("Chain-v0", "native"), world("Chain-v0")
    policy = tabular(mdp, mdp.uniform())
    [point] = points_at(pool, policy, 2, [1])
    start = Start("g", point=point, fork=3, noise=(1,))

    def once(**change: Any) -> Episode:
        return run_branches(pool, policy, [replace(start, **change)])[0].episode

    def actions(episode: Episode) -> list[str]:
        return [step.action for step in episode.steps]

    assert texts(once()) == texts(once())
    assert any(actions(once(noise=(n,))) != actions(once()) for n in range(2, 5))
    assert any(texts(once(fork=n)) != texts(once()) for n in range(4, 24))
