"""VinePPO: what a decision changed about the mean return of episodes played on from there.

Paper: VinePPO: Refining Credit Assignment in RL Training of LLMs, arXiv 2410.01679, section 4.

    V(s) = 1/K Σₖ return from s on of a fork that plays on from s
    Aₜ   = rₜ + V(sₜ₊₁) - V(sₜ)                     γ = 1

There is no critic: the world is put back to each state of an episode and K auxiliary episodes are played from it, which
are not trained on. The means are unbiased for forks that are independent samples, so re-seeded after the restore, and
independent of the credited episode.

Notation (paper → name): K, 9 in the released configuration → ``forks``; V(sₜ) → row column ``mc_value``; V(sₜ₊₁) → row
column ``mc_next_value``, both brought by the collector ``vine``; a reasoning step → a row, one decision.

Deviations:
    1. Behind the end of the task V is 0, as in the paper. Where a limit cut an episode off, the column may say what was
       still to come; the paper counts a response that ran out of tokens as over, and so does ``vine``.
    2. Whitening over the batch is what the released configuration does; it is over decisions here, over tokens there.
    3. Forks at every state cost most of a run; ``every`` plays fewer (our option).
    4. The released code gives a step's advantage to its end token too; here all tokens of a row have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agentgym.algos.base import Algorithm, AlgorithmConfig, Column
from agentgym.algos.forking import Forking
from agentgym.algos.functional.statistics import whiten
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec

__all__ = ["VinePPO", "VinePPOConfig"]

Floats = npt.NDArray[np.float64]


class VinePPOConfig(AlgorithmConfig):
    """Settings of VinePPO."""

    forks: int = Field(9, ge=1)
    """K: auxiliary episodes played from each state."""
    every: int = Field(1, ge=1)
    """States before decisions 0, every, 2 every, ... have forks; decisions between two share what they changed."""
    whiten: bool = True
    """Whether to give the advantages of the whole batch mean 0 and standard deviation 1."""
    forking: Forking = Forking()
    """How states are kept, and what the forks of a task may cost."""


class VinePPO(Algorithm[VinePPOConfig]):
    """PPO with values from auxiliary episodes instead of a critic.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 0], t=[0, 1], reward=[0, 1], terminated=[False, True])
    >>> valued = batch.with_columns(mc_value=np.array([0.5, 0.75]), mc_next_value=np.array([0.75, 0.0]))
    >>> VinePPO(whiten=False).credit(valued).advantage.tolist()
    [0.25, 0.25]
    """

    laws: ClassVar[frozenset[str]] = frozenset({"permutation", "mask", "micro-batch", "truncation", "telescoping"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "the baseline is the mean of forks of the state, not that of the group",
        "ties": "steps of episodes that fared alike differ by their values",
        "lone": "a lone episode has its own forks to compare with",
        "shift": "a constant on the rewards moves the returns away from those of the forks",
        "scale": "scaled rewards must be compared with forks of scaled rewards, which are a column of their own",
        "locality": "batch-wide by design where advantages are whitened",
    }
    columns: ClassVar[Mapping[str, Column]] = {
        "mc_value": Column("row", -2.0, 2.0, "mean return of forks of the state before the row; from collector 'vine'"),
        "mc_next_value": Column(
            "row", -2.0, 2.0, "mean return of forks of the state after the row; from collector 'vine'"
        ),
    }

    def collector(self) -> CollectorSpec:
        """Return the collector that plays on from every state."""
        config = self.config
        return CollectorSpec("vine", {"forks": config.forks, "every": config.every, **config.forking.options()})

    def credit(self, batch: StepBatch) -> Credit:
        """Return the change of the forks' mean return that each row made; component ``mc``.

        Raises:
            AlgorithmError: If a column is missing.
        """
        value, after = self.read(batch, "mc_value"), self.read(batch, "mc_next_value")
        ahead = np.where(batch.terminated, 0.0, after)
        advantage = batch.reward + ahead - value
        credited = (whiten(advantage) if self.config.whiten else advantage).astype(np.float32)
        return Credit(credited, {"mc": credited}, _diagnostics(value, advantage))


def _diagnostics(value: Floats, advantage: Floats) -> dict[str, float]:
    """Return the mean value, and the share of rows that changed what was to be expected."""
    if not len(value):
        return {}
    return {"mc_value_mean": float(value.mean()), "credited_row_share": float((advantage != 0).mean())}
