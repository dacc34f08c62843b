"""Groups whose episodes are the paths of trees: which tree a path belongs to, and how many paths share a decision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agentgym.errors import AlgorithmError

__all__ = ["paths_through", "tree_codes"]

Ints = npt.NDArray[np.int64]


def tree_codes(node: Ints, episode: Ints, t: Ints) -> Ints:
    """Return the tree of each row's path, [R]: the code of the first decision on it.

    Args:
        node: Code of each row's decision, at least 0, see ``StepBatch.node``, [R].
        episode: Code of each row's path, at least 0, [R].
        t: Step of each row on its path, [R].

    Raises:
        AlgorithmError: If a path lacks its first step.
    """
    first = np.full(episode.max(initial=-1) + 1, -1, np.int64)
    first[episode[t == 0]] = node[t == 0]
    codes: Ints = first[episode]
    if (headless := np.flatnonzero(codes < 0)).size:
        raise AlgorithmError(
            f"episode {episode[headless[0]]} has no row with t = 0, so its tree is unknown; trees need whole episodes"
        )
    return codes


def paths_through(node: Ints) -> Ints:
    """Return the number of paths that share each row's decision, at least 1, [R]; each path has one row for it."""
    _, code, counts = np.unique(node, return_inverse=True, return_counts=True)
    shared: Ints = counts[code.reshape(-1)]
    return shared
