"""A fixed set of small legal batches with the cases that break methods, the same in every run.

What a check must find, it finds here: nothing depends on what hypothesis happens to draw.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agentgym.algos.base import Column
from agentgym.batch import StepBatch
from agentgym.episodes import Episode, Group, Step

__all__ = ["as_episode", "battery", "with_declared_columns"]

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

_WIDEST = 8.0  # columns without bounds are drawn this far from 0
_WORDS = ("kitchen", "a locked oak drawer", "sunlit garden path", "cellar, dark", "roof", "hall of 9 doors")


def _dense(rng: np.random.Generator, steps: int) -> Floats:
    return rng.integers(-16, 17, steps) / 8


def _outcome(rng: np.random.Generator, steps: int) -> Floats:
    return np.append(np.zeros(steps - 1), float(rng.random() < 0.5))


def _discounted(rng: np.random.Generator, steps: int) -> Floats:
    return np.append(np.zeros(steps - 1), 10 * 0.95 ** rng.integers(0, 12))


def _equal(rng: np.random.Generator, steps: int) -> Floats:
    return np.append(np.zeros(steps - 1), 10 * 0.95**7)


def _large(rng: np.random.Generator, steps: int) -> Floats:
    return np.append(np.zeros(steps - 1), 5000.0 + rng.integers(0, 2))


def _noise(rng: np.random.Generator, steps: int) -> Floats:
    return rng.normal(size=steps)


@dataclass(frozen=True)
class _Recipe:
    """How a batch is made: the lengths of the episodes of each group, and what fills them."""

    lengths: Sequence[Sequence[int]]
    rewards: Draw = _dense
    states: int = 5
    tokens: tuple[int, int] = (1, 3)
    wrong: float = 0.2
    truncated: float = 0.3
    fresh: bool = False


_MIXED = ((3, 1, 4, 2), (2, 2, 5))
_RECIPES: Mapping[str, _Recipe] = {
    "unequal lengths": _Recipe(_MIXED),
    "an outcome at the end": _Recipe(((4, 4, 2, 6), (3, 3, 3), (5, 1, 2)), _outcome),
    "rewards 10 * 0.95^k": _Recipe(((3, 3, 2, 5), (4, 2, 2, 1)), _discounted),
    "ties on 10 * 0.95^7": _Recipe(((3, 3, 2, 5, 1, 4, 2), (4, 2, 2)), _equal),
    "rewards 5000 and 5001": _Recipe(((2, 3, 2, 4, 1), (2, 2)), _large),
    "lone episodes": _Recipe(((3,), (1,), (2, 4, 1))),
    "lone anchors": _Recipe(((3, 4, 2), (2, 2)), _noise, fresh=True),
    "repeated states": _Recipe(((6, 7, 5), (6, 4, 8)), states=2),
    "repeated states, one success": _Recipe(((6, 3, 5, 4), (6, 4, 7, 5)), _outcome, states=3, wrong=0.0),
    "all truncated": _Recipe(_MIXED, truncated=1.0),
    "all terminated": _Recipe(_MIXED, _outcome, truncated=0.0),
    "invalid rows": _Recipe(_MIXED, wrong=0.6),
    "empty responses": _Recipe(_MIXED, tokens=(0, 2)),
    "one-step episodes": _Recipe(((1, 1, 1, 1), (1, 1)), _noise),
    "one long, one short": _Recipe(((1, 8), (2, 7, 1)), _outcome),
    "look-alike states": _Recipe(((5, 5, 4), (4, 6, 3)), states=6, wrong=0.0),
    "many real rewards": _Recipe(((3, 7, 5, 6, 2, 4), (4, 4, 9, 2), (5, 5, 3, 6)), _noise, tokens=(1, 5)),
    "many discounted rewards": _Recipe(((5, 3, 6, 2, 4, 7, 3, 5), (4, 6, 2, 5, 3)), _discounted, states=4, wrong=0.0),
}


def as_episode(steps: Sequence[Step], group: int, index: int) -> Episode:
    """Return steps as a recorded episode: won where the task ended with a reward."""
    won = steps[-1].terminated and steps[-1].reward > 0
    return Episode(
        group=f"group {group}",
        index=index,
        seed=group,
        task_id=f"made/{group}",
        task_type="made",
        goal="none",
        steps=tuple(steps),
        won=won,
        score=float(won),
        end=("success" if won else "failure") if steps[-1].terminated else "step_limit",
        context="window",
    )


def _episode(rng: np.random.Generator, recipe: _Recipe, group: int, index: int, length: int) -> Episode:
    rewards = recipe.rewards(rng, length)
    truncated = bool(rng.random() < recipe.truncated)
    steps = []
    for t, reward in enumerate(rewards.tolist()):
        state = 0 if t == 0 else int(rng.integers(recipe.states))
        look = state // 2
        text = _WORDS[look % len(_WORDS)]
        if recipe.fresh and t > 0:
            state = look = 100 * group + 10 * index + t + 50
            text = f"{rng.bytes(6).hex()}"
        action = f"{('take', 'open', 'go to')[int(rng.integers(3))]} {_WORDS[int(rng.integers(len(_WORDS)))]}"
        tokens = tuple(rng.integers(0, 9, int(rng.integers(recipe.tokens[0], recipe.tokens[1] + 1))).tolist())
        steps.append(
            Step(
                observation=text,
                action=action,
                reward=reward,
                shaped_reward=reward,
                terminated=t == length - 1 and not truncated,
                truncated=t == length - 1 and truncated,
                valid=bool(rng.random() >= recipe.wrong),
                format_ok=bool(rng.random() >= recipe.wrong),
                obs_hash=f"{look:032x}",
                state_hash=f"{state:032x}",
                response=action,
                prompt_ids=(look % 9,),
                response_ids=tokens,
                logprobs=tuple((-rng.random(len(tokens)) - 0.1).tolist()),
            )
        )
    return as_episode(steps, group, index)


@functools.cache
def _batches() -> Mapping[str, StepBatch]:
    made = {}
    for seed, (name, recipe) in enumerate(_RECIPES.items()):
        rng = np.random.default_rng(seed)
        groups = [
            Group(f"group {g}", tuple(_episode(rng, recipe, g, i, length) for i, length in enumerate(lengths)))
            for g, lengths in enumerate(recipe.lengths)
        ]
        batch = StepBatch.from_groups(groups)
        made[name] = batch.take(rng.permutation(len(batch))) if seed % 2 else batch
    return made


def with_declared_columns(batch: StepBatch, columns: Mapping[str, Column], seed: int = 0) -> StepBatch:
    """Return the batch with the columns an algorithm declares, drawn within their ranges.

    A ``baseline`` is the same on all rows of a group, and a ``next_value`` is 0 where the task ended.

    Args:
        batch: Any batch.
        columns: What the algorithm declares.
        seed: Decides the values.
    """
    rng = np.random.default_rng(seed)
    rows, tokens = {}, {}
    for name, column in sorted(columns.items()):
        low, high = max(column.low, -_WIDEST), min(column.high, _WIDEST)
        if column.level == "token":
            tokens[name] = rng.uniform(low, high, int(batch.token_offsets[-1]))
            continue
        values = rng.uniform(low, high, len(batch))
        if name == "baseline":
            values = rng.uniform(low, high, int(batch.group.max(initial=0)) + 1)[batch.group]
        rows[name] = np.where(batch.terminated, 0.0, values) if name == "next_value" else values
    return batch.with_columns(**rows).with_token_columns(**tokens)


def battery(columns: Mapping[str, Column] | None = None) -> dict[str, StepBatch]:
    """Return the batches by name, with the columns an algorithm declares.

    Among them: ties on values that are not dyadic, rewards 5000 and 5001, lone episodes and lone anchors, repeated
    and look-alike states, truncated and terminated ends, invalid rows, empty responses, one-step episodes and
    episodes of very different length; half of them with their rows shuffled.

    Each call makes new arrays, so that what a method does to one batch reaches no other.

    Args:
        columns: What the algorithm declares; none by default.
    """
    return {
        name: with_declared_columns(copy.deepcopy(batch), columns or {}, seed)
        for seed, (name, batch) in enumerate(_batches().items())
    }
