"""Recorded rollouts, scored by several methods side by side: who gives credit where, and do they agree?

Definitions, all over rows (decisions) and all ours:
    signal           a row has one where |A| > ``TOLERANCE``.
    sign agreement   of two methods: share of equal signs among the rows where both have a signal.
    rank correlation of two methods: Spearman's ρ over all rows; ties share their mean rank.
    near-identical   two rows of one group and of different episodes with the same observation and the same action; at
                     a ``similarity`` below 1, with similar observations and similar actions, as GiGPO finds similar
                     anchors.
    conflict rate    share of near-identical pairs whose credit has opposite signs. "Before" is that of GRPO with its
                     default settings, which gives every row of an episode the same credit.
Credit of token-level methods is the mean over the row's tokens here; a row without tokens has 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agentgym.algos.base import Algorithm
from agentgym.algos.functional.returns import episode_returns
from agentgym.algos.gigpo import anchor_codes
from agentgym.algos.grpo import GRPO
from agentgym.batch import Credit, StepBatch
from agentgym.episodes import Group
from agentgym.errors import AgentGymError, AlgorithmError, ConfigError, missing_extra

__all__ = ["TOLERANCE", "CreditReplay", "MethodCredit", "near_identical", "replay_credit"]

TOLERANCE = 1e-6
"""Credit of at most this size counts as none."""

_OFTEN = 0.5  # a share above this is worth a warning

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MethodCredit:
    """What one method gave.

    Attributes:
        advantage: Credit of each row, float32 [R].
        components: Its named parts, each float32 [R].
        signal: Share of rows with a signal, in [0, 1].
        conflict: Conflict rate in [0, 1]; None where there are no near-identical pairs.
    """

    advantage: npt.NDArray[np.float32]
    components: Mapping[str, npt.NDArray[np.float32]]
    signal: float
    conflict: float | None


@dataclass(frozen=True, eq=False)
class CreditReplay:
    """Recorded rollouts and the credit that every method gives them.

    Attributes:
        groups: What was scored.
        methods: Credit by name, in the order asked for.
        left_out: Methods that cannot score this recording, with the reason.
        sign_agreement: float64 [M, M] in the order of ``methods``; NaN where two methods share no row with a signal.
        rank_correlation: float64 [M, M]; NaN where a method gives all rows the same.
        pairs: Number of near-identical pairs.
        conflict_before: Conflict rate of GRPO; None without pairs.
        health: Named shares in [0, 1] that say how much the recording can tell.
        warnings: What is worth knowing before the credit is trusted.
    """

    groups: tuple[Group, ...]
    methods: Mapping[str, MethodCredit]
    left_out: Mapping[str, str]
    sign_agreement: Floats
    rank_correlation: Floats
    pairs: int
    conflict_before: float | None
    health: Mapping[str, float]
    warnings: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping per row: what it is, then ``<method>`` and ``<method>/<component>`` for its credit."""
        found = [
            {
                **{"group_index": index, "group": group.id, "task_id": episode.task_id},
                **{"episode": episode.index, "t": t},
                **{"observation": step.observation, "action": step.action},
                **{"obs_hash": step.obs_hash, "state_hash": step.state_hash},
                **{"reward": step.shaped_reward, "won": episode.won},
            }
            for index, group in enumerate(self.groups)
            for episode in group.episodes
            for t, step in enumerate(episode.steps)
        ]
        for name, method in self.methods.items():
            columns = {name: method.advantage, **{f"{name}/{part}": c for part, c in method.components.items()}}
            for column, values in columns.items():
                for row, value in zip(found, values.tolist(), strict=True):
                    row[column] = value
        return found

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write ``rows()`` to a ``.parquet`` or ``.jsonl`` file.

        Raises:
            ConfigError: If the suffix is another.
            MissingExtraError: If Parquet is asked for and pyarrow is absent.
        """
        target = Path(path)
        if target.suffix not in (".parquet", ".jsonl"):
            raise ConfigError(f"credit is written to .parquet or .jsonl, not to {str(target)!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".jsonl":
            target.write_text("".join(json.dumps(row) + "\n" for row in self.rows()), encoding="ascii")
            return
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise missing_extra("pyarrow", "data", "writing Parquet") from error
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(self.rows()), target, compression="zstd")


def replay_credit(
    groups: Sequence[Group], algorithms: Mapping[str, Algorithm[Any]], *, similarity: float = 1.0
) -> CreditReplay:
    """Score recorded groups by every method.

    A method that cannot score the recording, for want of a column that a learner adds, of tokens or of a package, is
    left out with the reason; the others go on.

    Args:
        groups: Whole groups, with at least one step in all.
        algorithms: Methods by the name they shall have in the answer.
        similarity: From which share of matching characters on observations, and actions, are near-identical, in
            (0, 1]; 1 asks for equal ones.

    Raises:
        ConfigError: If ``similarity`` is out of range.
        AlgorithmError: If no step was recorded.
    """
    if not 0 < similarity <= 1:
        raise ConfigError(f"similarity is {similarity}; it must be above 0 and at most 1")
    groups = tuple(groups)
    batch = StepBatch.from_groups(groups)
    if not len(batch):
        raise AlgorithmError(f"there is no step to score in {len(groups)} recorded groups")
    alike = near_identical(batch, similarity)
    pairs = int(_pairs(batch, alike, np.ones(len(batch), np.bool_), np.ones(len(batch), np.bool_)) // 2)
    methods: dict[str, MethodCredit] = {}
    left_out: dict[str, str] = {}
    for name, algorithm in algorithms.items():
        try:
            credit = _row_credit(algorithm, batch)
        except (AgentGymError, ImportError, OSError) as error:
            left_out[name] = " ".join(str(error).split())
            continue
        signal = float(np.mean(np.abs(credit.advantage) > TOLERANCE))
        methods[name] = MethodCredit(
            credit.advantage, credit.components, signal, _conflict(batch, alike, credit.advantage)
        )
    values = [method.advantage.astype(np.float64) for method in methods.values()]
    health = _health(batch)
    return CreditReplay(
        groups=groups,
        methods=methods,
        left_out=left_out,
        sign_agreement=_sign_agreement(values),
        rank_correlation=_rank_correlation(values),
        pairs=pairs,
        conflict_before=_conflict(batch, alike, GRPO().credit(batch).advantage),
        health=health,
        warnings=_warnings(health, methods, left_out),
    )


def near_identical(batch: StepBatch, similarity: float = 1.0) -> Ints:
    """Return codes, [R]: rows of a group with equal codes saw the same and did the same.

    Args:
        batch: Whole groups, with their texts.
        similarity: From which share of matching characters on texts are the same, in (0, 1].
    """
    if batch.actions is None:
        raise AlgorithmError("near-identical steps have the same action, but this batch dropped its texts")
    if similarity == 1.0:
        seen, done = batch.anchor, np.unique(np.array(batch.actions, dtype=object), return_inverse=True)[1]
    else:
        seen = anchor_codes(batch, "similar", similarity)
        done = anchor_codes(replace(batch, observations=batch.actions), "similar", similarity)
    return np.unique(np.stack([batch.group, seen, done]), axis=1, return_inverse=True)[1].reshape(-1)


def _row_credit(algorithm: Algorithm[Any], batch: StepBatch) -> Credit:
    """Return the credit of each row; raise an error that names what the recording lacks."""
    for name, column in algorithm.columns.items():
        recorded = name == "logprob" and len(batch.logprobs) > 0
        if name not in (batch.columns if column.level == "row" else batch.token_columns) and not recorded:
            raise AlgorithmError(f"needs the column {name!r} ({column.about}), which a recording does not have")
    credit = algorithm.credit(batch)
    if credit.level == "token":
        if not batch.token_offsets[-1]:
            raise AlgorithmError("gives credit to tokens, and this recording has none")
        parts = {name: _row_means(part, batch) for name, part in credit.components.items()}
        credit = Credit(_row_means(credit.advantage, batch), parts, credit.diagnostics)
    if not np.isfinite(credit.advantage).all():
        raise AlgorithmError("gives credit that is not finite here")
    return credit


def _row_means(values: npt.NDArray[np.float32], batch: StepBatch) -> npt.NDArray[np.float32]:
    lengths = np.diff(batch.token_offsets)
    row = np.repeat(np.arange(len(batch)), lengths)
    sums = np.bincount(row, values.astype(np.float64), len(batch))
    return (sums / np.maximum(lengths, 1)).astype(np.float32)


def _pairs(batch: StepBatch, alike: Ints, one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return how many ordered pairs of alike rows of different episodes have ``one`` first and ``other`` second."""
    cell = alike * (batch.episode.max() + 1) + batch.episode  # alike rows of one episode
    total = 0.0
    for code, sign in ((alike, 1.0), (np.unique(cell, return_inverse=True)[1], -1.0)):
        total += sign * float(np.bincount(code, one) @ np.bincount(code, other))
    return total


