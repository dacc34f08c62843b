"""Exact values, advantages and policy gradients of tabular policies in a finite decision process.

A policy π is an array [O, A]: the probability of each action where this is observed, 0 where it is not legal. So in a
world whose states look alike it is a function of the text, as an agent's is. Values are by backward induction over
(h steps left, hidden state s), with V = 0 at the limit: running out of steps counts as failure.

    Q_h(s, a) = Σₖ P(k | s, a) (r + γ V_{h-1}(s'ₖ))      V_h(s) = Σₐ π(a | o(s)) Q_h(s, a)      A = Q - V

Source of the recursion: Puterman, Markov Decision Processes, 1994, section 4.2 (finite-horizon policy evaluation); of
the gradient: Sutton et al., Policy gradient methods, NeurIPS 1999, theorem 1; that aliased states share their logits
only sums its terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentgym.envs.finite.mdp import FiniteMDP
from agentgym.errors import ConfigError

__all__ = [
    "Values",
    "best_policy",
    "given_observation",
    "occupancy",
    "policy_gradient",
    "return_distribution",
    "skilled_policy",
    "softmax_policy",
    "solve",
    "start_value",
]

Floats = npt.NDArray[np.float64]

_LARGEST_LOGIT = 6.0


@dataclass(frozen=True, eq=False)
class Values:
    """What a policy is worth; index h is the number of steps left, and everything is 0 at h = 0.

    Attributes:
        v: Value of each state, [H + 1, S].
        q: Value of each action that is legal, else 0, [H + 1, S, A].
        advantage: q - v where the action is legal, else 0, [H + 1, S, A].
    """

    v: Floats
    q: Floats
    advantage: Floats


def solve(mdp: FiniteMDP, policy: Floats, horizon: int, gamma: float = 1.0) -> Values:
    """Return V, Q and A of a policy by backward induction.

    Args:
        mdp: The process.
        policy: Probability of each action given the observation, [O, A].
        horizon: H, the step limit, at least 1.
        gamma: γ, in [0, 1].
    """
    chosen, legal = policy[mdp.observation], mdp.legal[mdp.observation]
    v = np.zeros((horizon + 1, len(mdp.states)))
    q = np.zeros((horizon + 1, *legal.shape))
    immediate = (mdp.probability * mdp.reward).sum(-1)
    for h in range(1, horizon + 1):
        q[h] = immediate + gamma * (mdp.probability * v[h - 1][mdp.successor]).sum(-1)
        v[h] = (chosen * q[h]).sum(-1)
    return Values(v, q, np.where(legal, q - v[..., None], 0.0))


def return_distribution(mdp: FiniteMDP, policy: Floats, horizon: int) -> tuple[Floats, Floats]:
    """Return which returns are possible and how likely each is, by the same induction as values; γ = 1.

    Args:
        mdp: The process.
        policy: Probability of each action given the observation, [O, A].
        horizon: H, the step limit, at least 1.

    Returns:
        The N possible returns in rising order, [N], and the probability of each with h steps left, [H + 1, S, N].
    """
    flow = policy[mdp.observation][..., None] * mdp.probability
    # Probability of a return in each state, [S]; sums of rewards that differ by rounding only are one return.
    steps: list[dict[float, Floats]] = [{0.0: np.ones(len(mdp.states))}]
    for _ in range(horizon):
        now = {0.0: mdp.terminal.astype(np.float64)}
        for reward in np.unique(mdp.reward[flow > 0]).tolist():
            paying = np.where(mdp.reward == reward, flow, 0.0)
            for ahead, chance in steps[-1].items():
                total, reached = round(reward + ahead, 9), (paying * chance[mdp.successor]).sum((1, 2))
                now[total] = now.get(total, 0.0) + reached
        steps.append({total: chance for total, chance in now.items() if chance.any()})
    returns = sorted({total for step in steps for total in step})
    nothing = np.zeros(len(mdp.states))
    return np.array(returns), np.array([[step.get(total, nothing) for total in returns] for step in steps]).swapaxes(
        1, 2
    )


def occupancy(mdp: FiniteMDP, policy: Floats, horizon: int) -> Floats:
    """Return how often an episode stands in each state with h steps left, [H + 1, S]; tasks are equally frequent.

    Row h = 0 counts episodes that ran out of steps; ends of the task count in the step that reaches them only.
    """
    d = np.zeros((horizon + 1, len(mdp.states)))
    np.add.at(d[horizon], mdp.start, 1 / len(mdp.start))
    flow = policy[mdp.observation][..., None] * mdp.probability
    for h in range(horizon, 0, -1):
        moved = d[h][:, None, None] * flow
        d[h - 1] = np.bincount(mdp.successor.ravel(), moved.ravel(), len(mdp.states))
    return d


def policy_gradient(mdp: FiniteMDP, policy: Floats, horizon: int) -> Floats:
    """Return g = E Σₜ A(hₜ, sₜ, aₜ) ∇ log π(aₜ | oₜ), per episode, γ = 1, with respect to softmax logits, [O, A]."""
    advantage = solve(mdp, policy, horizon).advantage
    weights = occupancy(mdp, policy, horizon)[..., None] * policy[mdp.observation]
    gradient = np.zeros(policy.shape)
    np.add.at(gradient, mdp.observation, (weights * advantage).sum(0))
    return gradient


def given_observation(mdp: FiniteMDP, policy: Floats, values: Floats) -> Floats:
    """Average per-state values over the states that look alike, as often as the policy stands in them.

    Args:
        mdp: The process.
        policy: Probability of each action given the observation, [O, A].
        values: Values or advantages of actions with h steps left, [H + 1, S, A].

    Returns:
        E[value | h, observation, action] on every state of that observation, 0 where it is never seen, [H + 1, S, A].
    """
    d = occupancy(mdp, policy, len(values) - 1)
    sums = np.zeros((len(values), len(mdp.texts), values.shape[2]))
    weights = np.zeros((len(values), len(mdp.texts)))
    for s, o in enumerate(mdp.observation):
        sums[:, o] += d[:, s, None] * values[:, s]
        weights[:, o] += d[:, s]
    averages = np.divide(sums, weights[..., None], out=np.zeros(sums.shape), where=weights[..., None] > 0)
    on_states: Floats = averages[:, mdp.observation]
    return on_states


def softmax_policy(mdp: FiniteMDP, logits: Floats) -> Floats:
    """Return the policy with these logits over the legal actions, [O, A]."""
    masked = np.where(mdp.legal, logits, -np.inf)
    top = masked.max(1, initial=-np.inf, keepdims=True)
    weights = np.exp(masked - np.where(np.isfinite(top), top, 0.0))
    totals = weights.sum(1, keepdims=True)
    policy: Floats = np.divide(weights, totals, out=np.zeros(weights.shape), where=totals > 0)
    return policy


def start_value(mdp: FiniteMDP, policy: Floats, horizon: int) -> float:
    """Return the expected return of an episode, tasks equally frequent, γ = 1."""
    return float(solve(mdp, policy, horizon).v[horizon, mdp.start].mean())


def best_policy(mdp: FiniteMDP, horizon: int, rounds: int = 80) -> Floats:
    """Return logits of the best policy that exact natural gradient ascent finds from the uniform one, [O, A].

    The natural gradient of a tabular softmax policy is its advantage (Kakade, NeurIPS 2001), here averaged given the
    observation. It is the best policy where the text tells the state and the number of steps left does not matter;
    elsewhere it is a local optimum among the policies that read only the text. Logits lie within ±6, so that every
    legal action stays possible.
    """
    logits = np.zeros(mdp.legal.shape)
    best, found = logits, -np.inf
    for turn in range(rounds):
        policy = softmax_policy(mdp, logits)
        if (value := start_value(mdp, policy, horizon)) > found:
            best, found = logits, value
        seen = np.zeros(len(mdp.texts))
        np.add.at(seen, mdp.observation, occupancy(mdp, policy, horizon)[1:].sum(0))
        weights = policy * seen[:, None]
        gradient = policy_gradient(mdp, policy, horizon)
        natural = np.divide(gradient, weights, out=np.zeros(weights.shape), where=weights > 1e-12)
        largest = np.abs(natural).max(1, keepdims=True)
        step = np.divide(natural, largest, out=np.zeros(natural.shape), where=largest > 1e-12)
        logits = np.clip(logits + step / (1 + turn / 20), -_LARGEST_LOGIT, _LARGEST_LOGIT)
    return best


def skilled_policy(mdp: FiniteMDP, best: Floats, horizon: int, skill: float) -> Floats:
    """Return a softmax policy between uniform and ``best`` whose expected return lies at ``skill`` between theirs.

    The logits are those of ``best`` times a factor, found by bisection.

    Args:
        mdp: The process.
        best: Logits of a good policy, [O, A].
        horizon: The step limit.
        skill: Share of the way in expected return, in [0, 1].

    Raises:
        ConfigError: If the skill is out of range.
    """
    if not 0 <= skill <= 1:
        raise ConfigError(f"skill={skill}: must be in [0, 1], from uniform to the best policy")
    low, high = (start_value(mdp, softmax_policy(mdp, factor * best), horizon) for factor in (0.0, 1.0))
    target = low + skill * (high - low)
    below, above = 0.0, 1.0
    for _ in range(40):
        middle = (below + above) / 2
        if start_value(mdp, softmax_policy(mdp, middle * best), horizon) < target:
            below = middle
        else:
            above = middle
    return softmax_policy(mdp, above * best)
