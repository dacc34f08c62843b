"""Turns as sequences of tokens: states, what was said in them, what followed; and what the policy would say now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate.utils import gather_object

from agentgym.contracts import LearnerContext
from agentgym.errors import AlgorithmError
from agentgym.learners.buffers import Transition
from agentgym.policies.base import Turn
from agentgym.policies.packing import TrainSequence
from agentgym.policies.prompts import next_prompt

__all__ = ["draw_utterances", "state_ids", "state_sequences", "successor_ids", "turn_sequences"]


def state_ids(turn: Transition) -> list[int]:
    """Return all that the policy had read before it spoke, the turn's own prompt included.

    Raises:
        AlgorithmError: If the episode was recorded without tokens.
    """
    steps = turn.episode.steps[: turn.t + 1]
    if turn.episode.context != "transcript":
        steps = steps[-1:]
    ids: list[int] = []
    for number, step in enumerate(steps):
        if step.prompt_ids is None or step.response_ids is None:
            raise AlgorithmError(
                f"episode {turn.episode.group}/{turn.episode.index} was recorded without tokens: a critic of "
                "utterances needs episodes that a language policy played"
            )
        ids += step.prompt_ids
        if number < len(steps) - 1:
            ids += step.response_ids
    return ids


def successor_ids(turn: Transition, policy: Any) -> list[int]:
    """Return the state after a turn, cut to the policy's context.

    After the last turn that is what the policy would have been shown next, but for a list of admissible commands, which
    is not recorded.

    Args:
        turn: A turn that did not end the task.
        policy: The ``HFPolicy`` that played it.
    """
    if not turn.is_last:
        return state_ids(Transition(turn.episode, turn.t + 1))
    past = [*state_ids(turn), *(turn.step.response_ids or ())] if turn.episode.context == "transcript" else []
    return [*past, *next_prompt(policy.chat, policy.context, turn.episode)][: policy.max_tokens]


def turn_sequences(states: Sequence[Sequence[int]], utterances: Sequence[Sequence[int]]) -> list[TrainSequence]:
    """Return one sequence a turn with four chosen places: twice behind the state, twice behind the utterance.

    These are where V1, V2, Q1 and Q2 are read; place k of turn n has number 4n + k.
    """
    sequences = []
    for number, (state, said) in enumerate(zip(states, utterances, strict=True)):
        before, after = len(state), len(state) + len(said)
        ids = np.array([*state, *said], np.int64)
        sequences.append(TrainSequence(ids, np.array([before, before, after, after]), 4 * number + np.arange(4)))
    return sequences


def state_sequences(states: Sequence[Sequence[int]]) -> list[TrainSequence]:
    """Return the sequences of states in which nothing is said yet; numbered as by ``turn_sequences``."""
    return turn_sequences(states, [()] * len(states))


def draw_utterances(
    context: LearnerContext, turns: Sequence[Transition], key: Sequence[int]
) -> list[tuple[int, ...] | None]:
    """Return what the policy as it is now says in the states of recorded turns; no environment is stepped.

    Every process draws its share and gets all of them. What is drawn for a turn follows from ``key`` and its place.

    Args:
        context: The policy and the processes.
        turns: Turns that this policy played, at some time.
        key: Numbers that decide the chance.

    Returns:
        Response tokens for each turn, None where the state leaves no room for any.

    Raises:
        AlgorithmError: If a state's prompt cannot be built again from what is recorded.
    """
    world, rank = context.accelerator.num_processes, context.accelerator.process_index
    mine = list(range(rank, len(turns), world))
    session = context.policy.session()
    asked = []
    for slot in mine:
        turn = turns[slot]
        if turn.t:
            session.resume(slot, turn.episode.steps[: turn.t])
        chance = np.random.default_rng([*key, slot])
        asked.append(Turn(slot, turn.step.observation, {"goal": turn.episode.goal}, chance))
    drawn: list[tuple[int, tuple[int, ...] | None]] = []
    for slot, decision in zip(mine, session.act(asked) if asked else (), strict=True):
        if decision.action is not None and decision.prompt_ids != turns[slot].step.prompt_ids:
            raise AlgorithmError(
                "the prompts of recorded turns cannot be built again, as they list admissible commands, which are not "
                "recorded: let the policy's context show none, or take actions='batch'"
            )
        drawn.append((slot, decision.response_ids if decision.action is not None else None))
    if world > 1:
        drawn = gather_object(drawn)
    return [said for _, said in sorted(drawn, key=lambda pair: pair[0])]
