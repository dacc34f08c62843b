"""What the credit of group methods is expected to be, over every outcome of a tiny world and by sampling."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from agentgym.algos import GRPO
from agentgym.envs.finite import FiniteMDP, build, policy_gradient, solve
from agentgym.envs.finite.worlds import AliasedCorridor, Chain, DistractorShop
from agentgym.evaluation.creditbench import sample_groups
from agentgym.evaluation.creditbench.metrics import gradients
from agentgym.testing import make_batch
from tests.trajectories import Visit, some_policy, trajectories

TINY: dict[str, tuple[FiniteMDP, int]] = {
    "chain": (build(Chain(length=3, slip=0.25)), 3),
    "corridor": (build(AliasedCorridor(length=3)), 6),
    "shop": (build(DistractorShop(items=2, sparse=0.0)), 4),
}


def restless_policy(mdp: FiniteMDP) -> np.ndarray:
    """Return a random policy that never waits where it can do else, so that there are few trajectories."""
    policy = some_policy(mdp)
    if "left" in mdp.actions:
        policy[:, mdp.actions.index("wait")] = 0
        policy /= policy.sum(1, keepdims=True).clip(1e-12)
    return policy


def grpo_on_every_pair(paths: list[tuple[float, list[Visit]]]) -> list[list[list[float]]]:
    """Return the credit of every step of every first episode, beside every second one: [first][second][step]."""
    group, episode, t, reward = [], [], [], []
    for g, pair in enumerate(product(paths, paths)):
        for member, (_, visits) in enumerate(pair):
            for step, visit in enumerate(visits):
                group.append(g)
                episode.append(2 * g + member)
                t.append(step)
                reward.append(visit.reward)
    advantage = GRPO(std=None).credit(make_batch(group=group, episode=episode, t=t, reward=reward)).advantage
    rows = defaultdict(list)
    for e, value in zip(episode, advantage.tolist(), strict=True):
        rows[e].append(value)
    n = len(paths)
    return [[rows[2 * (i * n + j)] for j in range(n)] for i in range(n)]


@pytest.mark.parametrize("name", TINY)
def test_expected_grpo_credit_is_advantage_and_baseline(name: str) -> None:
    """E[credit | past, a] = (N-1)/N (A + reward so far + V(s_t) - V(s_0)), over all pairs of episodes; N = 2."""
    mdp, horizon = TINY[name]
    policy = restless_policy(mdp)
    values = solve(mdp, policy, horizon)
    start = int(mdp.start[0])
    paths = list(trajectories(mdp, policy, start, horizon))
    assert len(paths) < 120
    credit = grpo_on_every_pair(paths)
    weight: dict[tuple[Visit, ...], float] = defaultdict(float)
    total: dict[tuple[Visit, ...], float] = defaultdict(float)
    for i, (p, visits) in enumerate(paths):
        for j, (q, _) in enumerate(paths):
            for step, visit in enumerate(visits):
                # The past and the present action; what the action then earned is not yet known.
                past = (*visits[:step], visit._replace(reward=0.0))
                weight[past] += p * q
                total[past] += p * q * credit[i][j][step]
    assert len(weight) > 10
    for past, mass in weight.items():
        now = past[-1]
        so_far = sum(visit.reward for visit in past[:-1])
        expected = values.advantage[now.h, now.state, now.action] + so_far
        expected += values.v[now.h, now.state] - values.v[horizon, start]
        assert total[past] / mass == pytest.approx(expected / 2, abs=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_expected_grpo_gradient_is_the_policy_gradient(name: str) -> None:
    """Exactly (N-1)/N of it, although the credit is not the advantage; N = 2, summed over all pairs of episodes."""
    mdp, horizon = TINY[name]
    policy = restless_policy(mdp)
    expected = np.zeros(policy.shape)
    for start in mdp.start:
        paths = list(trajectories(mdp, policy, int(start), horizon))
        credit = grpo_on_every_pair(paths)
        for (i, (p, visits)), (j, (q, _)) in product(enumerate(paths), enumerate(paths)):
            for visit, value in zip(visits, credit[i][j], strict=True):
                o = mdp.observation[visit.state]
                expected[o] -= p * q * value * policy[o] / len(mdp.start)
                expected[o, visit.action] += p * q * value / len(mdp.start)
    assert np.allclose(expected, policy_gradient(mdp, policy, horizon) / 2, atol=1e-7)


@pytest.mark.parametrize("name", TINY)
def test_sampled_gradients_are_unbiased(name: str) -> None:
    mdp, horizon = TINY[name]
    policy = restless_policy(mdp)
    sample = sample_groups(
        mdp, policy, horizon=horizon, group_size=3, groups=8, batches=400, rng=np.random.default_rng(0)
    )
    truth = policy_gradient(mdp, policy, horizon)
    advantage = solve(mdp, policy, horizon).advantage[sample.left, sample.batch.state, sample.action]
    group_relative = GRPO(std=None).credit(sample.batch).advantage.astype(np.float64)
    for credit, scale in ((advantage, 1.0), (group_relative, 2 / 3)):
        batches = gradients(policy, sample, credit)
        error = batches.std(0) / np.sqrt(len(batches)) + 1e-9
        assert (np.abs(batches.mean(0) - scale * truth) / error).max() < 4.5
    assert np.abs(truth).max() > 0.01


def test_gradients_are_sums_of_score_functions() -> None:
    """Against a loop over rows."""
    mdp, horizon = TINY["corridor"]
    policy = restless_policy(mdp)
    sample = sample_groups(
        mdp, policy, horizon=horizon, group_size=2, groups=2, batches=3, rng=np.random.default_rng(0)
    )
    credit = np.random.default_rng(1).normal(size=len(sample.batch))
    slow = np.zeros((3, *policy.shape))
    for row, value in enumerate(credit):
        o = sample.batch.anchor[row]
        slow[sample.part[row], o, sample.action[row]] += value / 4
        slow[sample.part[row], o] -= value * policy[o] / 4
    assert np.allclose(gradients(policy, sample, credit), slow)
