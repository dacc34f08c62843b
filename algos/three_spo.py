"""3SPO: siblings of one state, scored by how much their next states still have to be learned.

Paper: 3SPO, arXiv 2606.09961. The scripts released with it ask for GRPO's estimator and never call its search, so they
train by plain GRPO; what stands here follows the paper, not the scripts.

    (1)  S(s)     = exp(-λ Nₛ/(N + 1e-6)) · 1{N - Nₛ < ξ or Nₛ/(N + 1e-6) > ζ},  λ = α ln t;   S = 1 if unseen
    (2)  R(s, s') = w R_novel + (½ - w) (S(s) - S(s')) + ½ R_success,            w = ½ exp(-ωₖ N)
    (3)  n(s)     = ⌈G_max S(s)⌉
         Aᵢ       = (Rᵢ - mean_j Rⱼ) / F      over the n actions sampled in one state; F = 1, or std_j Rⱼ + ε

Notation (paper → name): S → ``score``; N_total → ``visits``, ``totals``; N_success → ``successes``; α → ``alpha``; ξ →
``xi``; ζ → ``zeta``; ωₖ → ``omega``; G_max → the run's ``group_size``; F → ``std`` and ``eps``.

A score is high where a state is unresolved, and 0 where it is given up. N counts finished trajectories that passed
through s. The collector ``search`` keeps the history, walks the tree, and brings the columns read here.

Deviations, where the paper is silent:
    1. t ≥ 2, so that λ > 0; and a score never underflows to 0, which would give up states that are solved.
    2. S(s') = 0 where s' ends the task with success; R_success is 1 there and 0 elsewhere (the released code adds the
       environment's reward, 10).
    3. S and N are read before a frontier wave and written after it. A trajectory that ends, by failure or at a limit,
       is written back, a branch that was given up (n = 0) is not; states of a shared prefix count once for each
       trajectory that ends below them.
    4. By default F = 1, as in the helper of the released code.
    5. ``revive_after``: with ξ and ζ as published, a state with ten failures is never visited again, and so never
       recovers. This option of ours forgets the history of such a state after a while.
    6. ``given_up``: S(s') = 0 has two causes in (1), and (2) rewards both: going where everything is solved, and going
       where nothing ever was. As written that is so by default; with "unresolved", ours, the filter decides on n(s)
       alone, and R reads S without the indicator.
    7. Equal rewards are ranked by a hash of what was done and seen, which is blind to the policy: a command sampled
       once in eight goes on as readily as one sampled seven times. ``ties="frequency"`` prefers the latter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from agentgym.algos.base import LAWS, Algorithm, AlgorithmConfig, Column
from agentgym.algos.functional.statistics import Std, normalise, segments
from agentgym.algos.grpo import episode_diagnostics
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec

__all__ = ["SearchBudget", "ThreeSPO", "ThreeSPOConfig", "rollout_count", "state_score", "step_reward"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_RATE_EPS = 1e-6
_LEAST_SCORE = float(np.finfo(np.float64).tiny)


def state_score(
    successes: npt.ArrayLike,
    totals: npt.ArrayLike,
    t: npt.ArrayLike,
    *,
    alpha: float,
    xi: float | None,
    zeta: float,
) -> Floats:
    """Return S(s), equation (1), in [0, 1]: high where a state is unresolved, 0 where it is given up.

    >>> state_score([0, 1, 0], [9, 10, 10], 100, alpha=50, xi=10, zeta=0.1) > [0.5, 0, -1]
    array([ True,  True,  True])

    Args:
        successes: Successful trajectories through each state, [N].
        totals: Finished trajectories through each state, at least as many, [N].
        t: Time, one for all or one a state; below 2 it counts as 2.
        alpha: α, above 0.
        xi: ξ, failures from which on a state must earn its keep; None gives up nothing.
        zeta: ζ, success rate above which it does, in [0, 1].

    Returns:
        Scores, [N].
    """
    won, all_of_them = np.asarray(successes, np.float64), np.asarray(totals, np.float64)
    rate = won / (all_of_them + _RATE_EPS)
    annealed = alpha * np.log(np.maximum(np.asarray(t, np.float64), 2.0))
    score = np.maximum(np.exp(-annealed * rate), _LEAST_SCORE)
    if xi is None:
        return score
    kept = (all_of_them - won < xi) | (rate > zeta)
    return np.where(kept, score, 0.0)


def step_reward(
    score: npt.ArrayLike,
    next_score: npt.ArrayLike,
    visits: npt.ArrayLike,
    novel: npt.ArrayLike,
    success: npt.ArrayLike,
    *,
    omega: float,
) -> Floats:
    """Return R(s, s'), equation (2), in [-0.5, 1].

    >>> step_reward(1.0, 1.0, 0, 1, 0, omega=0.1).item()
    0.5

    Args:
        score: S(s), in [0, 1], [N].
        next_score: S(s'), in [0, 1]; 0 where s' ends the task with success, [N].
        visits: N(s), finished trajectories through s, at least 0, [N].
        novel: R_novel, 0 or 1, [N].
        success: R_success, 0 or 1, [N].
        omega: ωₖ, how fast novelty stops counting, at least 0.

    Returns:
        Rewards, [N].
    """
    weight = 0.5 * np.exp(-omega * np.asarray(visits, np.float64))
    progress = np.asarray(score, np.float64) - np.asarray(next_score, np.float64)
    reward: Floats = weight * np.asarray(novel) + (0.5 - weight) * progress + 0.5 * np.asarray(success)
    return reward


def rollout_count(score: npt.ArrayLike, most: int) -> Ints:
    """Return n(s), equation (3): how many actions are sampled in a state.

    0 gives the branch up, 1 moves on without an update, more are compared.

    >>> rollout_count([0.0, 1e-9, 0.3, 1.0], 8).tolist()
    [0, 1, 3, 8]

    Args:
        score: S(s), in [0, 1], [N].
        most: G_max, at least 1.
    """
    return np.ceil(most * np.asarray(score, np.float64)).astype(np.int64)


class SearchBudget(BaseModel):
    """What the search of one task may cost; it ends at the first limit it reaches, and its open branches are pruned."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    samples: int | None = Field(None, ge=1)
    """Actions sampled; None for 32 times the group size, about what a group of straight episodes takes."""
    nodes: int | None = Field(None, ge=1)
    """States expanded; None for no limit of its own."""
    depth: int | None = Field(None, ge=1)
    """Decisions on a path; one that reaches it has failed. None for the environment's own limit."""
    env_steps: int | None = Field(None, ge=1)
    """Steps of the environment, those that a replay repeats included; None for no limit of its own."""


class ThreeSPOConfig(AlgorithmConfig):
    """Settings of 3SPO."""

    alpha: float = Field(50.0, gt=0)
    """α: how fast a state that was ever solved counts as resolved."""
    xi: float | None = Field(10.0, gt=0)
    """ξ: failures from which on a state is given up; None gives up nothing."""
    zeta: float = Field(0.1, ge=0, le=1)
    """ζ: success rate above which it is not."""
    omega: float = Field(0.1, ge=0)
    """ωₖ: how fast the weight of novelty falls with the visits of a state."""
    std: Std | None = None
    """F: the sample (n - 1) or population (n) standard deviation of a state's samples, or None for 1."""
    eps: float = Field(1e-6, gt=0)
    """ε: added to the standard deviation."""
    format_penalty: float = Field(0.0, ge=0)
    """Subtracted from the reward of a row whose response lacked the asked-for form."""
    scope: Literal["global", "task"] = "global"
    """Whether equal states of different tasks share their history, as in the paper, or not."""
    state: Literal["obs", "state"] = "obs"
    """What names a state: the text that was seen, as in the paper, or the environment's true state."""
    clock: Literal["finished_trajectories", "state_visits", "iteration"] = "finished_trajectories"
    """What t counts, from 1: finished trajectories of the run (the released code), those through the state, or
    iterations."""
    novelty: Literal["changed", "unseen_on_path", "unseen_ever"] = "changed"
    """When R_novel is 1: s' differs from s (the released code), from all states of its path, or also from all seen
    before this wave."""
    revive_after: int | None = Field(None, ge=1)
    """Ours: finished trajectories after which a state that was given up starts afresh; None for never."""
    pool: int | None = Field(None, ge=1)
    """Number of tasks, which then recur as those of a finite training set do; None for a fresh one each time. Only
    where states recur does novelty ever stop counting."""
    given_up: Literal["resolved", "unresolved"] = "resolved"
    """What a next state counts as in R that was given up: resolved, as its score of 0 says, or, ours, by its rate."""
    ties: Literal["hash", "frequency"] = "hash"
    """Which of equally rewarded siblings goes on: by hash of what it did and saw, or the one sampled more often."""
    waves: int = Field(20, ge=1)
    """Frontier waves, and so updates, in an iteration."""
    budget: SearchBudget = SearchBudget()
    """What the search of one task may cost."""
    snapshots: Literal["native", "copy", "replay"] = "native"
    """How states are kept: by the environment itself, by a deep copy, or by taking its steps again."""
    reseed: bool = True
    """Whether samples get a chance of their own; False for environments without chance that cannot be reseeded."""


class ThreeSPO(Algorithm[ThreeSPOConfig]):
    """Step rewards from the history of states, relative to the siblings of one state.

    A group holds the actions sampled in one state, each as an episode of one step. Of a group of longer episodes, those
    decisions are compared that were taken from the same point: the first ones, or siblings in a tree.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[0, 1]).with_columns(
    ...     score=np.ones(2), next_score=np.array([1, 0]), visits=np.zeros(2), novel=np.ones(2),
    ...     success=np.array([0, 1]))
    >>> ThreeSPO().credit(batch).advantage.tolist()
    [-0.25, 0.25]
    """

    laws: ClassVar[frozenset[str]] = frozenset(LAWS) - {"ties", "scale", "locality", "truncation"}
    exemptions: ClassVar[Mapping[str, str]] = {
        "ties": "siblings are told apart by their next states, whatever they return; equal step rewards do give zero",
        "scale": "success counts as 1 whatever the environment's reward, and the history of states has no unit",
        "locality": "every group writes to the history that scores are read from; with scope='task', that of its task",
        "truncation": "no value is bootstrapped: the score of the state that a limit cut off is read as any other",
    }
    columns: ClassVar[Mapping[str, Column]] = {
        "score": Column("row", 0.0, 1.0, "S(s) before the wave; from the collector 'search'"),
        "next_score": Column("row", 0.0, 1.0, "S(s') before the wave, 0 after success; from the collector 'search'"),
        "visits": Column("row", 0.0, np.inf, "N(s), finished trajectories through s; from the collector 'search'"),
        "novel": Column("row", 0.0, 1.0, "R_novel, 0 or 1; from the collector 'search'"),
        "success": Column("row", 0.0, 1.0, "R_success, 0 or 1; from the collector 'search'"),
    }

    def collector(self) -> CollectorSpec:
        """Return the collector that searches, with the settings of the history."""
        config = self.config
        history = ("alpha", "xi", "zeta", "omega", "scope", "state", "clock", "novelty", "revive_after")
        options = {
            name: getattr(config, name)
            for name in (*history, "pool", "given_up", "ties", "waves", "snapshots", "reseed")
        }
        return CollectorSpec("search", {**options, "budget": config.budget.model_dump()})

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, Ints]:
        """Return the points: what was sampled from one sums to zero."""
        return {"siblings": _points(batch)}

    def credit(self, batch: StepBatch) -> Credit:
        """Return the step rewards relative to the samples of the same state; component ``siblings``.

        Raises:
            AlgorithmError: If a column of the collector ``search`` is missing.
        """
        config = self.config
        columns = {name: self.read(batch, name) for name in self.columns}
        reward = step_reward(**columns, omega=config.omega)
        siblings = segments(reward - config.format_penalty * ~batch.format_ok, _points(batch))
        advantage = normalise(siblings, std=config.std, eps=config.eps).astype(np.float32)
        diagnostics = episode_diagnostics(siblings, advantage)
        if len(batch):
            # Sorted, so that the figures do not depend on the order of the rows.
            diagnostics |= {
                f"mean_{name}": float(np.sort(values).mean())
                for name, values in {**columns, "step_reward": reward}.items()
            }
        return Credit(advantage, {"siblings": advantage}, diagnostics)


def _points(batch: StepBatch) -> Ints:
    """Return which rows were sampled from the same point of their group, as codes of at least 0, [R]."""
    # First decisions have the parent -1.
    points: Ints = batch.group * (batch.node.max(initial=0) + 2) + batch.parent + 1
    return points
