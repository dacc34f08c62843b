"""Turns as sequences of tokens: states, what was said in them, what followed; and what the policy would say now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from accelerate.utils import gather_object

from agentgym.contracts import LearnerContext
from agentgym.episodes import Group
from agentgym.errors import AlgorithmError
from agentgym.learners.buffers import Transition
from agentgym.policies.base import Decision, Turn
from agentgym.policies.packing import TrainSequence
from agentgym.policies.prompts import next_prompt

__all__ = ["draw_utterances", "spoken_groups", "state_ids", "state_sequences", "successor_ids", "turn_sequences"]

_ANEW = 1_398_755_671  # sets the chance of draws apart from that of rollouts, which has numbers as small as a key's


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


def draw_utterances(context: LearnerContext, turns: Sequence[Transition], key: Sequence[int]) -> list[Decision]:
    """Return what the policy as it is now says in the states of recorded turns; no environment is stepped.

    Every process draws its share and gets all of them. What is drawn for a turn follows from ``key`` and its place.

    Args:
        context: The policy and the processes.
        turns: Turns that this policy played, at some time.
        key: Numbers that decide the chance.

    Returns:
        A decision for each turn, without an action where the state leaves no room for any.

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
        chance = np.random.default_rng([*key, slot, _ANEW])
        asked.append(Turn(slot, turn.step.observation, {"goal": turn.episode.goal}, chance))
    with context.accelerator.autocast():  # the precision of rollouts and losses
        said: list[Decision] = session.act(asked) if asked else []
    for slot, decision in zip(mine, said, strict=True):
        if decision.action is not None and decision.prompt_ids != turns[slot].step.prompt_ids:
            raise AlgorithmError(
                "the prompts of recorded turns cannot be built again, as they list admissible commands, which are not "
                "recorded: let the policy's context show none, or let nothing be drawn anew (actions='batch', "
                "actor='batch')"
            )
    drawn = list(zip(mine, said, strict=True))
    if world > 1:
        drawn = gather_object(drawn)
    return [decision for _, decision in sorted(drawn, key=lambda pair: pair[0])]


def spoken_groups(turns: Sequence[Transition], drawn: Sequence[Decision]) -> list[Group]:
    """Return what was drawn as episodes of one turn, each a group of its own, for ``StepBatch.from_groups``.

    The prompt of such a turn is the whole state. So the utterance is a training sequence by itself, and what the policy
    had said before it is not trained on. As no environment was stepped there is no reward and no successor: of the
    chain of tokens the utterance is the end.

    Args:
        turns: The recorded turns.
        drawn: What was said in their states; turns in which nothing was said are left out.
    """
    groups = []
    for number, (turn, decision) in enumerate(zip(turns, drawn, strict=True)):
        if decision.action is None:
            continue
        step = replace(
            turn.step,
            action=decision.action,
            response=decision.response,
            prompt_ids=tuple(state_ids(turn)),
            response_ids=decision.response_ids,
            logprobs=decision.logprobs,
            allowed_ids=decision.allowed_ids,
            node=None,
            reward=0.0,
            shaped_reward=0.0,
            terminated=True,
            truncated=False,
            valid=True,
            format_ok=True,
        )
        name = f"drawn/{number}"
        episode = replace(
            turn.episode,
            group=name,
            index=0,
            steps=(step,),
            context="window",
            won=False,
            score=0.0,
            end="pruned",
            final_observation="",
        )
        groups.append(Group(name, (episode,)))
    return groups
