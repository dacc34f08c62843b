"""SPA's progress estimator: how much of an episode's return each of its turns brings, learned from returns alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners.buffers import EpisodeBuffer
from agentgym.learners.forecast import forecast_metrics
from agentgym.learners.passes import descend, evaluating, score_tokens
from agentgym.policies.packing import MicroBatch, TrainSequence
from agentgym.policies.scoring import base_of, states_before

__all__ = ["ProgressEstimator", "ProgressModel", "turn_ends"]

Floats = npt.NDArray[np.float64]

_MAX_GRAD_NORM = 1.0  # as in the released code


def turn_ends(episodes: Sequence[Episode]) -> list[TrainSequence]:
    """Return the sequences of ``episodes`` with one chosen place for each turn: behind its last token.

    Turns are numbered as the rows of ``StepBatch.from_groups`` of the same episodes.

    Raises:
        AlgorithmError: If a turn has no token, neither in its prompt nor in its response.
    """
    sequences: list[TrainSequence] = []
    first = 0
    for episode in episodes:
        before = first
        for sequence in episode.sequences() if episode.steps else ():
            last = np.flatnonzero(np.diff(sequence.row, append=-1))
            sequences.append(TrainSequence(sequence.ids, last + 1, np.arange(first, first + len(last))))
            first += len(last)
        if first - before != len(episode.steps):
            raise AlgorithmError(
                f"episode {episode.group}/{episode.index} has a turn without tokens, and so nowhere to read progress"
            )
    return sequences


class ProgressModel(nn.Module):
    """c of a turn: LayerNorm, Linear(h, h / 4), GELU, Linear(1) on the last hidden state at the turn's final token.

    The last layer starts at 0, so that an untrained estimator says 0 everywhere. The head computes in single precision.

    Args:
        model: The causal LM whose decoder is copied, or read through ``states`` if it is shared.
        shared: Whether the head reads the policy's own hidden states; else it has a copy of the decoder, which trains
            with it.
        seed: Decides the first weights of the hidden layer.
    """

    def __init__(self, model: nn.Module, shared: bool = False, seed: int = 0) -> None:
        super().__init__()
        base = base_of(model)
        self.trunk: nn.Module | None = None if shared else copy.deepcopy(base.get_decoder())
        width = base.get_output_embeddings().weight.shape[1]
        # Made without first weights, which would come from the global generator.
        hidden = nn.Linear(width, max(1, width // 4), device="meta").to_empty(device="cpu")
        last = nn.Linear(max(1, width // 4), 1, device="meta").to_empty(device="cpu")
        nn.init.xavier_uniform_(hidden.weight, generator=torch.Generator().manual_seed(seed))
        for zero in (hidden.bias, last.weight, last.bias):
            nn.init.zeros_(zero)
        self.head = nn.Sequential(nn.LayerNorm(width), hidden, nn.GELU(), last)
        self.head.to(next(model.parameters()).device)

    def forward(self, ids: torch.Tensor, select: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return c of each chosen place, float32 [N]; arguments as of ``states_before``.

        Args:
            ids: Token ids, int64 [B, T].
            select: Flat indices behind the chosen tokens, int64 [N].
            states: The policy's hidden states at these tokens, [N, H]; read where the trunk is shared.
        """
        if self.trunk is not None:
            states = states_before(self.trunk, ids, select)
        # Half precision would round progress to three digits.
        with torch.autocast(states.device.type, enabled=False):
            progress: torch.Tensor = self.head(states.float())[:, 0]
        return progress


