"""Forward passes over recorded tokens, shared out over the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agentgym.contracts import LearnerContext
from agentgym.policies.packing import MicroBatch, TrainSequence, pack

__all__ = ["evaluating", "score_tokens"]


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Keep modules in evaluation mode for a while: no dropout, and no activations kept."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.train(False)
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@torch.no_grad()
def score_tokens(
    context: LearnerContext,
    sequences: Sequence[TrainSequence],
    score: Callable[[MicroBatch], torch.Tensor],
) -> npt.NDArray[np.float32]:
    """Return a number for each token of ``sequences``; each process computes its share and gets all of them.

    Args:
        context: Device, precision, other processes and the size of a micro-batch.
        sequences: What to score; their ``tokens`` are numbered from 0 without a gap.
        score: Returns a number for each chosen token of a micro-batch, [L].

    Returns:
        Scores by the number of the token, float32 [L].
    """
    accelerator = context.accelerator
    column = torch.zeros(sum(len(s.tokens) for s in sequences), device=accelerator.device)
    if not sequences:
        return column.cpu().numpy()
    world, rank = accelerator.num_processes, accelerator.process_index
    for micro in pack(sequences, context.tokens_per_microbatch, world)[rank::world]:
        if not micro.idle:
            here = micro.to(accelerator.device)
            with accelerator.autocast():
                column[here.tokens] = score(here).float()
    # Every token is scored by one process and 0 in the others, so the sum is exact.
    scores: npt.NDArray[np.float32] = accelerator.reduce(column, "sum").cpu().numpy()
    return scores
