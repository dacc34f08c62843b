"""The numbers that describe one batch of rollouts, under the names that TRL and verl-agent use."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import numpy as np
import torch

from agentgym.batch import Credit, StepBatch
from agentgym.episodes import Group

__all__ = ["credit_metrics", "memory_gib", "rollout_metrics"]


def rollout_metrics(groups: Sequence[Group], batch: StepBatch) -> dict[str, float]:
    """Return reward, success, length and form of a batch; each episode counts once.

    ``reward`` is what training sees, shaping included; ``episode/reward`` is the environment's own. Episodes that a
    search pruned have no outcome: of them only validity and form count.
    """
    finished = [[episode for episode in group.episodes if episode.end != "pruned"] for group in groups]
    episodes = [episode for members in finished for episode in members]
    if not episodes:
        return {}
    returns = [np.array([sum(s.shaped_reward for s in e.steps) for e in members]) for members in finished if members]
    lengths = np.array([len(e) for e in episodes], np.float64)
    responses = np.diff(batch.token_offsets)
    return {
        "reward": float(np.concatenate(returns).mean()),
        "reward_std": float(np.mean([values.std() for values in returns])),
        "frac_reward_zero_std": float(np.mean([values.min() == values.max() for values in returns])),
        "episode/success_rate": float(np.mean([e.won for e in episodes])),
        "episode/score": float(np.mean([e.score for e in episodes])),
        "episode/reward": float(np.mean([e.total_reward for e in episodes])),
        "episode/length": float(lengths.mean()),
        "episode/length/max": float(lengths.max()),
        "episode/faults": float(sum(e.fault is not None for e in episodes)),
        "episode/valid_action_rate": float(batch.valid.mean()) if len(batch) else 0.0,
        "episode/format_rate": float(batch.format_ok.mean()) if len(batch) else 0.0,
        "completions/mean_length": float(responses.mean()) if len(batch) else 0.0,
        "completions/max_length": float(responses.max(initial=0)),
    }


def credit_metrics(batch: StepBatch, credit: Credit, prefix: str = "credit") -> dict[str, float]:
    """Return what the algorithm says of its credit, and the spread of the advantages, under ``prefix``."""
    values = credit.advantage
    spread = {"mean": values.mean(), "std": values.std(), "abs_max": np.abs(values).max()} if values.size else {}
    return {
        **{f"{prefix}/advantage_{name}": float(value) for name, value in spread.items()},
        **{f"{prefix}/{name}": float(value) for name, value in credit.diagnostics.items()},
    }


def memory_gib() -> float:
    """Return the peak memory so far in GiB: of the accelerator where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes there, KiB elsewhere
