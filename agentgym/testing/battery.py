"""A fixed set of small legal batches with the cases that break methods, the same in every run.

What a check must find, it finds here: nothing depends on what hypothesis happens to draw.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from agentgym.algos.base import Column
from agentgym.batch import StepBatch
from agentgym.episodes import Episode, Group, Step

__all__ = ["as_episode", "battery", "with_declared_columns"]

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

_AHEAD = ("next_value", "mc_next_value")  # columns that are 0 behind the end of the task
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
    """How a batch is made: the lengths of the episodes of each group, and what fills them.

    With ``forks`` above 0 groups are trees: so likely does an episode leave an earlier one of its group on the way, and
    ``pruned`` is how likely it is then cut where it would have left.
    """

    lengths: Sequence[Sequence[int]]
    rewards: Draw = _dense
    states: int = 5
    tokens: tuple[int, int] = (1, 3)
    wrong: float = 0.2
    truncated: float = 0.3
    fresh: bool = False
    forks: float = 0.0
    pruned: float = 0.0


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
    "trees": _Recipe(((4, 3, 4, 2), (3, 4, 2, 3)), _outcome, tokens=(1, 4), wrong=0.0, forks=0.8),
    "trees with rewards on the way": _Recipe(((4, 3, 5, 3, 2), (3, 3)), forks=0.6),
    "trees with rewards 10 * 0.95^k": _Recipe(((3, 4, 2, 5), (3, 2, 4)), _discounted, states=3, forks=0.8),
    "trees with pruned branches": _Recipe(((5, 4, 3, 4, 3), (4, 3, 3)), _outcome, forks=0.9, pruned=0.4),
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


def _branch(rng: np.random.Generator, paths: Sequence[Episode], own: Episode, pruned: float, group: int) -> Episode:
    """Return ``own`` as it goes on from a decision of one of the paths, whose steps before that it shares."""
    long = [path for path in paths if len(path.steps) > 1]
    if not long:
        return own
    trunk = long[int(rng.integers(len(long)))].steps
    depth = int(rng.integers(1, len(trunk)))
    if rng.random() < pruned:
        return as_episode(trunk[:depth], group, own.index)
    # The first decision of a branch was taken where the trunk's next one was.
    place = {name: getattr(trunk[depth], name) for name in ("observation", "obs_hash", "state_hash", "prompt_ids")}
    return as_episode((*trunk[:depth], replace(own.steps[0], **place), *own.steps[1:]), group, own.index)


def _group(rng: np.random.Generator, recipe: _Recipe, group: int, lengths: Sequence[int]) -> Group:
    episodes: list[Episode] = []
    for index, length in enumerate(lengths):
        episode = _episode(rng, recipe, group, index, length)
        if recipe.forks and rng.random() < recipe.forks:
            episode = _branch(rng, episodes, episode, recipe.pruned, group)
        episodes.append(episode)
    return Group.of_paths(f"group {group}", episodes) if recipe.forks else Group(f"group {group}", tuple(episodes))


@functools.cache
def _batches() -> Mapping[str, StepBatch]:
    made = {}
    for seed, (name, recipe) in enumerate(_RECIPES.items()):
        rng = np.random.default_rng(seed)
        batch = StepBatch.from_groups([_group(rng, recipe, g, lengths) for g, lengths in enumerate(recipe.lengths)])
        made[name] = batch.take(rng.permutation(len(batch))) if seed % 2 else batch
    return made


def with_declared_columns(batch: StepBatch, columns: Mapping[str, Column], seed: int = 0) -> StepBatch:
    """Return the batch with the columns an algorithm declares, drawn within their ranges.

    A ``baseline`` is the same on all rows of a group, a ``next_value`` or ``mc_next_value`` is 0 where the task ended,
    and rows of paths that share a decision have the same values.

    Args:
        batch: Any batch.
        columns: What the algorithm declares.
        seed: Decides the values.
    """
    rng = np.random.default_rng(seed)
    rows, tokens = {}, {}
    _, first, shared = np.unique(batch.node, return_index=True, return_inverse=True)
    owner = first[shared]  # the row that a shared decision's values are drawn for
    row = np.repeat(np.arange(len(batch)), np.diff(batch.token_offsets))
    token = np.arange(len(row)) + (batch.token_offsets[owner] - batch.token_offsets[:-1])[row]
    for name, column in sorted(columns.items()):
        low, high = max(column.low, -_WIDEST), min(column.high, _WIDEST)
        if column.level == "token":
            tokens[name] = rng.uniform(low, high, len(row))[token]
            continue
        values = rng.uniform(low, high, len(batch))[owner]
        if name == "baseline":
            values = rng.uniform(low, high, int(batch.group.max(initial=0)) + 1)[batch.group]
        rows[name] = np.where(batch.terminated, 0.0, values) if name in _AHEAD else values
    return batch.with_columns(**rows).with_token_columns(**tokens)


def battery(columns: Mapping[str, Column] | None = None) -> dict[str, StepBatch]:
    """Return the batches by name, with the columns an algorithm declares.

    Among them: ties on values that are not dyadic, rewards 5000 and 5001, lone episodes and lone anchors, repeated
    and look-alike states, truncated and terminated ends, invalid rows, empty responses, one-step episodes and
    episodes of very different length, trees with and without pruned branches; half of them with their rows shuffled.

    Each call makes new arrays, so that what a method does to one batch reaches no other.

    Args:
        columns: What the algorithm declares; none by default.
    """
    return {
        name: with_declared_columns(copy.deepcopy(batch), columns or {}, seed)
        for seed, (name, batch) in enumerate(_batches().items())
    }
