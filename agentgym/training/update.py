"""The gradient step, blind to the algorithm: micro-batches in, metrics out.

Losses divide by the counts of the whole minibatch, over all micro-batches and processes. So their sum is the loss of
the minibatch however it was cut, and two accumulated passes, or two processes, give the gradient of one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.utils import clip_grad_norm_

from agentgym.algos import Algorithm
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import ValueLearner
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, TrainingError
from agentgym.policies import HFPolicy
from agentgym.policies.packing import MicroBatch, TrainSequence, pack, sequences_of
from agentgym.policies.scoring import TokenScorer
from agentgym.policies.values import ActorCritic
from agentgym.training.config import TrainConfig
from agentgym.training.packing import TokenColumns, split_minibatches
from agentgym.training.reference import Reference

__all__ = ["Updater", "learning_rate"]

_SKIPS_IN_A_ROW = 10
_GAP = "sampling/sampling_logp_difference"


def learning_rate(config: TrainConfig, iteration: int, generated_tokens: float = 0.0) -> float:
    """Return the learning rate of an iteration, counted from 0: a linear rise, then the schedule down to 0.

    Where the run has a budget of generated tokens, the schedule is as far as the further of the two.

    >>> [learning_rate(TrainConfig(learning_rate=1.0, iterations=4, lr_schedule="linear"), i) for i in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    if iteration < config.warmup:
        return config.learning_rate * (iteration + 1) / (config.warmup + 1)
    done = (iteration - config.warmup) / max(1, config.iterations - config.warmup)
    if config.max_generated_tokens is not None:
        done = min(1.0, max(done, generated_tokens / config.max_generated_tokens))
    factor = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[config.lr_schedule]
    return config.learning_rate * max(0.0, factor)


def _checkpoint_activations(model: Any) -> None:
    # The first is the name in later releases of transformers 5, the second in earlier ones.
    new = getattr(model, "activation_checkpointing_enable", None)
    (new or model.gradient_checkpointing_enable)({"use_reentrant": False})


class Updater:
    """Owns the prepared model and its optimiser, and turns credited batches into optimiser steps.

    Attributes:
        scorer: The model as ``accelerate`` prepared it, with the critic where one is trained.
        optimizer: AdamW over the weights that train, those of a critic in a group of their own.
        skipped: Optimiser steps skipped for a gradient that was not finite.

    Args:
        accelerator: The processes and devices.
        policy: Whose weights train; a peft model trains its adapter only.
        algorithm: Asked for its loss.
        config: Settings of the run.
        reference: What the KL penalty is measured against, or None.
        critic: Trained along by the algorithm's loss, or None.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        policy: HFPolicy,
        algorithm: Algorithm[Any],
        config: TrainConfig,
        reference: Reference | None = None,
        critic: ValueLearner | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._algorithm = algorithm
        self._config = config
        self._reference = reference
        self._model = cast("Any", policy.model)
        if config.gradient_checkpointing:
            _checkpoint_activations(self._model)
        scorer = TokenScorer(policy.model, policy.temperature)
        self._parts = [[p for p in scorer.parameters() if p.requires_grad]]
        self._rates = [1.0]
        module: torch.nn.Module = scorer
        self._critic_model: torch.nn.Module | None = None
        if critic is not None:
            self._critic_model = critic.value_model
            trunk = getattr(critic.value_model, "trunk", None)
            if config.gradient_checkpointing and trunk is not None:
                _checkpoint_activations(trunk)
            self._parts.append([p for p in critic.value_model.parameters() if p.requires_grad])
            self._rates.append(critic.rate)
            module = ActorCritic(scorer, critic.value_model)
        groups: list[dict[str, Any]] = [{"params": part} for part in self._parts]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.scorer, self.optimizer = accelerator.prepare(module, optimizer)
        self.skipped = 0
        self._skips_in_a_row = 0

    def update(
        self,
        episodes: Sequence[Episode],
        batch: StepBatch,
        credit: Credit,
        iteration: int,
        generated_tokens: float = 0.0,
        part: tuple[int, int] = (0, 0),
    ) -> dict[str, float]:
        """Train on a batch; every process gives the whole batch and runs its own share.

        Args:
            episodes: The episodes of ``batch``, in its order.
            batch: Their columns.
            credit: Their credit.
            iteration: Number of the iteration, from 0; decides on the learning rate and the order.
            generated_tokens: Tokens generated before; the learning rate of a run with a budget needs it.
            part: Number of the played batch within the iteration, and of the lesson within that, from 0; decide on the
                order too.

        Returns:
            Metrics, averaged over the optimiser steps.

        Raises:
            TrainingError: If too many steps in a row had to be skipped.
        """
        config = self._config
        sequences = sequences_of(episodes)
        if not np.isfinite(credit.advantage).all():
            raise AlgorithmError(f"{type(self._algorithm).__name__} gave advantages that are not finite")
        if self._critic_model is not None and credit.returns is None:
            raise AlgorithmError(
                f"{type(self._algorithm).__name__} asks for a critic, but its credit has no returns to train it on"
            )
        if not sequences:
            return {}
        columns = TokenColumns(batch, credit, self._accelerator.device)
        rate = learning_rate(config, iteration, generated_tokens)
        for group, factor in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._training_mode()
        rng = np.random.default_rng([config.seed, iteration, *part])
        sums: defaultdict[str, float] = defaultdict(float)
        steps = 0
        for _ in range(config.epochs):
            for minibatch in split_minibatches(sequences, config.minibatches, rng):
                # Only before the first step are recorded and recomputed log-probs of the same weights.
                metrics = self._step(minibatch, self._heard(minibatch, columns.heard), columns, check_gap=steps == 0)
                for name, value in metrics.items():
                    sums[name] += value
                steps += 1
        gap = {name: sums.pop(name) for name in (f"{_GAP}/mean", f"{_GAP}/max") if name in sums}
        return {
            **{name: total / steps for name, total in sums.items()},
            **gap,
            "learning_rate": rate,
            "updates": float(steps),
        }

    def _heard(self, sequences: list[TrainSequence], heard: np.ndarray[Any, Any]) -> list[TrainSequence]:
        """Return the sequences that change the gradient; groups that fared all alike are often half of a batch."""
        if not self._algorithm.zero_advantage_is_silent:
            return sequences
        # One stays in any case: with momentum, a step without a gradient is a step all the same.
        return [s for s in sequences if heard[s.tokens].any()] or [min(sequences, key=lambda s: len(s.ids))]

    def _training_mode(self) -> None:
        """Keep dropout off: a ratio compares what the same network says twice. The scorer itself trains, in chunks."""
        self.scorer.train()
        # transformers checkpoints activations in training mode only.
        self._model.train(self._config.gradient_checkpointing)
        if self._critic_model is not None:
            self._critic_model.train(self._config.gradient_checkpointing)

    def _step(
        self, sequences: list[TrainSequence], heard: list[TrainSequence], columns: TokenColumns, check_gap: bool
    ) -> dict[str, float]:
        """Run one optimiser step over ``sequences``, of which the model runs on those ``heard``."""
        accelerator = self._accelerator
        world, rank = accelerator.num_processes, accelerator.process_index
        totals = columns.totals(sequences)
        scored = sum(len(s.tokens) for s in heard)
        mine = pack(heard, self._config.tokens_per_microbatch, world)[rank::world]
        sums: defaultdict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), device=accelerator.device))
        largest = torch.zeros(1, device=accelerator.device)
        for number, micro in enumerate(mine):
            waits = number < len(mine) - 1
            with accelerator.no_sync(self.scorer) if waits else nullcontext():
                metrics, gap = self._backward(micro.to(accelerator.device), columns, totals, scored)
            for name, value in metrics.items():
                sums[name] += value
            if check_gap:
                sums[f"{_GAP}/mean"] += gap.sum() / scored
                largest = torch.maximum(largest, gap.max())
        summed = self._sum_over_processes(sums)
        if check_gap:
            summed[f"{_GAP}/max"] = float(accelerator.gather(largest).max())
        return {**summed, **self._optimizer_step()}

    def _backward(
        self, micro: MicroBatch, columns: TokenColumns, totals: tuple[int, int, int], scored: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Add one micro-batch to the gradient; return its metrics and |log p - recorded log p| of its tokens."""
        wants_entropy = self._algorithm.config.entropy_coef > 0
        logp, entropy, *values = self.scorer(
            micro.ids, micro.lengths, micro.select, entropy=True, allowed=micro.allowed
        )
        # Without an entropy term the backward pass need not go through it.
        entropy = entropy if wants_entropy else entropy.detach()
        ref_logp = None if self._reference is None else self._reference.logp(micro)
        tokens = columns.take(micro, totals, logp, entropy, ref_logp, *values)
        loss = self._algorithm.loss(tokens)
        weight = 0.0 if micro.idle else 1.0
        # Gradients are averaged over processes; the global counts ask for their sum.
        self._accelerator.backward(loss.total * (weight * self._accelerator.num_processes))
        # Over the tokens the model ran on; the loss's own figure, if any, would count silent ones as zero.
        metrics = {**loss.metrics, "loss": loss.total.detach(), "entropy": entropy.detach().sum() / scored}
        gap = (logp.detach() - tokens.old_logp).abs()
        return {name: weight * value for name, value in metrics.items()}, weight * gap

    def _sum_over_processes(self, sums: Mapping[str, torch.Tensor]) -> dict[str, float]:
        names = sorted(sums)
        values = torch.stack([sums[name].float() for name in names])
        return dict(zip(names, self._accelerator.reduce(values, "sum").tolist(), strict=True))

    def _optimizer_step(self) -> dict[str, float]:
        """Clip and step; skip the step, and count it, where the gradient is not finite.

        Raises:
            TrainingError: If too many steps in a row had to be skipped.
        """
        accelerator = self._accelerator
        norm = float(accelerator.clip_grad_norm_(self._parts[0], self._config.max_grad_norm))
        # A critic is clipped by itself: errors of its values must not shorten the steps of the policy.
        norms = [norm, *(float(clip_grad_norm_(part, self._config.max_grad_norm)) for part in self._parts[1:])]
        finite = all(map(math.isfinite, norms))
        # In fp16 the gradient scaler must see an overflow: it skips the step itself and lowers its scale.
        if finite or accelerator.scaler is not None:
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.skipped += not finite
        self._skips_in_a_row = 0 if finite else self._skips_in_a_row + 1
        if self._skips_in_a_row == _SKIPS_IN_A_ROW:
            raise TrainingError(
                f"the gradient was not finite {_SKIPS_IN_A_ROW} times in a row: lower learning_rate "
                f"({self._config.learning_rate}) or max_grad_norm, or use mixed_precision='no'"
            )
        names = ("grad_norm", "critic_grad_norm")
        return {
            **{name: norm if finite else 0.0 for name, norm in zip(names, norms, strict=False)},
            "skipped_updates": float(not finite),
        }