def _conflict(batch: StepBatch, alike: Ints, advantage: npt.NDArray[np.float32]) -> float | None:
    everything = np.ones(len(batch), np.bool_)
    pairs = _pairs(batch, alike, everything, everything) / 2
    return _pairs(batch, alike, advantage > TOLERANCE, advantage < -TOLERANCE) / pairs if pairs else None


def _sign_agreement(values: Sequence[Floats]) -> Floats:
    signs = [np.where(np.abs(v) > TOLERANCE, np.sign(v), 0) for v in values]
    found = np.full((len(signs), len(signs)), np.nan)
    for i, a in enumerate(signs):
        for j, b in enumerate(signs):
            if (both := (a != 0) & (b != 0)).any():
                found[i, j] = np.mean(a[both] == b[both])
    return found


def _rank_correlation(values: Sequence[Floats]) -> Floats:
    found = np.full((len(values), len(values)), np.nan)
    ranks = [_ranks(v) for v in values]
    ranks = [r - r.mean() for r in ranks]
    for i, a in enumerate(ranks):
        for j, b in enumerate(ranks):
            if (scale := np.sqrt((a @ a) * (b @ b))) > 0:
                found[i, j] = np.clip(a @ b / scale, -1.0, 1.0)
    return found


def _ranks(values: Floats) -> Floats:
    _, code, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[code.reshape(-1)]


