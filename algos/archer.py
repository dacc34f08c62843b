"""ArCHer: critics of whole utterances, learned off-policy, and REINFORCE over the tokens of an utterance.

Paper: ArCHer: Training Language Model Agents via Hierarchical Multi-Turn RL, arXiv 2402.19446; its code,
YifeiZhou02/ArCHer, and for the offline variant andreazanette/OfflineArcher.

    A(s, a) = min(Q₁, Q₂)(s, a) - min(V₁, V₂)(s)
    L_π     = -mean A Σₕ log π(aʰ | s, a^{<h})                          online: REINFORCE
    L_π     = -mean Σₕ (A - bₕ) log π(aʰ | s, a^{<h})                   online, with a baseline bₕ = b(s, a^{<h})
    L_b     = mean Σₕ (A - bₕ)²
    L_π     = -mean exp(A / T) Σₕ log π(aʰ | s, a^{<h})                 offline: advantage-weighted regression

s is all that came before a turn and a the whole utterance of the turn, so every token of it gets the turn's advantage;
there is no ratio, no clip and no whitening. With ``actor="fresh"`` s is drawn from the buffer and a is what the policy
says in it now, without a step of the environment. Q and V, two of each, and their losses are in
``agentgym.learners.UtteranceCritics``: a critic learns from a buffer of turns, so that rollouts are used many times,
while the policy learns from what it says now. b is an ``agentgym.learners.Critic`` of tokens. Offline the critics are
IQL's, arXiv 2110.06169, and the regression is AWR's, arXiv 1910.00177.

Notation (paper → name): γ → ``gamma``; τ → ``tau``; min(Q₁, Q₂) → row column ``utterance_q``; min(V₁, V₂) → row column
``utterance_v``; b → token column ``value``; κ, the expectile → ``expectile``; 1 / T, the inverse temperature →
``beta_inv``.

Deviations:
    1. By default the policy learns from the turns that were just played (ours), which are fresh too, but only in states
       that it meets now; each is used once an iteration, or as often as ``epochs`` asks for. The published actor draws
       fresh utterances in states from the buffer: ``actor="fresh"``.
    2. Likewise V learns from the turns just played (ours), or with ``actions="fresh"`` from fresh utterances in states
       from the buffer (the paper).
    3. The published critic is a RoBERTa that reads state and utterance apart. Here it is a copy of the policy's trunk,
       or with ``shared`` the policy's own, which reads the utterance after the state.
    4. An episode that a limit or a fault cut off bootstraps; the published worlds end there as the task does.
    5. The published code sums gradients over accumulated batches, here they are means. Adam does not see the scale; the
       clip of their norm does.
    6. The terminator of an utterance is one of its tokens; the published code drops it, and "stop" learns nothing.
    7. The published code leaves the token-level baseline to be added. Here it has a trunk of its own, or with
       ``shared`` is a head on the policy's, which it then moves too (our reading); it learns in the policy's own
       optimiser steps, and A - b is taken with b as it was before them.
    8. ``whiten`` is ours. Under exact critics the policy's own turns have a mean advantage of 0. Young critics are off
       by more than turns differ, and without a ratio or a clip all that was said is then made less likely, or more so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agentgym.algos._likelihood import Likelihood, LikelihoodConfig
from agentgym.algos.base import AlgorithmConfig, Column
from agentgym.algos.functional.losses import value_loss
from agentgym.algos.functional.statistics import whiten
from agentgym.algos.ppo import value_diagnostics
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec, LearnerSpec, Loss, TokenBatch

__all__ = ["ArCHer", "ArCHerConfig", "ArCHerOffline", "ArCHerOfflineConfig", "CriticsConfig"]

Floats = npt.NDArray[np.float64]

_OF_CRITICS = ("gamma", "tau", "actions", "shared", "steps", "minibatch", "capacity", "warmup")


class CriticsConfig(LikelihoodConfig):
    """Settings of the critics, and of a loss without a ratio."""

    gamma: float = Field(0.95, ge=0, le=1)
    """γ: discount of a turn."""
    tau: float = Field(0.1, ge=0, le=1)
    """τ: how far the target networks follow in a step."""
    actions: Literal["batch", "fresh"] = "batch"
    """Where V's utterances come from: the turns just played, or drawn anew in states from the buffer (the paper)."""
    shared: bool = False
    """Whether the critics of utterances read the policy's trunk and leave it alone; else they train a copy of it."""
    critic_learning_rate: float = Field(3e-4, gt=0)
    """Learning rate of the critics."""
    steps: int = Field(20, ge=1)
    """Optimiser steps of the critics in an iteration."""
    minibatch: int = Field(64, ge=1)
    """Turns of one of these steps."""
    capacity: int = Field(100_000, ge=1)
    """Turns of the buffer."""
    warmup: int = Field(0, ge=0)
    """Iterations at first in which only the critics learn and the policy stays as it is."""


