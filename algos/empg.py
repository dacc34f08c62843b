"""EMPG: the episode's advantage, louder on steps the policy was sure of, and a bonus for coming to be sure.

Paper: Harnessing Uncertainty (entropy-modulated policy gradients), arXiv 2509.09265, equations 8 and 10 to 12.

    H~ = (H - min H) / (max H - min H + 1e-8)                    over the rows of the batch
    g  = exp(-k H~) / mean exp(-k H~)                            self-calibrating scale, 1 on average
    f  = exp(-k' H~)                                             clarity
    A  = g(Hₜ) A^E + ζ f(Hₜ₊₁), less the mean of that over the batch

Notation (paper → name): Hₜ, the mean entropy of a step's tokens in nats → row column ``entropy``; k → ``k``; k' →
``k_future``; ζ → ``zeta``; A^E → GRPO's advantage.

Deviations, beside those of ``grpo``:
    1. The last step of an episode has no next one and gets no bonus, as in the public code of ARLArena.
    2. Means are over rows, each step once, as there; the base is GRPO's advantage with any of its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from agentgym.algos.base import AlgorithmConfig, Column
from agentgym.algos.grpo import GRPO, Floats, GRPOConfig, Ints, episode_diagnostics
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec

__all__ = ["EMPG", "EMPGConfig", "entropy_scales", "next_rows"]


class EMPGConfig(GRPOConfig):
    """Settings of EMPG."""

    k: float = Field(1.0, ge=0)
    """k: how much surer steps are amplified; 0 leaves the advantage alone."""
    k_future: float = Field(1.0, ge=0)
    """k': how fast the clarity bonus falls with the next step's entropy."""
    zeta: float = Field(0.05, ge=0)
    """ζ: weight of the clarity bonus."""


def _mean(values: Floats) -> float:
    """Return the mean, which does not depend on the order."""
    return float(np.sort(values).mean()) if len(values) else 0.0


def entropy_scales(entropy: Floats, k: float, k_future: float) -> tuple[Floats, Floats]:
    """Return the scale g, whose mean is 1, and the clarity f, in [exp(-k'), 1], of each row.

    Args:
        entropy: Mean token entropy of each row, finite, [R].
        k: k, at least 0.
        k_future: k', at least 0.
    """
    if not len(entropy):
        return entropy, entropy
    relative = (entropy - entropy.min()) / (entropy.max() - entropy.min() + 1e-8)
    scale = np.exp(-k * relative)
    return scale / _mean(scale), np.exp(-k_future * relative)


def next_rows(episode: Ints, t: Ints) -> Ints:
    """Return the row that follows each row in its episode, -1 after the last, [R]."""
    order = np.lexsort((t, episode))
    following = np.full(len(order), -1, np.int64)
    joined = episode[order[1:]] == episode[order[:-1]]
    following[order[:-1][joined]] = order[1:][joined]
    return following


class EMPG(GRPO):
    """GRPO modulated by the entropy of each step.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    >>> sure = batch.with_columns(entropy=np.array([0.5, 0.5]))
    >>> EMPG(std=None).credit(sure).advantage.tolist()
    [0.5, -0.5]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = EMPGConfig
    config: EMPGConfig
    laws: ClassVar[frozenset[str]] = frozenset({"shift", "permutation", "mask", "micro-batch"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "entropy weighs the rows of a group differently, and the batch is centred, not the group",
        "ties": "steps of episodes that fared alike differ by the entropy of what follows",
        "lone": "a lone episode gets the clarity bonus all the same",
        "scale": "the clarity bonus does not scale with the rewards",
        "locality": "batch-wide by design: entropies are compared, and credit is centred, over the batch",
        "truncation": "no value is bootstrapped: a truncated episode counts what it has earned",
    }
    columns: ClassVar[Mapping[str, Column]] = {
        "entropy": Column(
            "row", 0.0, 10.0, "mean token entropy of the response in nats; from agentgym.learners:EntropyColumn"
        )
    }

    def learners(self) -> list[LearnerSpec]:
        """Return the learner that measures the entropy of each response."""
        return [LearnerSpec("agentgym.learners:EntropyColumn")]

    def credit(self, batch: StepBatch) -> Credit:
        """Return the modulated credit; components ``episode``, ``clarity`` and ``centre``, one constant.

        Raises:
            AlgorithmError: If the row column ``entropy`` is missing.
        """
        config = self.config
        outcome, groups = self.relative(self.score(batch), batch)
        scale, clarity = entropy_scales(self.read(batch, "entropy"), config.k, config.k_future)
        following = next_rows(batch.episode, batch.t)
        bonus = np.where(following >= 0, config.zeta * clarity[following], 0.0)
        centre = np.full(len(batch), -_mean(scale * outcome + bonus))
        parts = {"episode": scale * outcome, "clarity": bonus, "centre": centre}
        components = {name: part.astype(np.float32) for name, part in parts.items()}
        advantage = components["episode"] + components["clarity"] + components["centre"]
        return Credit(advantage, components, episode_diagnostics(groups, advantage))
