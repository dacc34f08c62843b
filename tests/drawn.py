"""Batches drawn by a seed: the same on every machine, so what a test must meet it does meet."""

from __future__ import annotations

import numpy as np

from agentgym.batch import StepBatch
from agentgym.testing import make_batch

# Dyadic values add exactly, the others leave a residue where a formula is careless.
REWARDS = (*(n / 8 for n in range(-4, 9)), *(10 * 0.95**k for k in range(8)))


def drawn_batch(seed: int, *, least_tokens: int = 0) -> StepBatch:
    """Return up to 4 groups of up to 4 episodes of up to 5 rows of up to 3 tokens, in any order of rows.

    It carries every column that a method may read. Seeds divisible by 3 give rewards on the last row only.
    """
    rng = np.random.default_rng([seed, 2026])
    rows = [
        (group, f"{group}/{member}", t, t == steps - 1)
        for group in range(rng.integers(1, 5))
        for member in range(rng.integers(1, 5))
        for steps in [int(rng.integers(1, 6))]
        for t in range(steps)
    ]
    size = len(rows)
    names = sorted({row[1] for row in rows})
    last = np.array([row[3] for row in rows])
    reward = rng.choice(REWARDS, size=size)
    lengths = rng.integers(least_tokens, 4, size=size)
    offsets = np.append(0, np.cumsum(lengths))
    tokens = int(offsets[-1])
    group = np.array([row[0] for row in rows])
    batch = make_batch(
        group=group,
        episode=[names.index(row[1]) for row in rows],
        t=[row[2] for row in rows],
        anchor=rng.integers(0, 4, size=size),
        reward=np.where(last, reward, 0.0) if seed % 3 == 0 else reward,
        terminated=last,
        valid=rng.random(size) < 0.8,
        format_ok=rng.random(size) < 0.8,
        token_offsets=offsets,
        token_ids=rng.integers(0, 9, size=tokens),
        logprobs=(-rng.exponential(size=tokens)).astype(np.float32),
    )
    batch = batch.with_columns(entropy=rng.exponential(size=size), baseline=rng.choice(REWARDS, size=4)[group])
    batch = batch.with_token_columns(ref_logprob=-rng.exponential(size=tokens))
    return batch.take(rng.permutation(size))
