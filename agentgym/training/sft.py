"""Supervised fine-tuning on recorded or demonstrated episodes: the loss is on response tokens only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from accelerate import Accelerator

from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.policies import HFPolicy
from agentgym.policies.packing import TrainSequence, bins, collate, sequences_of
from agentgym.policies.scoring import TokenScorer
from agentgym.training.config import SFTConfig

__all__ = ["SFTResult", "finetune"]

# Every batch is cut in two at least, so that one process adds up what two would, to the last bit.
_SHARDS = 2
# One step's loss says little; so many are averaged before training stops on it.
_LOSSES = 20


@dataclass(frozen=True, slots=True)
class SFTResult:
    """What supervised fine-tuning did.

    Attributes:
        losses: Mean negative log-likelihood of the response tokens in each step, in nats.
        tokens: Response tokens learned from, repeats counted.
        seconds: Wall-clock time.
    """

    losses: tuple[float, ...]
    tokens: int
    seconds: float


def finetune(
    policy: HFPolicy,
    episodes: Sequence[Episode],
    config: SFTConfig | None = None,
    *,
    accelerator: Accelerator | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> SFTResult:
    """Train the policy's weights, in place, to give the recorded responses.

    Args:
        policy: Whose weights train.
        episodes: Episodes recorded in this policy's tokens.
        config: Settings.
        accelerator: Shares each step's batch out over its processes; None trains in this process alone.
        on_step: Called with the step, from 1, and its loss.

    Raises:
        ConfigError: If there is nothing to learn from.
    """
    config = config or SFTConfig()
    sequences = sequences_of(episodes)
    if not sequences:
        raise ConfigError("no episode to learn from: give at least one with recorded responses")
    began, losses, tokens = time.perf_counter(), [], 0
    scorer = TokenScorer(policy.model).train()
    weights = [p for p in scorer.parameters() if p.requires_grad]
    # A short memory of squared gradients: steps are small and many.
    optimizer = torch.optim.AdamW(weights, config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay)
    for step, part in enumerate(_batches(sequences, config), start=1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        loss = _backward(scorer, weights, part, accelerator, policy.device)
        torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        tokens += sum(len(s.tokens) for s in part)
        if on_step is not None:
            on_step(step, loss)
        if config.target_loss is not None and step >= _LOSSES and fmean(losses[-_LOSSES:]) <= config.target_loss:
            break
    scorer.eval()
    return SFTResult(tuple(losses), tokens, time.perf_counter() - began)


def _batches(sequences: Sequence[TrainSequence], config: SFTConfig) -> Iterator[list[TrainSequence]]:
    """Yield the batch of each step; every pass over the data is shuffled anew, sequences of equal length included."""
    rng = np.random.default_rng(config.seed)
    done = 0
    while True:
        packed = bins([sequences[i] for i in rng.permutation(len(sequences))], config.batch_tokens)
        for number in rng.permutation(len(packed)):
            if done == config.steps:
                return
            done += 1
            yield packed[number]


def _schedule(step: int, config: SFTConfig) -> float:
    """Return the share of the peak learning rate: a linear rise, then a cosine to 0."""
    if step <= config.warmup:
        return step / (config.warmup + 1)
    done = (step - config.warmup - 1) / max(1, config.steps - config.warmup)
    return (1 + math.cos(math.pi * done)) / 2


def _backward(
    scorer: TokenScorer,
    weights: Sequence[torch.nn.Parameter],
    part: Sequence[TrainSequence],
    accelerator: Accelerator | None,
    device: torch.device,
) -> float:
    """Put the gradient of one batch into the weights of every process; return its loss."""
    rank, world = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    shards, total = max(_SHARDS, world), sum(len(s.tokens) for s in part)
    loss = torch.zeros(1, device=device)
    for shard in range(rank, shards, world):
        if mine := part[shard::shards]:
            micro = collate(mine).to(device)
            logp, _ = scorer(micro.ids, micro.lengths, micro.select, allowed=micro.allowed)
            share = -logp.sum() / total
            share.backward()
            loss += share.detach()
    return float(loss if accelerator is None or world == 1 else _add_up(weights, loss, accelerator))


def _add_up(weights: Sequence[torch.nn.Parameter], loss: torch.Tensor, accelerator: Accelerator) -> torch.Tensor:
    """Add gradients and loss over the processes, in one message."""
    parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    message = torch.cat([*(part.reshape(-1).float() for part in parts), loss])
    *sums, loss = accelerator.reduce(message, "sum").split([*(part.numel() for part in parts), 1])
    for weight, summed in zip(weights, sums, strict=True):
        weight.grad = summed.view_as(weight).to(weight.dtype)
    return loss