class ProgressEstimator:
    """Adds row column ``progress``: c_t, whose sum over an episode forecasts its return. For SPA, arXiv 2505.20732.

    The estimator learns from the run's own rollouts: after a batch was scored its episodes join a buffer of the last
    ones, and every so many batches the estimator takes ``epochs`` passes over the buffer, to minimise the mean of
    (Σₜ cₜ - R)² over episodes, R the return after shaping. There are no step labels, and nothing bounds a single c.

    An episode is scored before it is learned from, so the estimator never scores what it was trained on. The forecasts
    of the last ``window`` episodes, made like that, say how good it is: R², the AUC of won against lost episodes and
    the calibration error (see ``forecast_metrics``) are in the metrics of the batch, under ``progress/``, before its
    progress is used. While R² is below ``min_r2``, or cannot be told as all returns are equal, ``progress`` is instead
    the reward of each row itself, which sums to R as well: what reads it is then without an estimator.

    Args:
        shared: Whether the head reads the policy's own trunk, which it then leaves alone; else it has a copy of the
            trunk as it was when the run began, which trains with the head.
        learning_rate: Of AdamW, above 0; the gradient is clipped to norm 1.
        weight_decay: Of AdamW, at least 0.
        every: Batches between two times of training, at least 1.
        epochs: Passes over the buffer each time, at least 1.
        minibatch: Episodes of an optimiser step, at least 1.
        capacity: Episodes of the buffer, at least 1.
        l2: Weight of the mean c², at least 0; it keeps large values from cancelling each other (ours).
        window: Episodes whose forecasts are judged, at least 2; those of the present batch all count.
        min_r2: R² from which the estimates are used, at most 1; None uses them as soon as there are any.

    Raises:
        ConfigError: If a number is out of range.
    """

    def __init__(
        self,
        *,
        shared: bool = False,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.01,
        every: int = 1,
        epochs: int = 1,
        minibatch: int = 16,
        capacity: int = 256,
        l2: float = 0.0,
        window: int = 64,
        min_r2: float | None = 0.1,
    ) -> None:
        least = {"learning_rate": 0.0, "weight_decay": 0.0, "every": 1, "epochs": 1, "minibatch": 1, "l2": 0.0}
        given = dict(zip(least, (learning_rate, weight_decay, every, epochs, minibatch, l2), strict=True))
        for name, value in {**given, "window": window}.items():
            if value < least.get(name, 2) or (name == "learning_rate" and value == 0):
                raise ConfigError(f"{name} of a progress estimator is too small: {value}")
        self._shared, self._every, self._epochs, self._minibatch = shared, every, epochs, minibatch
        self._learning_rate, self._weight_decay = learning_rate, weight_decay
        self._l2, self._window, self._min_r2 = l2, window, min_r2
        self._buffer = EpisodeBuffer(capacity)
        self._judged = np.zeros((0, 3))  # forecast, return and whether won, of the last episodes that were forecast
        self._batches = self._fits = 0
        self._metrics: dict[str, float] = {}

    def setup(self, context: LearnerContext) -> None:
        """Build the model and its optimiser."""
        self._context = context
        self._policy: nn.Module = context.policy.model
        self._model = ProgressModel(self._policy, self._shared, context.seed)
        self._parameters = [p for p in self._model.parameters() if p.requires_grad]
        rates = (self._learning_rate, self._weight_decay)
        self._optimizer = torch.optim.AdamW(self._parameters, lr=rates[0], weight_decay=rates[1])

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Return ``batch`` with its progress by the estimator as it is, then train on it if it is time to.

        Raises:
            AlgorithmError: If a turn has no tokens.
        """
        self._metrics = {"progress/trusted": 0.0}
        progress = batch.reward.astype(np.float64)
        if self._fits:
            estimated = self._score(turn_ends(episodes))
            if self._judge(batch, episodes, estimated):
                progress = estimated
        self._batches += 1
        self._buffer.extend(episodes)
        if self._batches % self._every == 0 and len(self._buffer):
            self._fit()
        return batch.with_columns(progress=progress)

    def metrics(self) -> dict[str, float]:
        """Return what is known of the estimates of the last batch, and the loss of the training after it."""
        return dict(self._metrics)

    def _judge(self, batch: StepBatch, episodes: Sequence[Episode], estimated: Floats) -> bool:
        """Put the forecasts of the batch beside its returns, and return whether the estimates are to be used."""
        whole = [number for number, episode in enumerate(episodes) if episode.steps and episode.fault is None]
        forecast, returns = (
            np.bincount(batch.episode, column, minlength=len(episodes))[whole] for column in (estimated, batch.reward)
        )
        won = np.array([episodes[number].won for number in whole], np.float64)
        judged = np.concatenate([self._judged, np.stack([forecast, returns, won], 1)])
        self._judged = judged[-max(self._window, len(whole)) :]
        figures = forecast_metrics(self._judged[:, 0], self._judged[:, 1], self._judged[:, 2] > 0)
        trusted = self._min_r2 is None or figures.get("r2", -math.inf) >= self._min_r2
        self._metrics = {f"progress/{name}": value for name, value in figures.items()}
        self._metrics["progress/trusted"] = float(trusted)
        return trusted

    def _forward(self, micro: MicroBatch) -> torch.Tensor:
        # An estimator with a trunk of its own does not look at the policy's states.
        states = torch.zeros(0, device=micro.ids.device)
        if self._shared:
            with torch.no_grad():
                states = states_before(base_of(self._policy).get_decoder(), micro.ids, micro.select)
        return torch.as_tensor(self._model(micro.ids, micro.select, states))

    def _score(self, sequences: Sequence[TrainSequence]) -> Floats:
        """Return c of each turn, [R]."""
        with evaluating(self._policy, self._model):
            return score_tokens(self._context, sequences, self._forward).astype(np.float64)

    def _fit(self) -> None:
        """Go over the buffer in minibatches whose order follows from the seed and the number of the time."""
        episodes, losses = self._buffer.episodes, []
        rng = np.random.default_rng([self._context.seed, self._fits])
        for _ in range(self._epochs):
            order = rng.permutation(len(episodes))
            for part in np.array_split(order, math.ceil(len(order) / self._minibatch)):
                losses.append(self._step([episodes[number] for number in part]))
        self._fits += 1
        self._metrics |= {"progress/loss": float(np.mean(losses)), "progress/buffer_episodes": float(len(episodes))}

    def _step(self, episodes: Sequence[Episode]) -> float:
        """Take one optimiser step and return the loss before it.

        The turns of an episode may lie in several micro-batches, of several processes. So its sum is taken first, by a
        pass without gradients; dL/dcₜ is then known, and the gradient adds up over turns however they are cut.
        """
        sequences = turn_ends(episodes)
        turns = np.array([len(episode.steps) for episode in episodes], np.int64)
        returns = np.array([sum(step.shaped_reward for step in episode.steps) for episode in episodes])
        progress = self._score(sequences)
        error = np.add.reduceat(progress, np.cumsum(turns) - turns) - returns
        slope = 2 * np.repeat(error, turns) / len(episodes) + 2 * self._l2 * progress / len(progress)
        along = torch.from_numpy(slope.astype(np.float32)).to(self._context.accelerator.device)

        def linear(micro: MicroBatch) -> torch.Tensor:
            return (self._forward(micro).float() * along[micro.tokens]).sum()[None]

        with evaluating(self._policy, self._model):
            descend(self._context, sequences, linear, self._optimizer, _MAX_GRAD_NORM)
        return float(np.mean(error**2) + self._l2 * np.mean(progress**2))

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimiser, buffer, forecasts and counts."""
        return {
            "model": dict(self._model.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "buffer": self._buffer.state_dict(),
            "judged": self._judged,
            "batches": self._batches,
            "fits": self._fits,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._buffer.load_state_dict(state["buffer"])
        self._judged = np.asarray(state["judged"], np.float64).reshape(-1, 3)
        self._batches, self._fits = int(state["batches"]), int(state["fits"])
