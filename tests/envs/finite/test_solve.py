"""The exact solution, against brute force over every trajectory of tiny worlds and against finite differences."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from agentgym.envs.finite import (
    best_policy,
    build,
    given_observation,
    occupancy,
    policy_gradient,
    return_distribution,
    skilled_policy,
    softmax_policy,
    solve,
)
from agentgym.envs.finite.solve import start_value
from agentgym.envs.finite.worlds import AliasedCorridor, Chain, DistractorShop, KeyRoom, MiniHousehold
from agentgym.errors import ConfigError
from tests.trajectories import some_policy, trajectories

TINY = {
    "chain": (build(Chain(length=3, slip=0.25)), 4),
    "key room": (build(KeyRoom(rooms=1, jam=0.5)), 5),
    "corridor": (build(AliasedCorridor(length=3, slip=0.125)), 5),
    "shop": (build(DistractorShop(items=2, sparse=0.25)), 4),
    "household": (build(MiniHousehold(fumble=0.25)), 3),
}


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("name", TINY)
def test_values_are_means_over_all_trajectories(name: str, gamma: float) -> None:
    mdp, horizon = TINY[name]
    policy = some_policy(mdp)
    values = solve(mdp, policy, horizon, gamma)
    weight: dict[tuple[int, int, int], float] = defaultdict(float)
    total: dict[tuple[int, int, int], float] = defaultdict(float)
    seen = np.zeros((horizon + 1, len(mdp.states)))
    for start in mdp.start:
        for probability, visits in trajectories(mdp, policy, int(start), horizon):
            ahead = 0.0
            for visit in reversed(visits):
                ahead = visit.reward + gamma * ahead
                weight[visit[:3]] += probability
                total[visit[:3]] += probability * ahead
                seen[visit.h, visit.state] += probability / len(mdp.start)
    assert weight
    for h, s, a in weight:
        assert values.q[h, s, a] == pytest.approx(total[h, s, a] / weight[h, s, a], abs=1e-12)
    running = ~mdp.terminal
    assert np.allclose(occupancy(mdp, policy, horizon)[1:, running], seen[1:, running], atol=1e-12)


@pytest.mark.parametrize("name", TINY)
def test_distribution_of_returns_is_that_of_all_trajectories(name: str) -> None:
    mdp, horizon = TINY[name]
    policy = some_policy(mdp)
    returns, chance = return_distribution(mdp, policy, horizon)
    assert np.allclose(chance.sum(2), 1)
    assert np.allclose(chance @ returns, solve(mdp, policy, horizon).v)
    for start in mdp.start:
        for h in range(horizon + 1):
            expected: dict[float, float] = defaultdict(float)
            for probability, visits in trajectories(mdp, policy, int(start), h):
                expected[round(sum(visit.reward for visit in visits), 6)] += probability
            found = dict(zip(returns.round(6).tolist(), chance[h, start].tolist(), strict=True))
            assert {total: p for total, p in found.items() if p > 0} == pytest.approx(dict(expected))


@pytest.mark.parametrize("name", TINY)
def test_advantages_average_to_zero_and_are_zero_where_illegal(name: str) -> None:
    mdp, horizon = TINY[name]
    policy = some_policy(mdp)
    values = solve(mdp, policy, horizon)
    assert np.allclose((policy[mdp.observation] * values.advantage).sum(-1), 0, atol=1e-12)
    assert not values.advantage[:, ~mdp.legal[mdp.observation]].any()
    assert np.allclose(occupancy(mdp, policy, horizon)[horizon].sum(), 1)


@pytest.mark.parametrize("name", TINY)
def test_gradient_is_the_derivative_of_the_value(name: str) -> None:
    mdp, horizon = TINY[name]
    logits = np.random.default_rng(1).normal(size=mdp.legal.shape)
    gradient = policy_gradient(mdp, softmax_policy(mdp, logits), horizon)
    step = 1e-5
    for o, a in np.argwhere(mdp.legal)[::3]:
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[o, a] += sign * step
            ends.append(start_value(mdp, softmax_policy(mdp, moved), horizon))
        assert gradient[o, a] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-9)


def test_averages_given_the_observation() -> None:
    """Where the text tells the state nothing changes; in the corridor it is the mean over the look-alike states."""
    mdp, horizon = TINY["key room"]
    policy = some_policy(mdp)
    advantage = solve(mdp, policy, horizon).advantage
    seen = occupancy(mdp, policy, horizon) > 0
    assert np.allclose(given_observation(mdp, policy, advantage)[seen], advantage[seen])
    mdp, horizon = build(AliasedCorridor(length=5)), 12
    policy = some_policy(mdp)
    advantage = solve(mdp, policy, horizon).advantage
    averaged = given_observation(mdp, policy, advantage)
    d = occupancy(mdp, policy, horizon)
    inner = mdp.observation == mdp.observation[mdp.start[0]]
    assert inner.sum() == 6
    expected = (d[4, inner, None] * advantage[4, inner]).sum(0) / d[4, inner].sum()
    assert np.allclose(averaged[4, inner], expected)
    assert not np.allclose(averaged[4, inner], advantage[4, inner])


@pytest.mark.parametrize("name", ["chain", "key room", "shop"])
def test_best_policy_is_optimal_where_the_text_tells_the_state(name: str) -> None:
    mdp, horizon = TINY[name]
    horizon += 6
    v = np.zeros((horizon + 1, len(mdp.states)))
    for h in range(1, horizon + 1):  # optimal control by backward induction
        q = (mdp.probability * (mdp.reward + v[h - 1][mdp.successor])).sum(-1)
        v[h] = np.where(mdp.legal[mdp.observation], q, 0).max(1)
    best = softmax_policy(mdp, best_policy(mdp, horizon))
    assert start_value(mdp, best, horizon) == pytest.approx(v[horizon, mdp.start].mean(), abs=0.02)


def test_skill_is_the_share_of_the_way_in_value() -> None:
    mdp, horizon = build(AliasedCorridor()), 15
    best = best_policy(mdp, horizon)
    values = [start_value(mdp, skilled_policy(mdp, best, horizon, x), horizon) for x in (0, 0.25, 0.5, 1)]
    assert values[0] == pytest.approx(start_value(mdp, mdp.uniform(), horizon))
    assert (np.array(values) - values[0]) / (values[-1] - values[0]) == pytest.approx([0, 0.25, 0.5, 1], abs=1e-6)
    assert values[-1] > 4 * values[0]
    with pytest.raises(ConfigError, match="skill"):
        skilled_policy(mdp, best, horizon, 1.5)
