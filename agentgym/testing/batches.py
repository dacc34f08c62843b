"""Batches built by hand, for tests and examples of algorithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.batch import StepBatch

__all__ = ["make_batch"]


def make_batch(
    *,
    group: npt.ArrayLike,
    episode: npt.ArrayLike,
    t: npt.ArrayLike,
    reward: npt.ArrayLike,
    node: npt.ArrayLike | None = None,
    **columns: Any,
) -> StepBatch:
    """Build a batch from the columns that matter to a test; the rest is neutral.

    Args:
        group: Group of each row.
        episode: Episode of each row.
        t: Step of each row.
        reward: Reward of each row.
        node: Decision of each row, where episodes are the paths of trees; by default each row is one of its own.
        columns: Further row columns of ``StepBatch``. By default every row has its own anchor and state, is valid and
            well-formed, ends nothing, is not won and has one response token.
    """
    rows = len(np.asarray(group))
    off, on = np.zeros(rows, np.bool_), np.ones(rows, np.bool_)
    neutral: dict[str, Any] = {
        "group": np.asarray(group, np.int64),
        "episode": np.asarray(episode, np.int64),
        "t": np.asarray(t, np.int64),
        "anchor": np.arange(rows),
        "state": np.arange(rows),
        "reward": np.asarray(reward, np.float64),
        "env_reward": np.asarray(reward, np.float64),
        "terminated": off,
        "truncated": off,
        "valid": on,
        "format_ok": on,
        "won": off,
        "score": np.zeros(rows),
        "token_offsets": np.arange(rows + 1),
        "token_ids": np.zeros(rows, np.int64),
        "logprobs": np.zeros(rows, np.float32),
        "tree_node": None if node is None else np.asarray(node, np.int64),
    }
    return StepBatch(**{**neutral, **{name: np.asarray(column) for name, column in columns.items()}})
