"""Hypothesis strategies for recorded groups and the batches they make.

Rewards are integers over 8, which add exactly and shrink well, unless others are asked for. Members of a group share
their start, as recorded groups do, and few states are drawn, so that states repeat within and across episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from agentgym.algos.base import Column
from agentgym.batch import StepBatch
from agentgym.episodes import Group, Step
from agentgym.errors import missing_extra
from agentgym.testing.battery import as_episode, with_declared_columns

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise missing_extra("hypothesis", "testing", "agentgym.testing.strategies") from error

__all__ = ["EIGHTHS", "groups", "step_batches"]

EIGHTHS = st.integers(-16, 16).map(lambda n: n / 8)
"""Rewards whose sums and products with small powers of two are exact."""


@st.composite
def _steps(draw: st.DrawFn, rewards: st.SearchStrategy[float], max_steps: int, states: int) -> list[Step]:
    # State and both flags come from one number: hypothesis pays for each draw.
    moments = draw(st.lists(st.tuples(st.integers(0, 4 * states - 1), rewards), min_size=1, max_size=max_steps))
    terminated = draw(st.booleans())
    steps = []
    for t, (number, reward) in enumerate(moments):
        state, last = number // 4 if t else 0, t == len(moments) - 1
        tokens = tuple(range(t % 3 + 1))
        steps.append(
            Step(
                observation=f"state {state}",
                action=f"action {t}",
                response=f"action {t}",
                prompt_ids=(state,),
                response_ids=tokens,
                logprobs=(-1.0,) * len(tokens),
                reward=reward,
                shaped_reward=reward,
                terminated=last and terminated,
                truncated=last and not terminated,
                format_ok=number % 2 == 0,
                valid=number // 2 % 2 == 0,
                obs_hash=f"{state // 2:032x}",  # two states look the same
                state_hash=f"{state:032x}",
            )
        )
    return steps


@st.composite
def groups(
    draw: st.DrawFn,
    /,
    rewards: st.SearchStrategy[float] = EIGHTHS,
    *,
    min_groups: int = 1,
    max_groups: int = 3,
    max_episodes: int = 4,
    max_steps: int = 5,
    states: int = 5,
    trees: bool = False,
) -> list[Group]:
    """Draw recorded groups whose episodes carry tokens in windows.

    Args:
        draw: Given by hypothesis.
        rewards: Strategy of one step's reward.
        min_groups: Fewest groups.
        max_groups: Most groups.
        max_episodes: Most episodes in a group, at least 1.
        max_steps: Most steps in an episode, at least 1.
        states: Number of different states; states 2k and 2k + 1 have equal text.
        trees: Whether groups are trees: an episode may leave an earlier one of its group on the way.
    """
    drawn = []
    for g in range(draw(st.integers(min_groups, max_groups))):
        members = draw(st.lists(_steps(rewards, max_steps, states), min_size=1, max_size=max_episodes))
        if trees:
            members = _grown(members, draw(st.integers(0, 2**16 - 1)))
        episodes = [as_episode(steps, g, index) for index, steps in enumerate(members)]
        drawn.append(Group.of_paths(f"group {g}", episodes) if trees else Group(f"group {g}", tuple(episodes)))
    return drawn


def _grown(members: list[list[Step]], number: int) -> list[list[Step]]:
    """Let episodes go on from decisions of earlier ones, whose steps before that they share; 0 leaves them straight."""
    grown: list[list[Step]] = []
    for own in members:
        # Digits of one number say which episode is left and where: hypothesis pays for each draw.
        number, choice = divmod(number, 16)
        trunk = grown[choice % len(grown)] if grown else own[:1]
        depth = min(choice // 4, len(trunk) - 1, len(own) - 1)
        place = trunk[depth]
        first = replace(own[depth], observation=place.observation, prompt_ids=place.prompt_ids)
        first = replace(first, obs_hash=place.obs_hash, state_hash=place.state_hash)
        grown.append([*trunk[:depth], first, *own[depth + 1 :]] if depth else own)
    return grown


@st.composite
def step_batches(
    draw: st.DrawFn,
    /,
    rewards: st.SearchStrategy[float] = EIGHTHS,
    *,
    columns: Mapping[str, Column] | None = None,
    trees: bool = False,
    **limits: int,
) -> StepBatch:
    """Draw a batch with its rows in any order.

    Args:
        draw: Given by hypothesis.
        rewards: Strategy of one step's reward.
        columns: Columns to add, as an algorithm declares them; their values come from one drawn number.
        trees: Whether groups are trees, see ``groups``.
        limits: Limits of ``groups``.
    """
    batch = StepBatch.from_groups(draw(groups(rewards, trees=trees, **limits)))
    batch = batch.take(np.array(draw(st.permutations(range(len(batch)))), np.int64))
    return with_declared_columns(batch, columns, draw(st.integers(0, 999))) if columns else batch