def _health(batch: StepBatch) -> dict[str, float]:
    """Return shares that say how much the recording can tell, whatever the method."""
    place = np.unique(np.stack([batch.group, batch.anchor]), axis=1, return_inverse=True)[1].reshape(-1)
    _, first, group = np.unique(batch.group, return_index=True, return_inverse=True)
    _, one_each = np.unique(batch.episode, return_index=True)
    returns = episode_returns(batch.reward, batch.episode, batch.t)[one_each]
    low, high = np.full(len(first), np.inf), np.full(len(first), -np.inf)
    np.minimum.at(low, group[one_each], returns)
    np.maximum.at(high, group[one_each], returns)
    sizes = np.bincount(group[one_each], minlength=len(first))
    health = {
        "lone_anchor_share": float(np.mean(np.bincount(place)[place] == 1)),
        "zero_variance_group_share": float(np.mean((low == high) & (sizes > 1))),
        "single_episode_group_share": float(np.mean(sizes == 1)),
    }
    if (batch.state >= 0).all():
        states = np.unique(np.stack([place, batch.state]), axis=1)[0]
        health["aliased_anchor_share"] = float(np.mean(np.bincount(states)[place] > 1))
    return health


def _warnings(
    health: Mapping[str, float], methods: Mapping[str, MethodCredit], left_out: Mapping[str, str]
) -> tuple[str, ...]:
    found = [f"{name} is left out: {reason}" for name, reason in left_out.items()]
    if share := health["single_episode_group_share"]:
        found.append(f"{share:.0%} of groups have one episode, which nothing can be compared with")
    if share := health["zero_variance_group_share"]:
        found.append(
            f"{share:.0%} of groups have episodes of equal return: whoever compares episodes gives nothing there"
        )
    if (share := health["lone_anchor_share"]) > _OFTEN:
        found.append(f"{share:.0%} of steps are alone in their anchor: step-level credit has nothing to compare there")
    if share := health.get("aliased_anchor_share", 0.0):
        found.append(
            f"{share:.0%} of steps stand in an anchor that mixes true states; gigpo:anchor=state tells them apart"
        )
    for name, method in methods.items():
        if method.signal < 1 - _OFTEN:
            found.append(f"{name} gives {1 - method.signal:.0%} of steps no credit at all")
    return tuple(found)
