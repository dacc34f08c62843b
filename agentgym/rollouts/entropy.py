"""Trees that fork where the policy became unsure: the rollouts of ARPO and AEPO."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence, Set
from typing import Any, ClassVar, Literal

import numpy as np

from agentgym.errors import ConfigError, PolicyError
from agentgym.policies.base import Decision, Policy
from agentgym.rollouts.branching import BranchingCollector, Path, Tree, Wish
from agentgym.rollouts.runner import MakeEnv, Moment

__all__ = ["EntropyCollector", "global_share"]

_DIGITS = 4  # of a rise of the entropy, in nats


def global_share(total: int, root: float, inner: Sequence[float], sensitivity: float) -> int:
    """Return m = k σ(β (H_root - mean H_tool)), to the nearest whole number in [1, k]; AEPO, arXiv 2510.14545.

    >>> global_share(8, 1.0, [1.0, 1.0], 0.5), global_share(8, 4.0, [0.5], 1.0), global_share(8, 0.0, [9.0], 2.0)
    (4, 8, 1)

    Args:
        total: k, the paths of a task, at least 1.
        root: H_root, the entropy at the start of the first decision, in nats.
        inner: H_tool of each later decision; without any, both entropies count as equal.
        sensitivity: β, at least 0.
    """
    gap = root - sum(inner) / len(inner) if inner else 0.0
    return min(total, max(1, math.floor(total / (1 + math.exp(-sensitivity * gap)) + 0.5)))


class EntropyCollector(BranchingCollector):
    """Plays some episodes of a task and forks them where the policy's entropy rose after an answer of the environment.

    The rollouts of ARPO, arXiv 2507.19849, section 3.1, and of AEPO, arXiv 2510.14545. Hₜ is the mean entropy, in nats,
    of the first ``tokens`` tokens of decision t; that of the first decision of the path is its initial entropy. After
    each answer

        P = (α + β (Hₜ - H₀)) (1 - penalty l)          l: forks at the decisions directly before this one

    and where P exceeds ``threshold`` (``rule="threshold"``, as the papers write), or with probability P
    (``"chance"``, as the released code does), ``branches`` new paths go on from before the decision. ``group_size`` is
    the budget of all paths; ``initial`` of them start afresh. What the forks leave of the budget starts afresh too.

    AEPO's rollouts have a ``penalty`` and, in place of ``initial``, a ``sensitivity``: the first path of a task is
    played alone, and its entropies divide the budget, see ``global_share``.

    Our reading, where the papers are silent or differ from their code:
        1. Forks are granted by generation (those of fresh paths first, then those of their forks), then by depth, then
           by the number of the path; so a tree does not depend on what runs at the same time. The code grants them as
           it generates.
        2. A decision is forked once at most: a fork looks for forks of its own from its second decision on.
        3. The entropy is that of the response to the newest answer. The code looks at the response before it.
        4. Entropies are means in nats, of the distribution that was sampled from; the papers divide sums by the size of
           the vocabulary. β has the unit 1/nat. A rise is rounded to 0.0001.
        5. The path that measures is kept as the first of the m, where the code plays it in addition and drops it. m is
           rounded to the nearest number, there it is rounded up.
        6. l counts along one path. The code counts the rounds of a task that brought a fork.

    Args:
        make_env: Makes an environment.
        policy: Who plays; must tell entropies, as ``HFPolicy`` does.
        initial: Paths that start afresh, in [1, group_size]; None for half of the group, at least 1.
        tokens: Number of tokens at the start of a decision whose entropy counts, at least 1.
        alpha: α, the probability where the entropy did not rise, in [0, 1].
        beta: β, its gain per nat.
        threshold: What P must exceed, at least 0; only for ``rule="threshold"``.
        rule: ``"threshold"`` or ``"chance"``.
        branches: Z, paths that a fork begins, at least 1.
        penalty: What each fork directly before takes from the probability, in [0, 1]; 0 for ARPO.
        sensitivity: β of AEPO's division of the budget, at least 0; None for ARPO.
        **options: Arguments of ``BranchingCollector``.

    Raises:
        ConfigError: If a number is out of its range.
    """

    needs_entropies: ClassVar[bool] = True

    def __init__(
        self,
        make_env: MakeEnv,
        policy: Policy,
        *,
        initial: int | None = None,
        tokens: int = 20,
        alpha: float = 0.5,
        beta: float = 0.2,
        threshold: float = 0.5,
        rule: Literal["threshold", "chance"] = "threshold",
        branches: int = 1,
        penalty: float = 0.0,
        sensitivity: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(make_env, policy, **options)
        self._initial = max(1, self._group_size // 2) if initial is None else initial
        if not 1 <= self._initial <= self._group_size:
            raise ConfigError(f"initial must be in [1, group_size={self._group_size}], not {initial}")
        if tokens < 1 or branches < 1:
            raise ConfigError(f"tokens ({tokens}) and branches ({branches}) must be at least 1")
        if not 0 <= alpha <= 1 or not 0 <= penalty <= 1:
            raise ConfigError(f"alpha ({alpha}) and penalty ({penalty}) must be in [0, 1]")
        if threshold < 0 or (sensitivity is not None and sensitivity < 0):
            raise ConfigError(f"threshold ({threshold}) and sensitivity ({sensitivity}) must be at least 0")
        if rule not in ("threshold", "chance"):
            raise ConfigError(f"rule must be 'threshold' or 'chance', not {rule!r}")
        self._tokens, self._branches, self._sensitivity = tokens, branches, sensitivity
        self._alpha, self._beta, self._penalty = alpha, beta, penalty
        self._threshold = threshold if rule == "threshold" else None
        self._limited = min(self._max_nodes, self._max_env_steps) < math.inf

    def _wishes(self, tree: Tree, wave: int) -> list[Wish] | None:
        if wave == 0:
            return [None] * (self._initial if self._sensitivity is None else 1)
        if wave == 1 and self._sensitivity is not None:
            noted = tree.paths[0].entropies
            later = [entropy for depth, entropy in noted.items() if depth]
            return [None] * (global_share(self._group_size, noted.get(0, 0.0), later, self._sensitivity) - 1)
        while any(path.generation == tree.generation for path in tree.begun):
            wishes = self._settle(tree)
            tree.generation, tree.settled = tree.generation + 1, 0
            if wishes:
                return wishes
        return None

    def _meanwhile(self, tree: Tree, path: Path) -> list[Wish]:
        measuring = self._sensitivity is not None and tree.begun[0].episode is None
        # A budget is of lengths, which are known when the wave is over; so are all paths of a later generation.
        if measuring or self._limited or path.parent is not None or tree.generation > 0:
            return []
        return self._settle(tree, playing=True)

    def _settle(self, tree: Tree, playing: bool = False) -> list[Wish]:
        """Return the forks of the generation in order of depth and number, as far as the group has room.

        While the generation still plays, depths that some path may yet reach are left for later.
        """
        room = self._group_size - len(tree.begun)
        paths = [path for path in tree.begun if path.generation == tree.generation] if room else []
        wishes: list[Wish] = []
        forked = {path: _forked(tree, path) for path in paths}
        for depth in sorted({depth for path in paths for depth in path.entropies if depth > tree.settled}):
            if playing and any(path.episode is None and depth not in path.entropies for path in paths):
                break
            tree.settled = depth
            for path in paths:
                if depth in path.points and self._forks(tree, path, depth, forked[path]):
                    forked[path].add(depth)
                    wishes += [(path, depth)] * self._branches
        return wishes[:room]

    def _forks(self, tree: Tree, path: Path, depth: int, forked: Set[int]) -> bool:
        """Return whether to fork, given at which decisions of the path there are forks."""
        directly_before = next(n for n in itertools.count() if depth - 1 - n not in forked)
        # Equal distributions differ in their last bits with the size of the model's batch; where α is the threshold, as
        # published, that would decide.
        rise = round(path.entropies[depth] - path.root.entropies[0], _DIGITS)
        probability = (self._alpha + self._beta * rise) * max(0.0, 1 - self._penalty * directly_before)
        if self._threshold is not None:
            return probability > self._threshold
        return bool(np.random.default_rng((*tree.noise, path.number, depth)).random() < probability)

    def _note(self, tree: Tree, path: Path, moment: Moment) -> bool:
        path.entropies[moment.depth] = self._entropy(moment.decision)
        # Forks before it can only lower the probability: what is not kept here would not be forked later.
        return 1 <= moment.depth <= self._max_depth and self._forks(tree, path, moment.depth, frozenset())

    def _entropy(self, decision: Decision) -> float:
        """Return the mean entropy of the first tokens of a decision, in nats; 0 without tokens.

        Raises:
            PolicyError: If the policy does not tell entropies.
        """
        if decision.entropies is None:
            raise PolicyError(
                f"the collector 'entropy' forks by the entropies of decisions, which {self._policy.name!r} does not "
                "tell; play with a language policy, such as HFPolicy"
            )
        first = decision.entropies[: self._tokens]
        return sum(first) / len(first) if first else 0.0


def _forked(tree: Tree, path: Path) -> set[int]:
    """Return the depths at which there are forks along a path."""
    own = {other.depth for other in tree.begun if other.parent is path}
    if path.parent is None:
        return own
    return own | {depth for depth in _forked(tree, path.parent) if depth <= path.depth}