class ArCHerConfig(CriticsConfig):
    """Settings of ArCHer: those of the critics, and of the policy that learns by REINFORCE."""

    actor: Literal["batch", "fresh"] = "batch"
    """What the policy learns from: the turns just played, or fresh utterances in states from the buffer (the paper)."""
    actor_steps: int = Field(1, ge=1)
    """Times an iteration that the policy learns from fresh utterances, drawn anew each time; with ``actor="fresh"``."""
    actor_minibatch: int = Field(64, ge=1)
    """States of the buffer in which it speaks each of these times; with ``actor="fresh"``."""
    whiten: bool = False
    """Whether advantages get mean 0 and variance 1 over the batch (ours): their mean is the critics' error."""
    baseline: bool = False
    """Whether a baseline b is learned and taken off the advantage at each token; with ``shared`` it moves the trunk."""
    baseline_rate: float = Field(10.0, gt=0)
    """Learning rate of the baseline's own weights over that of the policy; with ``baseline``."""


class _UtteranceMethod(Likelihood):
    """What both variants have: the critics of utterances, and the advantage by them."""

    laws: ClassVar[frozenset[str]] = frozenset({"permutation", "locality", "mask", "micro-batch"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "the baseline is a critic's value, not the mean of the group",
        "ties": "turns of episodes that fared alike differ by what the critics expect of them",
        "lone": "a lone episode has the critics to compare with",
        "shift": "rewards reach the credit through the critics alone, which learned them over many iterations",
        "scale": "scaled rewards reach the credit through critics that learned from them",
        "truncation": "the critics bootstrap where a limit ended an episode; the credit itself does not look at ends",
    }
    columns: ClassVar[Mapping[str, Column]] = {
        "utterance_q": Column(
            "row", -2.0, 2.0, "min(Q1, Q2) of the turn's utterance; from agentgym.learners:UtteranceCritics"
        ),
        "utterance_v": Column(
            "row", -2.0, 2.0, "min(V1, V2) of the state before the turn; from agentgym.learners:UtteranceCritics"
        ),
    }
    config_class: ClassVar[type[AlgorithmConfig]] = CriticsConfig
    config: CriticsConfig

    def learners(self) -> list[LearnerSpec]:
        """Return the critics."""
        return [LearnerSpec("agentgym.learners:UtteranceCritics", self._critic_options())]

    def _critic_options(self) -> dict[str, Any]:
        options = {name: getattr(self.config, name) for name in _OF_CRITICS}
        return {**options, "learning_rate": self.config.critic_learning_rate}

    def advantage(self, batch: StepBatch) -> Floats:
        """Return A of each row, [R].

        Raises:
            AlgorithmError: If a column is missing.
        """
        return self.read(batch, "utterance_q") - self.read(batch, "utterance_v")

    def _diagnostics(self, batch: StepBatch) -> dict[str, float]:
        if not len(batch):
            return {}
        q, v = self.read(batch, "utterance_q"), self.read(batch, "utterance_v")
        return {"q_mean": float(q.mean()), "v_mean": float(v.mean()), "utterance_std": float((q - v).std())}


class ArCHer(_UtteranceMethod):
    """REINFORCE on the advantage of utterances under off-policy critics.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 0], t=[0, 1], reward=[0, 1])
    >>> valued = batch.with_columns(utterance_q=np.array([0.5, 1.0]), utterance_v=np.array([0.25, 0.5]))
    >>> ArCHer().credit(valued).advantage.tolist()
    [0.25, 0.5]
    """

    laws: ClassVar[frozenset[str]] = _UtteranceMethod.laws - {"locality"}
    exemptions: ClassVar[Mapping[str, str]] = {
        **_UtteranceMethod.exemptions,
        "locality": "batch-wide by design where advantages are whitened",
    }
    config_class: ClassVar[type[AlgorithmConfig]] = ArCHerConfig
    config: ArCHerConfig

    @property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]  # the baseline depends on the settings
        """The values of the critics, and of the baseline where there is one."""
        about = "b of the state and the tokens before each token; from agentgym.learners:Critic"
        baseline = {"value": Column("token", -2.0, 2.0, about)} if self.config.baseline else {}
        return {**_UtteranceMethod.columns, **baseline}

    def learners(self) -> list[LearnerSpec]:
        """Return the critics, and the baseline where there is one."""
        config = self.config
        options = {"level": "token", "shared": config.shared, "rate": config.baseline_rate}
        baseline = [LearnerSpec("agentgym.learners:Critic", options)] if config.baseline else []
        return [*super().learners(), *baseline]

    def _critic_options(self) -> dict[str, Any]:
        of_actor = {name: getattr(self.config, name) for name in ("actor", "actor_steps", "actor_minibatch")}
        return {**super()._critic_options(), **of_actor}

    def advantage(self, batch: StepBatch) -> Floats:
        """Return A of each row, [R], whitened if asked for.

        Raises:
            AlgorithmError: If a column is missing.
        """
        advantage = super().advantage(batch)
        return whiten(advantage) if self.config.whiten else advantage

    def credit(self, batch: StepBatch) -> Credit:
        """Return the advantage of every turn; component ``utterance``.

        With a baseline it is that of every token, which has the component ``baseline`` too, -b; ``returns`` are A.

        Raises:
            AlgorithmError: If a column is missing.
        """
        advantage = self.advantage(batch).astype(np.float32)
        diagnostics = self._diagnostics(batch)
        if not self.config.baseline:
            return Credit(advantage, {"utterance": advantage}, diagnostics)
        whole, value = np.repeat(advantage, np.diff(batch.token_offsets)), self.read(batch, "value")
        parts = {"utterance": whole, "baseline": -value.astype(np.float32)}
        credited = parts["utterance"] + parts["baseline"]
        diagnostics |= value_diagnostics(value, whole.astype(np.float64), credited.astype(np.float64))
        return Credit(credited, parts, diagnostics, "token", whole)

    @property
    def zero_advantage_is_silent(self) -> bool:
        """Whether tokens of zero advantage leave the gradient alone; a baseline learns from every token."""
        return super().zero_advantage_is_silent and not self.config.baseline

    def loss(self, tokens: TokenBatch) -> Loss:
        """Return the loss of REINFORCE, plus that of the baseline where the trainer trains one.

        Raises:
            AlgorithmError: If a coefficient is above 0 and its column is absent.
        """
        policy = super().loss(tokens)
        if tokens.values is None:
            return policy
        # Summed over the tokens of a turn and averaged over turns, as the policy's own.
        baseline = value_loss(tokens, tokens.total_rows, None)
        return Loss(policy.total + baseline.total, {**policy.metrics, "baseline_loss": baseline.total.detach()})


