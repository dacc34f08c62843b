"""PPO with a critic: generalised advantage estimation over tokens, or over the turns of an episode.

Papers: Proximal Policy Optimization Algorithms, arXiv 1707.06347, equations 7, 9, 11 and 12; GAE, arXiv 1506.02438.
Turns as the steps of the decision process: Turn-PPO, arXiv 2512.17008. Within one response: verl-agent's PPO.

    δₙ = rₙ + γ V(sₙ₊₁) - V(sₙ)        Aₙ = Σₖ (γλ)ᵏ δₙ₊ₖ        V̂ₙ = Aₙ + V(sₙ)
    L_V = max((v - V̂)², (clip(v, V - ε_V, V + ε_V) - V̂)²)

``level="turn"``: n runs over the turns of an episode, and all tokens of a turn get its advantage. ``level="token"``: n
runs over the response tokens of an episode one after the other, with the reward of a turn on its last token
(``scope="episode"``), or of one response alone, with the return of the whole episode on its last token
(``scope="row"``, the reference code for agents: nothing is bootstrapped across turns).

Notation (paper → name): γ → ``gamma``; λ → ``lam``; ε_V → ``value_clip``; c₁ → ``value_coef``; V → column ``value``;
V of the state after the row → column ``next_value``; V̂ → ``Credit.returns``.

Deviations:
    1. An episode that a limit or a fault cut off bootstraps with the value of the state it had reached; only the end of
       the task counts as 0. The reference code bootstraps neither.
    2. Whitening at turn level is over turns (our choice), at token level over tokens, as in the reference code.
    3. The reference code lets one value behind the end of a response into the recursion; here segments end exactly.
    4. KL in the rewards is not offered; ``kl_coef`` is a term of the loss.
    5. The bi-level estimator of VAGEN, which runs a second estimate over the tokens inside each turn, is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from agentgym.algos.base import Algorithm, AlgorithmConfig, Column
from agentgym.algos.functional.gae import gae, token_positions
from agentgym.algos.functional.losses import value_loss
from agentgym.algos.functional.returns import episode_returns
from agentgym.algos.functional.statistics import whiten
from agentgym.algos.grpo import penalties
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec, Loss, TokenBatch
from agentgym.errors import AlgorithmError

__all__ = ["PPO", "PPOConfig", "on_last", "value_diagnostics"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class PPOConfig(AlgorithmConfig):
    """Settings of PPO."""

    level: Literal["turn", "token"] = "turn"
    """What a step of the decision process is: a turn, or a response token."""
    scope: Literal["episode", "row"] = "episode"
    """How far the estimate reaches: over the episode, or (level "token" only) within one response."""
    gamma: float = Field(1.0, ge=0, le=1)
    """γ: discount of a step, so of a turn or of a token."""
    lam: float = Field(0.95, ge=0, le=1)
    """λ: 1 is the return minus V, 0 the one-step error."""
    whiten: bool = True
    """Whether to give the advantages of the whole batch mean 0 and standard deviation 1."""
    value_coef: float = Field(0.5, gt=0)
    """c₁: weight of the value loss; beside the critic's own weights it moves those of a shared trunk."""
    value_clip: float | None = Field(0.5, gt=0)
    """ε_V: how far a value may move from what it was before the update; None leaves it free."""
    shared: bool = False
    """Whether the value head reads the policy's trunk; else the critic has a copy of it."""
    critic_rate: float = Field(10.0, gt=0)
    """Learning rate of the critic's own weights over that of the policy."""
    format_penalty: float = Field(0.0, ge=0)
    """Subtracted from the reward of a row whose response lacked the asked-for form."""
    invalid_penalty: float = Field(0.0, ge=0)
    """Subtracted from the reward of a row whose action the environment did not understand."""

    @model_validator(mode="after")
    def _scope_fits(self) -> Self:
        if self.level == "turn" and self.scope == "row":
            raise ValueError("scope='row' needs level='token': a turn by itself has nothing to estimate over")
        return self


