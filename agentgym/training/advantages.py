"""One scale for every method's advantages, so that methods can be compared at one learning rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agentgym.batch import Credit, StepBatch

__all__ = ["match_rms"]


def match_rms(credit: Credit, batch: StepBatch, rms: float) -> Credit:
    """Scale a batch's advantages to a given root mean square over its response tokens.

    Methods differ in the size of their advantages: GiGPO adds two terms of unit standard deviation where GRPO has one,
    and at equal learning rates that alone changes how a clipped loss, a KL penalty and an entropy term weigh in. The
    mean runs over tokens, as losses do, silent ones included; within the batch all proportions stay. Matching the scale
    in each batch, rather than over the run, is our choice: it needs no memory and no trial run.

    Args:
        credit: Of either level; its ``components`` are scaled along, its ``returns`` are not.
        batch: What was credited.
        rms: The root mean square wanted, above 0.

    Returns:
        The scaled credit, with the factor in ``diagnostics["advantage_scale"]``; a batch without any signal keeps its
        zeros, at factor 1.
    """
    values = credit.per_token(batch).astype(np.float64)
    found = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
    factor = np.float32(rms / found) if found > 0 else np.float32(1)
    return replace(
        credit,
        advantage=credit.advantage * factor,
        components={name: part * factor for name, part in credit.components.items()},
        diagnostics={**credit.diagnostics, "advantage_scale": float(factor)},
    )
