"""Supervised fine-tuning on recorded or demonstrated episodes: the loss is on response tokens only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator

from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.policies import HFPolicy
from agentgym.policies.scoring import TokenScorer
from agentgym.training.config import SFTConfig
from agentgym.training.packing import TrainSequence, bins, collate, sequences_of

__all__ = ["SFTResult", "finetune"]


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
    scorer: torch.nn.Module = TokenScorer(policy.model)
    weights = [p for p in scorer.parameters() if p.requires_grad]
    # A short memory of squared gradients: steps are small and many.
    optimizer = torch.optim.AdamW(weights, config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay)
    if accelerator is not None:
        scorer, optimizer = accelerator.prepare(scorer, optimizer)
    scorer.train()
    for step, part in enumerate(_batches(sequences, config), start=1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        loss = _backward(scorer, part, accelerator, policy.device)
        clip = torch.nn.utils.clip_grad_norm_ if accelerator is None else accelerator.clip_grad_norm_
        clip(scorer.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        tokens += sum(len(s.tokens) for s in part)
        if on_step is not None:
            on_step(step, loss)
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
    scorer: torch.nn.Module, part: Sequence[TrainSequence], accelerator: Accelerator | None, device: torch.device
) -> float:
    """Accumulate the gradient of one batch; return its loss over all processes."""
    rank, world = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    mine = part[rank::world]
    # A process without a share runs a pass that counts nothing, to stay in step with the others.
    micro = collate(mine or part[:1], idle=not mine).to(device)
    logp, _ = scorer(micro.ids, micro.lengths, micro.select, allowed=micro.allowed)
    weight = 0.0 if micro.idle else 1.0 / sum(len(s.tokens) for s in part)
    loss = -logp.sum() * weight
    if accelerator is None:
        loss.backward()
        return float(loss.detach())
    # Gradients are averaged over processes; the count of the whole batch asks for their sum.
    accelerator.backward(loss * world)
    return float(accelerator.reduce(loss.detach(), "sum"))