class PPO(Algorithm[PPOConfig]):
    """Proximal policy optimisation with a critic.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 0], t=[0, 1], reward=[0, 1], terminated=[False, True])
    >>> valued = batch.with_columns(value=np.array([0.5, 0.75]), next_value=np.array([0.75, 0.0]))
    >>> PPO(lam=1.0, whiten=False).credit(valued).advantage.tolist()
    [0.5, 0.25]
    """

    laws: ClassVar[frozenset[str]] = frozenset({"permutation", "mask", "micro-batch", "truncation"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "the baseline is a critic's value, not the mean of the group",
        "ties": "steps of episodes that fared alike differ by their values",
        "lone": "a lone episode has the critic to compare with",
        "shift": "a constant on the rewards moves the returns away from the critic's values",
        "scale": "scaled rewards must be compared with scaled values, which are a column of their own",
        "locality": "batch-wide by design where advantages are whitened",
    }

    @property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]  # the level depends on the settings
        """The values that ``credit`` reads, at its level; ``next_value`` only where it looks beyond a response."""
        level: Literal["row", "token"] = "row" if self.config.level == "turn" else "token"
        columns = {
            "value": Column(level, -2.0, 2.0, f"V of the state before the {level}; from agentgym.learners:Critic")
        }
        if self.config.scope == "episode":
            columns["next_value"] = Column(
                "row", -2.0, 2.0, "V of the state after the row; from agentgym.learners:Critic"
            )
        return columns

    def learners(self) -> list[LearnerSpec]:
        """Return the critic."""
        config = self.config
        level = "row" if config.level == "turn" else "token"
        options = {"level": level, "shared": config.shared, "rate": config.critic_rate}
        return [LearnerSpec("agentgym.learners:Critic", options)]

    def credit(self, batch: StepBatch) -> Credit:
        """Return the advantage of every turn or token, and the returns that train the critic; component ``gae``.

        Raises:
            AlgorithmError: If a column is missing, or at token level a row has no token to hold its reward.
        """
        config, value = self.config, self.read(batch, "value")
        reward, ahead = self.flow(batch)
        if config.level == "turn":
            segment, position = batch.episode, batch.t
        else:
            segment, position = self.layout(batch, batch.token_offsets)
            reward, ahead = (on_last(column, batch.token_offsets) for column in (reward, ahead))
        advantage = gae(reward, value, segment, position, gamma=config.gamma, lam=config.lam, bootstrap=ahead)
        returns = advantage + value
        credited = (whiten(advantage) if config.whiten else advantage).astype(np.float32)
        level: Literal["row", "token"] = "row" if config.level == "turn" else "token"
        diagnostics = value_diagnostics(value, returns, advantage)
        return Credit(credited, {"gae": credited}, diagnostics, level, returns.astype(np.float32))

    def flow(self, batch: StepBatch) -> tuple[Floats, Floats]:
        """Return what each row brought, penalties taken off, and V of what follows it, 0 behind an end, [R] each.

        Raises:
            AlgorithmError: If the estimate reaches over the episode and the column ``next_value`` is missing.
        """
        config = self.config
        penalty = penalties(batch.format_ok, batch.valid, config.format_penalty, config.invalid_penalty)
        if config.scope == "row":
            return episode_returns(batch.reward, batch.episode, batch.t) - penalty, np.zeros(len(batch))
        return batch.reward - penalty, np.where(batch.terminated, 0.0, self.read(batch, "next_value"))

    def layout(self, batch: StepBatch, offsets: Ints) -> tuple[Ints, Ints]:
        """Return the segment that the estimate runs over of each item, and the item's place in it, [N] each.

        Args:
            batch: The batch.
            offsets: Row r owns items ``offsets[r]:offsets[r + 1]``, [R + 1].
        """
        if self.config.scope == "episode":
            return token_positions(offsets, batch.episode, batch.t)
        rows = np.arange(len(batch))
        return token_positions(offsets, rows, np.zeros_like(rows))

    def loss(self, tokens: TokenBatch) -> Loss:
        """Return the clipped surrogate plus the clipped value loss, the latter where the trainer trains a critic."""
        policy = super().loss(tokens)
        if tokens.values is None:
            return policy
        count = tokens.total_rows if self.config.level == "turn" else tokens.total_tokens
        values = value_loss(tokens, count, self.config.value_clip)
        return Loss(policy.total + self.config.value_coef * values.total, {**policy.metrics, **values.metrics})


def on_last(column: Floats, offsets: Ints) -> Floats:
    """Put one number a row, [R], on the last of the row's items, [N]; 0 elsewhere.

    Args:
        column: One number a row, [R].
        offsets: Row r owns items ``offsets[r]:offsets[r + 1]``, [R + 1].

    Raises:
        AlgorithmError: If a row has no items, and so nowhere to put its number.
    """
    if (silent := np.flatnonzero(offsets[:-1] == offsets[1:])).size:
        raise AlgorithmError(f"row {silent[0]} has no response tokens to hold its reward; use 'ppo' with level='turn'")
    spread = np.zeros(int(offsets[-1]))
    spread[offsets[1:] - 1] = column
    return spread


def value_diagnostics(value: Floats, returns: Floats, advantage: Floats) -> dict[str, float]:
    """Return the means, and the share of the returns' variance that the values explain: 1 at best, below 0 at worst."""
    if not len(value):
        return {}
    spread = float(returns.var())
    explained = {"value_explained_variance": 1 - float(advantage.var()) / spread} if spread > 0 else {}
    return {"value_mean": float(value.mean()), "return_mean": float(returns.mean()), **explained}
