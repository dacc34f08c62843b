"""Forward passes over recorded tokens, shared out over the processes, and steps of a learner's own optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from agentgym.contracts import LearnerContext
from agentgym.policies.packing import MicroBatch, TrainSequence, pack

__all__ = ["descend", "evaluating", "score_tokens"]


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


def descend(
    context: LearnerContext,
    sequences: Sequence[TrainSequence],
    loss: Callable[[MicroBatch], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float,
) -> npt.NDArray[np.float64]:
    """Take one step of a learner's own optimiser; every process is left with the same weights.

    The gradients of the micro-batches, and of the processes, are summed and clipped; a step whose gradient is not
    finite is skipped.

    Args:
        context: Device, precision, other processes and the size of a micro-batch.
        sequences: What the loss is over, at least one.
        loss: Returns the named parts of a micro-batch's loss, [K], each already divided by the counts of the whole.
        optimizer: Its weights are those that train.
        max_grad_norm: Gradients are clipped to this norm.

    Returns:
        The parts of the whole loss before the step, [K].
    """
    accelerator = context.accelerator
    world, rank = accelerator.num_processes, accelerator.process_index
    optimizer.zero_grad()
    parts = torch.zeros(0, device=accelerator.device)
    for micro in pack(sequences, context.tokens_per_microbatch, world)[rank::world]:
        with accelerator.autocast():
            part = loss(micro.to(accelerator.device)).float() * (not micro.idle)
        part.sum().backward()  # type: ignore[no-untyped-call]
        parts = part.detach() + (parts if len(parts) else 0.0)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = accelerator.reduce(gradient, "sum")
    if math.isfinite(clip_grad_norm_(parameters, max_grad_norm)):
        optimizer.step()
    whole: npt.NDArray[np.float64] = accelerator.reduce(parts, "sum").cpu().numpy().astype(np.float64)
    return whole
