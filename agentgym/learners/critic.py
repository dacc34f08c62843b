"""A critic: values of the states in a batch, from a model that trains together with the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext
from agentgym.episodes import Episode
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.learners.passes import evaluating, score_tokens
from agentgym.policies.packing import MicroBatch, TrainSequence, sequences_of
from agentgym.policies.prompts import next_prompt
from agentgym.policies.scoring import base_of, states_before
from agentgym.policies.values import ValueModel

__all__ = ["Critic"]


class Critic:
    """Adds columns ``value`` and ``next_value``; the trainer trains its model by the algorithm's loss.

    V of a state is read where the policy is about to speak: from the hidden state before the first token of a response
    (level "row"), or before every token of it (level "token"). Both come of one forward pass over the recorded tokens.

    ``value`` is a row column at level "row" and a token column at level "token". ``next_value``, V of the state after
    the row, is a row column at both. At the last row of an episode it is 0 where the task ended, else the value before
    the response that never came: the final observation is put into the prompt as the policy would have seen it, but
    for a list of admissible commands, which is not recorded. A prompt that exceeds the context is cut to it.

    Values are those of the critic before it trains on the batch. It trains in the trainer's own optimiser steps, so
    that a head on the policy's trunk (``shared``) and a critic with a trunk of its own are one code path, on any number
    of processes.

    Attributes:
        value_model: The model; known after ``setup``.
        rate: Learning rate of its own weights over that of the policy.

    Args:
        level: What a value belongs to.
        shared: Whether the value head reads the policy's own trunk; else the critic has a copy of it.
        rate: Learning rate of the critic's own weights over that of the policy, above 0.
    """

    value_model: nn.Module

    def __init__(self, level: Literal["row", "token"] = "row", shared: bool = False, rate: float = 1.0) -> None:
        if level not in ("row", "token"):
            raise ConfigError(f"a critic's level is 'row' or 'token', not {level!r}")
        if rate <= 0:
            raise ConfigError(f"the critic's rate must be above 0, not {rate}")
        self.rate = rate
        self._level = level
        self._shared = shared

    def setup(self, context: LearnerContext) -> None:
        """Build the model: the head begins at 0, a trunk of its own as a copy of the policy's."""
        self._context = context
        self.value_model = ValueModel(context.policy.model, self._shared)

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Return ``batch`` with the values of the critic as it is.

        Raises:
            AlgorithmError: If a row has no response tokens, and so nowhere to read a value.
        """
        starts = batch.token_offsets[:-1]
        if (silent := np.flatnonzero(starts == batch.token_offsets[1:])).size:
            raise AlgorithmError(f"row {silent[0]} has no response tokens, but a critic reads values before them")
        tokens = self._values(sequences_of(episodes))
        values = tokens[starts].astype(np.float64)
        columns = {"next_value": self._next_values(batch, episodes, values)}
        if self._level == "token":
            return batch.with_columns(**columns).with_token_columns(value=tokens.astype(np.float64))
        return batch.with_columns(value=values, **columns)

    def _values(self, sequences: Sequence[TrainSequence]) -> npt.NDArray[np.float32]:
        """Return the value before each token of ``sequences``, [L]."""
        model = self._context.policy.model

        def values(micro: MicroBatch) -> torch.Tensor:
            # A critic with a trunk of its own does not look at the policy's states.
            states = torch.zeros(0, device=micro.ids.device)
            if self._shared:
                states = states_before(base_of(model).get_decoder(), micro.ids, micro.select)
            return torch.as_tensor(self.value_model(micro.ids, micro.select, states))

        with evaluating(model, self.value_model):
            return score_tokens(self._context, sequences, values)

    def _next_values(
        self, batch: StepBatch, episodes: Sequence[Episode], values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return V of the state after each row, given that before each row, [R]; rows run by episode and step."""
        next_values = np.zeros(len(batch))
        follows = batch.episode[1:] == batch.episode[:-1]
        next_values[:-1] = np.where(follows, values[1:], 0.0)
        last = np.flatnonzero(~np.append(follows, False)[: len(batch)])
        cut_off = last[~batch.terminated[last]]
        closing = [self._closing(episodes[batch.episode[row]], number) for number, row in enumerate(cut_off)]
        next_values[cut_off] = self._values(closing)
        return next_values

    def _closing(self, episode: Episode, number: int) -> TrainSequence:
        """Return the sequence whose only chosen place is after all that the episode's next prompt would have held."""
        policy = self._context.policy
        *_, last = episode.sequences()
        past = last.ids if episode.context == "transcript" else last.ids[:0]
        ids = np.concatenate([past, np.array(next_prompt(policy.chat, policy.context, episode), np.int64)])
        ids = ids[: policy.max_tokens]
        return TrainSequence(ids, np.array([len(ids)]), np.array([number]))

    def state_dict(self) -> dict[str, Any]:
        """Return the weights; where the trunk is shared, of the head alone."""
        return dict(self.value_model.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        self.value_model.load_state_dict(state)