class ArCHerOfflineConfig(CriticsConfig):
    """Settings of offline ArCHer: those of the critics, and of IQL and AWR."""

    gamma: float = Field(0.99, ge=0, le=1)
    """γ: discount of a turn."""
    tau: float = Field(0.05, ge=0, le=1)
    """τ: how far the target networks follow in a step."""
    expectile: float = Field(0.9, gt=0, lt=1)
    """κ: which expectile of Q̄(s, a), over the actions in the data, V is; 0.5 is the mean."""
    beta_inv: float = Field(1.0, ge=0)
    """1 / T: weight of the advantage in the exponent; 0 is behaviour cloning."""
    max_weight: float | None = Field(100.0, gt=0)
    """Largest weight of a turn; None for no bound, as in the published code."""
    data: str | None = None
    """File of recorded groups to learn from; None takes the turns that the policy plays."""


class ArCHerOffline(_UtteranceMethod):
    """Advantage-weighted regression on the turns of a data set, under IQL's critics.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 0], t=[0, 1], reward=[0, 1])
    >>> valued = batch.with_columns(utterance_q=np.array([0.5, 9.0]), utterance_v=np.array([0.5, 0.0]))
    >>> ArCHerOffline().credit(valued).advantage.tolist()
    [1.0, 100.0]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = ArCHerOfflineConfig
    config: ArCHerOfflineConfig

    def collector(self) -> CollectorSpec:
        """Return the collector that reads the data, or the group collector without any."""
        return CollectorSpec() if self.config.data is None else CollectorSpec("recorded", {"data": self.config.data})

    def _critic_options(self) -> dict[str, Any]:
        return {**super()._critic_options(), "expectile": self.config.expectile}

    def credit(self, batch: StepBatch) -> Credit:
        """Return the weight exp(A / T) of every turn, at most ``max_weight``; component ``weight``.

        Raises:
            AlgorithmError: If a column is missing.
        """
        exponent = self.config.beta_inv * self.advantage(batch)
        bound = self.config.max_weight
        # Bounded in the exponent, where nothing overflows; a weight without a bound may, and the trainer will say so.
        with np.errstate(over="ignore"):
            weight = np.exp(exponent if bound is None else np.minimum(exponent, np.log(bound))).astype(np.float32)
        return Credit(weight, {"weight": weight}, self._diagnostics(batch))
