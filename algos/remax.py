"""ReMax: every episode against the one the greedy policy plays from the same start.

Paper: ReMax, arXiv 2310.10505, section 4 (algorithm 1).

    Aᵢ = Rᵢ - b        b: return of the greedy episode of the same task

Notation (paper → name): r(x, y) → Rᵢ, the undiscounted return after shaping; r(x, ȳ) → row column ``baseline``, brought
by the collector ``greedy_baseline``, which plays one more episode for each task and does not train on it.

Deviations:
    1. The paper has one response for each prompt. Here a task may have several episodes, which share the baseline.
    2. The reference code takes the rewards still to come within a response; with the return on the last token, as for
       agents, that is the return. With rewards along the way the whole return is compared, as the baseline is one too.
    3. The paper puts a KL penalty into the token rewards; here ``kl_coef`` weighs it as a loss.
    4. Where a world is random or a greedy policy ties, the greedy episode is one sample: a baseline all the same, as it
       does not depend on what the credited episode did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from agentgym.algos.base import Algorithm, AlgorithmConfig, Column
from agentgym.algos.functional.returns import episode_returns
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec

__all__ = ["ReMax", "ReMaxConfig"]


class ReMaxConfig(AlgorithmConfig):
    """Settings of ReMax: those of the loss."""


class ReMax(Algorithm[ReMaxConfig]):
    """REINFORCE with the return of the greedy episode as baseline.

    >>> import numpy as np
    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    >>> ReMax().credit(batch.with_columns(baseline=np.array([0.25, 0.25]))).advantage.tolist()
    [0.75, -0.25]
    """

    laws: ClassVar[frozenset[str]] = frozenset({"permutation", "locality", "mask", "micro-batch"})
    exemptions: ClassVar[Mapping[str, str]] = {
        "zero-sum": "the baseline is another episode's return, not the mean of the group",
        "ties": "equal returns all differ alike from the greedy one",
        "lone": "a lone episode has the greedy one to compare with",
        "shift": "a constant on the returns of a group moves them away from the greedy return",
        "scale": "scaled returns must be compared with a scaled greedy return, which is a column of its own",
        "truncation": "no value is bootstrapped: a truncated episode counts what it has earned",
    }
    columns: ClassVar[Mapping[str, Column]] = {
        "baseline": Column(
            "row", -2.0, 2.0, "return of the greedy episode of the row's task, from collector 'greedy_baseline'"
        )
    }

    def collector(self) -> CollectorSpec:
        """Return the collector that plays a greedy episode for each task."""
        return CollectorSpec("greedy_baseline")

    def credit(self, batch: StepBatch) -> Credit:
        """Return the return of each row's episode less the greedy one; components ``return`` and ``baseline``.

        Raises:
            AlgorithmError: If the column ``baseline`` is missing.
        """
        returns = episode_returns(batch.reward, batch.episode, batch.t)
        baseline = self.read(batch, "baseline")
        components = {"return": returns.astype(np.float32), "baseline": (-baseline).astype(np.float32)}
        advantage = components["return"] + components["baseline"]
        diagnostics = {"credited_row_share": float((advantage != 0).mean())} if len(batch) else {}
        return Credit(advantage, components, diagnostics)
