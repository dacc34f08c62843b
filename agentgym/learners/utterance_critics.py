"""ArCHer's critics: Q and V of whole utterances, twice each, learned off-policy from a replay buffer of turns."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import skip_init

from agentgym.batch import StepBatch
from agentgym.contracts import LearnerContext
from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.learners.buffers import Transition, TransitionBuffer
from agentgym.learners.passes import descend, evaluating, score_tokens
from agentgym.learners.targets import follow, target_of
from agentgym.learners.utterances import (
    draw_utterances,
    spoken_groups,
    state_ids,
    state_sequences,
    successor_ids,
    turn_sequences,
)
from agentgym.policies.base import Decision
from agentgym.policies.packing import MicroBatch, TrainSequence
from agentgym.policies.scoring import base_of, states_before

__all__ = ["UtteranceCritics", "UtteranceModel", "expectile_loss", "td_targets"]

Floats = npt.NDArray[np.float64]

_MAX_GRAD_NORM = 1.0  # as in the released code
_V, _Q = slice(0, 2), slice(2, 4)
_DRAWN, _CHOSEN, _SPOKEN = 1, 2, 3  # tell the generators apart: of a critics' step, the first two, and of the actor's


def td_targets(reward: Floats, terminated: npt.NDArray[np.bool_], next_values: Floats, gamma: float) -> Floats:
    """Return yᵢ = r + γ (1 - d) V̄ᵢ(s'), [N, 2].

    Args:
        reward: r, [N].
        terminated: d, whether the task ended with the turn, bool [N]; where it did, ``next_values`` are not read.
        next_values: V̄₁ and V̄₂ of the state after the turn, [N, 2].
        gamma: γ in [0, 1].
    """
    return reward[:, None] + gamma * np.where(terminated[:, None], 0.0, next_values)


def expectile_loss(error: torch.Tensor, expectile: float) -> torch.Tensor:
    """Return w u² with w = κ where u > 0 and 1 - κ elsewhere: IQL, arXiv 2110.06169, equation 5.

    Args:
        error: u = target - value, any shape.
        expectile: κ in (0, 1); 0.5 is half the squared error, more pulls the value to the better targets.
    """
    weight = torch.where(error > 0, expectile, 1 - expectile)
    return weight * error.square()


def _head(inputs: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """Return Linear-ReLU-Linear-ReLU-Linear whose last layer is 0, so that it says 0 everywhere at first."""
    shapes = ((inputs, width), (width, width), (width, 1))
    layers: list[nn.Linear] = [skip_init(nn.Linear, *shape) for shape in shapes]  # type: ignore[no-untyped-call]
    for layer in layers:
        nn.init.zeros_(layer.bias)
    for layer in layers[:-1]:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(layers[-1].weight)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


class UtteranceModel(nn.Module):
    """V1(s), V2(s), Q1(s, a) and Q2(s, a) on the hidden states of a causal model that reads s and then a.

    V reads the last hidden state of s; Q reads that and the last one of a, which has seen s too. The heads compute in
    single precision.

    Args:
        model: The causal LM whose decoder is copied, or read through ``states`` if it is shared.
        shared: Whether the heads read the policy's own hidden states; else they have a copy of the decoder, which
            trains with them.
        seed: Decides the first weights of the hidden layers, which differ between the twins.
    """

    def __init__(self, model: nn.Module, shared: bool = False, seed: int = 0) -> None:
        super().__init__()
        base = base_of(model)
        self.trunk: nn.Module | None = None if shared else copy.deepcopy(base.get_decoder())
        width, generator = base.get_output_embeddings().weight.shape[1], torch.Generator().manual_seed(seed)
        heads = [_head(inputs, width, generator) for inputs in (width, width, 2 * width, 2 * width)]
        self.v, self.q = nn.ModuleList(heads[_V]), nn.ModuleList(heads[_Q])
        for part in (self.v, self.q):
            part.to(next(model.parameters()).device)

    def forward(self, ids: torch.Tensor, select: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return V1, V2, Q1, Q2 of each turn, float32 [4N].

        Args:
            ids: Token ids, int64 [B, T].
            select: Flat indices of four places a turn: twice behind its state, twice behind its utterance; int64 [4N].
            states: The policy's hidden states before these places, [4N, H]; read where the trunk is shared.
        """
        if self.trunk is not None:
            states = states_before(self.trunk, ids, select)
        # Half precision would round values to three digits.
        with torch.autocast(states.device.type, enabled=False):
            places = states.float().reshape(-1, 4, states.shape[-1])
            before, both = places[:, 0], places[:, 1:3].flatten(1)
            outputs = [head(before) for head in self.v] + [head(both) for head in self.q]
            return torch.cat(outputs, 1).reshape(-1)


class UtteranceCritics:
    """Adds row columns ``utterance_q`` = min(Q1, Q2) and ``utterance_v`` = min(V1, V2). For ArCHer, arXiv 2402.19446.

    Every batch first joins a buffer of turns; then come ``steps`` optimiser steps on

    ::

        L_Q = Σᵢ mean (Qᵢ(s, a) - r - γ (1 - d) V̄ᵢ(s'))²      (s, a, r, s', d) from the buffer
        L_V = Σᵢ mean (Vᵢ(s) - Q̄ᵢ(s, a'))²                     a' of the policy as it is now

    after each of which the target networks Q̄, V̄ follow by ``tau``. Then the columns are read, from the networks that
    train. With ``expectile`` the value learns from the buffer's own actions instead, as in IQL. Where a limit ended the
    episode, s' is what the policy would have been shown next; only the end of the task counts as d = 1.

    With ``actor="fresh"`` the policy learns, ``actor_steps`` times, from what it then says in states from the buffer,
    and not from the batch. The columns of that are read in the same way.

    Every process sees all of the batch, keeps the same buffer, and works out a share of each step.

    Args:
        gamma: γ in [0, 1], the discount of a turn.
        tau: How far the targets follow in a step, in [0, 1].
        expectile: κ in (0, 1) of the offline variant; None for the online one.
        actions: Where a' comes from: ``"batch"``, the turns of the batch at hand, at their own states (ours, cheap);
            ``"fresh"``, drawn anew in the states from the buffer (the paper). With ``expectile`` it is not read.
        actor: What the policy learns from: ``"batch"``, the turns of the batch at hand (ours, cheap); ``"fresh"``,
            utterances drawn anew in states from the buffer (the paper).
        actor_steps: Times a batch that the policy learns from fresh utterances, at least 1.
        actor_minibatch: States drawn from the buffer each of these times, at least 1.
        shared: Whether the heads read the policy's own trunk, which they then leave alone, and the targets with them;
            else they have a copy of the trunk as it was when the run began, which trains with the heads.
        learning_rate: Of Adam, above 0; gradients are clipped to norm 1.
        steps: Optimiser steps a batch, at least 1.
        minibatch: Turns of an optimiser step, at least 1.
        capacity: Turns of the buffer, at least 1.
        warmup: Batches at first on which only the critics learn, at least 0.

    Raises:
        ConfigError: If a number is out of range.
    """

    def __init__(
        self,
        *,
        gamma: float = 0.95,
        tau: float = 0.1,
        expectile: float | None = None,
        actions: Literal["batch", "fresh"] = "batch",
        actor: Literal["batch", "fresh"] = "batch",
        actor_steps: int = 1,
        actor_minibatch: int = 64,
        shared: bool = False,
        learning_rate: float = 3e-4,
        steps: int = 20,
        minibatch: int = 64,
        capacity: int = 100_000,
        warmup: int = 0,
    ) -> None:
        for name, source in {"actions": actions, "actor": actor}.items():
            if source not in ("batch", "fresh"):
                raise ConfigError(f"{name} of utterance critics must be 'batch' or 'fresh', not {source!r}")
        for name, share in {"gamma": gamma, "tau": tau}.items():
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} of utterance critics must be in [0, 1], not {share}")
        if expectile is not None and not 0 < expectile < 1:
            raise ConfigError(f"expectile of utterance critics must be between 0 and 1, not {expectile}")
        if learning_rate <= 0:
            raise ConfigError(f"learning_rate of utterance critics must be above 0, not {learning_rate}")
        counts = {"steps": steps, "minibatch": minibatch, "actor_steps": actor_steps}
        for name, count in {**counts, "actor_minibatch": actor_minibatch, "warmup": warmup}.items():
            if count < (least := 0 if name == "warmup" else 1):
                raise ConfigError(f"{name} of utterance critics must be at least {least}, not {count}")
        self._gamma, self._tau, self._expectile = gamma, tau, expectile
        # IQL has no use for other actions than the recorded ones.
        self._fresh = {"actions": actions == "fresh" and expectile is None, "actor": actor == "fresh"}
        self._shared, self._learning_rate = shared, learning_rate
        self._steps, self._minibatch, self._warmup = steps, minibatch, warmup
        self._actor_steps, self._actor_minibatch = actor_steps, actor_minibatch
        self._buffer = TransitionBuffer(capacity)
        self._updates = self._taken = self._spoken = self._drawn_tokens = 0
        self._metrics: dict[str, float] = {}

    def setup(self, context: LearnerContext) -> None:
        """Build the networks, their targets and the optimiser.

        Raises:
            ConfigError: If utterances are to be drawn by a policy that is constrained to commands nobody recorded.
        """
        policy = context.policy
        fresh = [name for name, drawn in self._fresh.items() if drawn]
        if fresh and policy.constrain != "none":
            raise ConfigError(
                f"{fresh[0]}='fresh' draws utterances in recorded states, but constrain={policy.constrain!r} needs "
                f"their admissible commands, which are not recorded: take {fresh[0]}='batch', or a policy that is not "
                "constrained"
            )
        self._context = context
        self._policy: nn.Module = policy.model
        self._model = UtteranceModel(self._policy, self._shared, context.seed)
        self._target = target_of(self._model)
        self._buffer = TransitionBuffer(self._buffer.capacity, context.seed)
        trained = [p for p in self._model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(trained, lr=self._learning_rate)

    @property
    def warming(self) -> bool:
        """Whether the policy is to be left as it is on the batch of the last ``update``."""
        return self._updates <= self._warmup

    def update(self, batch: StepBatch, episodes: Sequence[Episode]) -> StepBatch:
        """Train on the buffer with ``batch`` in it, then return ``batch`` with the columns.

        Raises:
            AlgorithmError: If an episode has no tokens, or its prompts cannot be built again where that is needed.
        """
        self._buffer.extend(episodes)
        turns = [Transition(episode, t) for episode in episodes for t in range(len(episode))]
        heard = [turn for turn in turns if turn.episode.fault is None]
        self._drawn_tokens = 0
        losses = [self._step(heard) for _ in range(self._steps if len(self._buffer) else 0)]
        self._updates += 1
        valued = self._valued(batch, turns)
        td_loss, v_loss = np.mean(losses, 0) if losses else (0.0, 0.0)
        self._metrics = {
            "critics/td_loss": float(td_loss),
            "critics/v_loss": float(v_loss),
            "critics/buffer_turns": float(len(self._buffer)),
            "critics/drawn_tokens": float(self._drawn_tokens),
            "critics/warming": float(self.warming),
        }
        return valued

    def _valued(self, batch: StepBatch, turns: Sequence[Transition]) -> StepBatch:
        """Return ``batch``, whose rows are ``turns``, with the columns."""
        outputs = self._read(self._model, self._sequences(turns))
        return batch.with_columns(utterance_q=outputs[:, _Q].min(1), utterance_v=outputs[:, _V].min(1))

    @property
    def drawn_tokens(self) -> int:
        """Tokens that the policy has generated for V and for the actor since the last ``update`` began."""
        return self._drawn_tokens

    def draws(self) -> Iterator[tuple[StepBatch, Sequence[Episode]]] | None:
        """Return batches of fresh utterances in states from the buffer, or None where the actor learns from the batch.

        Each is drawn when it is asked for; one for which no state has room is left out.

        Raises:
            AlgorithmError: If a state's prompt cannot be built again from what is recorded.
        """
        return self._fresh_batches() if self._fresh["actor"] else None

    def _fresh_batches(self) -> Iterator[tuple[StepBatch, Sequence[Episode]]]:
        for _ in range(self._actor_steps if len(self._buffer) else 0):
            turns = self._buffer.sample(self._actor_minibatch)
            groups = spoken_groups(turns, self._draw(turns, self._spoken, _SPOKEN))
            self._spoken += 1
            if groups:
                episodes = [episode for group in groups for episode in group.episodes]
                batch = StepBatch.from_groups(groups)
                yield self._valued(batch, [Transition(episode, 0) for episode in episodes]), episodes

    def _draw(self, turns: Sequence[Transition], number: int, kind: int) -> list[Decision]:
        drawn = draw_utterances(self._context, turns, (self._context.seed, number, kind))
        self._drawn_tokens += sum(len(said.response_ids or ()) for said in drawn)
        return drawn

    def metrics(self) -> dict[str, float]:
        """Return the mean losses of the last batch's steps, the size of the buffer, and what was drawn for them."""
        return dict(self._metrics)

    def _sequences(self, turns: Sequence[Transition]) -> list[TrainSequence]:
        return turn_sequences([state_ids(turn) for turn in turns], [turn.step.response_ids or () for turn in turns])

    # One step ---------------------------------------------------------------------------------------------------------

    def _step(self, heard: Sequence[Transition]) -> npt.NDArray[np.float64]:
        """Take one optimiser step and return L_Q and L_V before it; ``heard`` are the turns of the batch."""
        turns = self._buffer.sample(self._minibatch)
        sequences = self._sequences(turns)
        goals = np.full((len(turns), 4), np.nan)  # NaN where a turn teaches nothing
        goals[:, _Q] = self._td_targets(turns)
        if self._expectile is not None:
            goals[:, _V] = self._read(self._target, sequences)[:, _Q]
        elif self._fresh["actions"]:
            goals[:, _V] = self._values_of_fresh(turns)
        elif heard:
            chosen = np.random.default_rng([self._context.seed, self._taken, _CHOSEN]).integers(
                len(heard), size=self._minibatch
            )
            sequences = self._sequences([*turns, *(heard[number] for number in chosen)])
            values = self._read(self._target, sequences)[len(turns) :, _Q]
            goals = np.concatenate([goals, np.column_stack([values, np.full_like(values, np.nan)])])
        self._taken += 1
        losses = self._descend(sequences, goals)
        follow(self._target, self._model, self._tau)
        return losses

    def _td_targets(self, turns: Sequence[Transition]) -> Floats:
        """Return y of each turn, [N, 2]."""
        ended = np.array([turn.step.terminated for turn in turns])
        # What comes after the end of a task is never looked at.
        states = [successor_ids(turn, self._context.policy) for turn in turns if not turn.step.terminated]
        next_values = np.zeros((len(turns), 2))
        next_values[~ended] = self._read(self._target, state_sequences(states))[:, _V]
        reward = np.array([turn.step.shaped_reward for turn in turns])
        return td_targets(reward, ended, next_values, self._gamma)

    def _values_of_fresh(self, turns: Sequence[Transition]) -> Floats:
        """Return Q̄ of what the policy would say now in the states of ``turns``, [N, 2]; NaN where it has no room."""
        drawn = self._draw(turns, self._taken, _DRAWN)
        said = [decision.response_ids or () for decision in drawn]
        outputs = self._read(self._target, turn_sequences([state_ids(turn) for turn in turns], said))
        silent = np.array([decision.action is None for decision in drawn])
        return np.where(silent[:, None], np.nan, outputs[:, _Q])

    def _descend(self, sequences: Sequence[TrainSequence], goals: Floats) -> npt.NDArray[np.float64]:
        """Step towards ``goals``, [N, 4], and return L_Q and L_V."""
        device = self._context.accelerator.device
        known = ~np.isnan(goals)
        weight = torch.from_numpy((known / np.maximum(known.sum(0), 1)).astype(np.float32)).to(device).reshape(-1)
        goal = torch.from_numpy(np.nan_to_num(goals).astype(np.float32)).to(device).reshape(-1)

        def loss(micro: MicroBatch) -> torch.Tensor:
            error = goal[micro.tokens] - self._forward(self._model, micro)
            squared = error.square()
            valued = squared if self._expectile is None else expectile_loss(error, self._expectile)
            weighted = torch.stack([squared * weight[micro.tokens], valued * weight[micro.tokens]], 1)
            by_output = weighted.reshape(-1, 4, 2).sum(0)
            return torch.stack([by_output[_Q, 0].sum(), by_output[_V, 1].sum()])

        with evaluating(self._policy, self._model):
            return descend(self._context, sequences, loss, self._optimizer, _MAX_GRAD_NORM)

    def _forward(self, model: UtteranceModel, micro: MicroBatch) -> torch.Tensor:
        # Critics with a trunk of their own do not look at the policy's states.
        states = torch.zeros(0, device=micro.ids.device)
        if self._shared:
            with torch.no_grad():
                states = states_before(base_of(self._policy).get_decoder(), micro.ids, micro.select)
        return torch.as_tensor(model(micro.ids, micro.select, states))

    def _read(self, model: UtteranceModel, sequences: Sequence[TrainSequence]) -> Floats:
        """Return V1, V2, Q1, Q2 of each sequence, [N, 4]."""
        with evaluating(self._policy, model):
            outputs = score_tokens(self._context, sequences, lambda micro: self._forward(model, micro))
        return outputs.astype(np.float64).reshape(-1, 4)

    # What is kept -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return networks, targets, optimiser, buffer and counts."""
        return {
            "model": dict(self._model.state_dict()),
            "target": dict(self._target.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "buffer": self._buffer.state_dict(),
            "updates": self._updates,
            "taken": self._taken,
            "spoken": self._spoken,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        self._model.load_state_dict(state["model"])
        self._target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._buffer.load_state_dict(state["buffer"])
        self._updates, self._taken, self._spoken = (int(state[name]) for name in ("updates", "taken", "spoken"))
