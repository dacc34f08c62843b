"""The laws of values along a path as checks of one batch; a method that gives each state a value promises them.

What a path shares with another is told by its decisions alone here: the batch is rewritten so that its observations,
actions and tokens follow from them. So the checks know every value without asking the method what it compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.algos.base import Algorithm
from agentgym.algos.functional.returns import episode_returns
from agentgym.batch import Credit, StepBatch
from agentgym.testing.laws import Law, entries, variant

__all__ = ["VALUE_CHECKS"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def _in_order(batch: StepBatch) -> list[Ints]:
    """Return the rows of each episode in order of their step."""
    order = np.lexsort((batch.t, batch.episode))
    return np.split(order, np.flatnonzero(np.diff(batch.episode[order])) + 1)


def _points(batch: StepBatch) -> Ints:
    """Return where each row's decision was taken, as codes of at least 0, [R]: behind a decision, or at a start."""
    return np.unique(np.where(batch.parent < 0, -1 - batch.group, batch.parent), return_inverse=True)[1].reshape(-1)


def _legible(batch: StepBatch) -> StepBatch:
    """Return the batch with texts and tokens that tell its decisions apart and nothing else.

    Tokens before the last of a response are the digits of its branch, so that branches often part within a response.
    """
    point, branch = _points(batch), batch.branch
    row = np.repeat(np.arange(len(batch)), np.diff(batch.token_offsets))
    place = np.arange(len(row)) - batch.token_offsets[:-1][row]
    last = place == np.diff(batch.token_offsets)[row] - 1
    return replace(
        batch,
        anchor=point,
        state=point,
        observations=tuple(f"place {number}" for number in point.tolist()),
        actions=tuple(f"take way {number}" for number in branch.tolist()),
        token_ids=np.where(last, branch[row] + 2, branch[row] >> place & 1),
    )


def _tree_part(credit: Credit) -> Floats | str:
    if "tree" not in credit.components:
        return (
            f"the differences of value should be the component 'tree', but the components are "
            f"{sorted(credit.components)}"
        )
    return credit.components["tree"].astype(np.float64)


def telescoping(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Differences of value along a path sum to the value of its end less that of its start."""
    if {"mc_value", "mc_next_value"} <= set(algorithm.columns):
        yield from _of_forks(variant(algorithm, whiten=False), batch)
    else:
        yield from _of_descendants(variant(algorithm, lone="zero"), _legible(batch))


def _of_descendants(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """The value of a state is the mean return of the paths through it: that of the group at the start."""
    credit = algorithm.credit(batch)
    if isinstance(part := _tree_part(credit), str):
        yield part
        return
    returns, point = episode_returns(batch.reward, batch.episode, batch.t), _points(batch)
    silent = np.diff(batch.token_offsets) == 0 if credit.level == "token" else np.zeros(len(batch), np.bool_)
    std, eps = getattr(algorithm.config, "std", None), getattr(algorithm.config, "eps", 0.0)
    for rows in _in_order(batch):
        if silent[rows].any():
            continue  # no entry holds what such a row changed
        own = returns[(batch.group == batch.group[rows[0]]) & (batch.t == 0)]
        end = returns[batch.node == batch.node[rows[-1]]].mean()
        # Where paths stop and others go on, the value changes by no decision.
        stops = [
            returns[point == point[row]].mean() - returns[batch.node == batch.parent[row]].mean() for row in rows[1:]
        ]
        freedom = 1 if std == "sample" else 0
        divisor = 1.0 if std is None else eps + (own.std(ddof=freedom) if len(own) > freedom else 0.0)
        values = part[entries(batch, rows, credit.level)]
        expected = (end - own.mean() - sum(stops)) / divisor
        tolerance = (len(values) + 1) * 2.0**-22 * (np.abs(values).max() + np.abs(own).max() / divisor)
        if not abs(values.sum() - expected) <= tolerance:
            yield (
                f"along episode {batch.episode[rows[0]]} the value goes from {own.mean():.6g} to {end:.6g}, by "
                f"{sum(stops):.6g} of it where other paths stop; with the divisor {divisor:.6g} 'tree' should sum to "
                f"{expected:.6g}, but it sums to {values.sum():.6g}"
            )


def _of_forks(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """The value of a state is the column ``mc_value``, and ``mc_next_value`` that of the row behind."""
    value, after = batch.columns["mc_value"], batch.columns["mc_next_value"].copy()
    for rows in _in_order(batch):
        after[rows[:-1]] = value[rows[1:]]
    credit = algorithm.credit(batch.with_columns(mc_next_value=after))
    gamma = getattr(algorithm.config, "gamma", 1.0)
    for rows in _in_order(batch):
        discount = gamma ** np.arange(len(rows))
        last = rows[-1]
        end = 0.0 if batch.terminated[last] else gamma * discount[-1] * after[last]
        expected = (discount * batch.reward[rows]).sum() + end - value[rows[0]]
        got = (discount * credit.advantage[rows]).sum()
        tolerance = (len(rows) + 1) * 2.0**-22 * (1 + np.abs(batch.reward[rows]).max() + np.abs(value[rows]).max())
        if not abs(got - expected) <= tolerance:
            yield (
                f"along episode {batch.episode[last]} what was earned and is still to come less the value of its start "
                f"is {expected:.6g}, but the advantages sum to {got:.6g}"
            )


def branch_gate(algorithm: Algorithm[Any], batch: StepBatch) -> Iterator[str]:
    """Where no path of the group goes another way, the difference of value is literally 0."""
    batch = _legible(batch)
    credit = algorithm.credit(batch)
    if isinstance(part := _tree_part(credit), str):
        yield part
        return
    point = _points(batch)
    answers = [tuple(ids.tolist()) for ids in np.split(batch.token_ids, batch.token_offsets[1:-1])]
    for row in range(len(batch)):
        others = np.flatnonzero((point == point[row]) & (batch.node != batch.node[row]))
        at = entries(batch, np.array([row]), credit.level)
        gated = np.full(len(at), not others.size)
        if credit.level == "token":
            own = answers[row]
            ways = [
                {answers[other][j : j + 1] for other in others if answers[other][:j] == own[:j]}
                for j in range(len(own))
            ]
            gated = np.array([way <= {own[j : j + 1]} for j, way in enumerate(ways)], np.bool_)
        if (wrong := at[gated & (part[at] != 0)]).size:
            yield f"no other path leaves before entry {wrong[0]} of row {row}, but its 'tree' is {part[wrong[0]]:.6g}"
            return


VALUE_CHECKS: Mapping[str, Law] = {"telescoping": telescoping, "branch-gate": branch_gate}
"""Checks by name, in the order in which they are made."""
