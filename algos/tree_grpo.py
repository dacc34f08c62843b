"""Tree-GRPO: every path of a tree against all paths of its task, and against those of its own tree.

Paper: Tree Search for LLM Agent Reinforcement Learning, arXiv 2509.21240, equations 6 to 8. Its rollouts play a few
episodes for each task, go back to decisions in the middle of them and play on from there, so that a tree is one whole
episode and its branches, and a node one whole decision.

    A_inter(i) = (Rᵢ - mean over all paths of the task of R) / F         F = std + ε over the same paths, or 1
    A_intra(i) = (Rᵢ - mean over the paths of i's tree of R) / F
    A          = A_intra + A_inter                                       one value for all decisions of a path

A path is an episode, and its tree the one whose first decision it shares (``StepBatch.node``). A decision that several
paths share has a row on each of them, so what it is trained with is the sum over the paths behind it: that is where the
paper's supervision of steps comes from, as in its released code.

Notation (paper → name): M, the trees of a task → ``trees``; L, the rounds in which they are forked → ``rounds``; N, the
forks of a tree in a round, follows from the paths of a task, M (1 + L N), which is the trainer's group size; A_inter →
component ``episode``; A_intra → component ``intra``; 1, the weight of A_intra → ``intra_weight``.

Deviations, beside those of ``grpo``:
    1. A tree with a single path has A_intra = 0. The released code leaves it its raw reward there, which cannot happen
       in the paper's trees. So where every path is a tree of its own, as in straight rollouts, Tree-GRPO is GRPO, bit
       for bit and whatever the weight; so it is with ``intra_weight=0``, and where the paths of each tree returned the
       same. A task with one tree has A = (1 + weight) times GRPO's.
    2. Which episodes are trees, and how they are forked, is the collector's; any other collector's groups do too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.forking import Forking
from agentgym.algos.functional.tree import paths_through, tree_codes
from agentgym.algos.grpo import GRPO, GRPOConfig, episode_advantage, episode_diagnostics
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import CollectorSpec

__all__ = ["TreeGRPO", "TreeGRPOConfig"]


class TreeGRPOConfig(GRPOConfig):
    """Settings of Tree-GRPO."""

    trees: int = Field(2, ge=1)
    """M: trees of a task."""
    rounds: int = Field(1, ge=1)
    """L: rounds in which trees are forked."""
    intra_weight: float = Field(1.0, ge=0)
    """Weight of the advantage within a path's own tree; 0 gives GRPO on all paths."""
    forking: Forking = Forking()
    """How states are kept, and what the tree of a task may cost."""


class TreeGRPO(GRPO):
    """GRPO among all paths of a task and among those of a tree.

    >>> from agentgym.testing import make_batch
    >>> batch = make_batch(
    ...     group=[0] * 8, episode=[0, 0, 1, 1, 2, 2, 3, 3], t=[0, 1] * 4, reward=[0, 1, 0, 0, 0, 0, 0, 0],
    ...     node=[0, 1, 0, 2, 3, 4, 3, 5],
    ... )
    >>> TreeGRPO(std=None).credit(batch).advantage[::2].tolist()
    [1.25, -0.75, -0.25, -0.25]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = TreeGRPOConfig
    config: TreeGRPOConfig

    def collector(self) -> CollectorSpec:
        """Return the collector that forks episodes into trees."""
        config = self.config
        return CollectorSpec("tree", {"trees": config.trees, "rounds": config.rounds, **config.forking.options()})

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, npt.NDArray[np.int64]]:
        """Return the units of ``Algorithm.zero_sum_units``, and those of the trees."""
        units = super().zero_sum_units(batch)
        trees = tree_codes(batch.node, batch.episode, batch.t)
        return {"episode": units["episode"], "intra": np.where(units["episode"] < 0, -1, trees)}

    def credit(self, batch: StepBatch) -> Credit:
        """Return the return of each path relative to its task and to its tree; components ``episode`` and ``intra``."""
        config, score = self.config, self.score(batch)
        inter, groups = self.relative(score, batch)
        trees = tree_codes(batch.node, batch.episode, batch.t)
        # A tree with a single path has nothing to compare it with; ``lone`` is about tasks with a single path.
        intra, forest = episode_advantage(
            score, trees, batch.episode, base=config.base, std=config.std, eps=config.eps, lone="zero"
        )
        components = {
            "episode": inter.astype(np.float32),
            "intra": (config.intra_weight * intra).astype(np.float32),
        }
        advantage = components["episode"] + components["intra"]
        diagnostics = episode_diagnostics(groups, advantage)
        if len(batch):
            diagnostics["zero_variance_tree_share"] = float(forest.tied.mean())
            diagnostics["shared_row_share"] = float((paths_through(batch.node) > 1).mean())
        return Credit(advantage, components, diagnostics)
