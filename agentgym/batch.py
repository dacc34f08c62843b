"""The columns every algorithm reads, and the credit it answers with.

Letters: R rows (decisions), L response tokens, G groups, E episodes. Row columns are ``[R]``, token columns ``[L]``
with ``token_offsets`` ``[R + 1]``. Nothing is padded and row order carries no meaning: shuffling rows permutes the
answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from agentgym.episodes import Group, Step
from agentgym.errors import AlgorithmError

__all__ = ["Credit", "StepBatch", "encode"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def encode(values: Sequence[Any]) -> Ints:
    """Return dense codes 0, 1, ... by first appearance; ``None`` gets -1.

    >>> encode(["b", None, "a", "b"]).tolist()
    [0, -1, 1, 0]
    """
    codes: dict[Any, int] = {}
    return np.fromiter((-1 if v is None else codes.setdefault(v, len(codes)) for v in values), np.int64, len(values))


@dataclass(frozen=True, eq=False)
class StepBatch:
    """One row per decision, as NumPy columns.

    Attributes:
        group: Code of the group, int64 [R], at least 0.
        episode: Code of the episode, int64 [R], at least 0; an episode belongs to one group.
        t: Step index within the episode, int64 [R], from 0.
        anchor: Code of ``obs_hash``, int64 [R]; equal text, equal code, whatever the group.
        state: Code of ``state_hash``, int64 [R]; -1 where the world does not say.
        reward: Reward after shaping, float64 [R].
        env_reward: The environment's own reward, float64 [R].
        terminated: Whether the task ended at this row, bool [R].
        truncated: Whether a limit ended the episode at this row, bool [R].
        valid: Whether the environment understood the action, bool [R].
        format_ok: Whether the response had the asked-for form, bool [R].
        won: Whether this row's episode was won, bool [R].
        score: Final score of this row's episode in [0, 1], float64 [R].
        token_offsets: Row r owns tokens ``token_offsets[r]:token_offsets[r + 1]``, int64 [R + 1].
        token_ids: Response tokens, int64 [L].
        logprobs: Behaviour log-probabilities of the response tokens, float32 [L].
        observations: Text seen before the action, or None if dropped.
        actions: Text sent to the environment, or None if dropped.
        columns: Row columns a learner added (values, progress), each [R].
        token_columns: Token columns a learner added, each [L].
        tree_node: Where groups are trees and episodes their paths, the code of each row's decision, at least 0, which
            paths share up to where they fork, int64 [R]; None where every row is a decision of its own.
    """

    group: Ints
    episode: Ints
    t: Ints
    anchor: Ints
    state: Ints
    reward: Floats
    env_reward: Floats
    terminated: Bools
    truncated: Bools
    valid: Bools
    format_ok: Bools
    won: Bools
    score: Floats
    token_offsets: Ints
    token_ids: Ints
    logprobs: npt.NDArray[np.float32]
    observations: tuple[str, ...] | None = None
    actions: tuple[str, ...] | None = None
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    token_columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    tree_node: Ints | None = None

    def __post_init__(self) -> None:
        rows = len(self.group)
        if self.tree_node is not None and self.tree_node.shape != (rows,):
            raise AlgorithmError(f"'tree_node' has shape {self.tree_node.shape}, expected ({rows},) like 'group'")
        for item in fields(self):
            if item.name in _ROW_COLUMNS and (shape := np.shape(getattr(self, item.name))) != (rows,):
                raise AlgorithmError(f"column {item.name!r} has shape {shape}, expected ({rows},) like 'group'")
        if self.token_offsets.shape != (rows + 1,):
            raise AlgorithmError(f"'token_offsets' has shape {self.token_offsets.shape}, expected ({rows + 1},)")
        tokens = int(self.token_offsets[-1])
        if self.token_offsets[0] != 0 or np.any(np.diff(self.token_offsets) < 0):
            raise AlgorithmError("'token_offsets' must start at 0 and never fall")
        for name in ("token_ids", "logprobs"):
            if getattr(self, name).shape != (tokens,):
                raise AlgorithmError(f"{name!r} has shape {getattr(self, name).shape}, expected ({tokens},)")
        # Rows and tokens are kept apart by name: their numbers can be equal while a row holds none or several tokens.
        for kind, added, size in (("column", self.columns, rows), ("token column", self.token_columns, tokens)):
            for name, column in added.items():
                if column.shape != (size,):
                    raise AlgorithmError(f"{kind} {name!r} has shape {column.shape}, expected ({size},)")

    def __len__(self) -> int:
        return len(self.group)

    @cached_property
    def node(self) -> Ints:
        """Code of each row's decision, int64 [R]: equal on the rows of paths that share it, and on no others."""
        return np.arange(len(self)) if self.tree_node is None else self.tree_node

    @cached_property
    def parent(self) -> Ints:
        """Code of the decision before each row's on its path, int64 [R]; -1 on first rows. Needs whole episodes."""
        parent = np.full(len(self), -1, np.int64)
        order = np.lexsort((self.t, self.episode))
        after = order[1:][self.t[order[1:]] > 0]
        parent[after] = self.node[order[:-1][self.t[order[1:]] > 0]]
        return parent

    @cached_property
    def branch(self) -> Ints:
        """Number of each row's decision among those its group took from the same point, int64 [R], from 0.

        The point is the decision before it, or the group's start; decisions are numbered in the order of their codes.
        Needs whole episodes.
        """
        _, first, place = np.unique(self.node, return_index=True, return_inverse=True)
        # First decisions have no parent: those of one group share its start, below every node.
        point = np.where(self.parent[first] < 0, -1 - self.group[first], self.parent[first])
        order = np.argsort(point, kind="stable")
        starts = np.flatnonzero(np.diff(point[order], prepend=point[order][:1] - 1))
        number = np.empty(len(first), np.int64)
        number[order] = np.arange(len(first)) - np.repeat(starts, np.diff(starts, append=len(first)))
        return number[place]

    @classmethod
    def from_groups(cls, groups: Iterable[Group]) -> Self:
        """Build the columns of recorded groups; rows run by group, then episode, then step."""
        members = [(g, e) for g, group in enumerate(groups) for e in group.episodes]
        rows = [(g, i, t, e, s) for i, (g, e) in enumerate(members) for t, s in enumerate(e.steps)]
        steps: list[Step] = [row[4] for row in rows]
        lengths = np.array([len(s.response_ids or ()) for s in steps], np.int64)
        return cls(
            group=np.array([row[0] for row in rows], np.int64),
            episode=np.array([row[1] for row in rows], np.int64),
            t=np.array([row[2] for row in rows], np.int64),
            anchor=encode([s.obs_hash for s in steps]),
            state=encode([s.state_hash for s in steps]),
            reward=np.array([s.shaped_reward for s in steps], np.float64),
            env_reward=np.array([s.reward for s in steps], np.float64),
            terminated=np.array([s.terminated for s in steps], np.bool_),
            truncated=np.array([s.truncated for s in steps], np.bool_),
            valid=np.array([s.valid for s in steps], np.bool_),
            format_ok=np.array([s.format_ok for s in steps], np.bool_),
            won=np.array([row[3].won for row in rows], np.bool_),
            score=np.array([row[3].score for row in rows], np.float64),
            token_offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            token_ids=np.array([i for s in steps for i in s.response_ids or ()], np.int64),
            logprobs=np.array([p for s in steps for p in s.logprobs or ()], np.float32),
            observations=tuple(s.observation for s in steps),
            actions=tuple(s.action for s in steps),
            tree_node=_tree_nodes([row[0] for row in rows], steps),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> Self:
        """Return the batch of the given rows, in the given order; codes keep their values."""
        starts, ends = self.token_offsets[:-1][rows], self.token_offsets[1:][rows]
        lengths = ends - starts
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        tokens = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        picked: dict[str, Any] = {name: getattr(self, name)[rows] for name in _ROW_COLUMNS}
        return replace(
            self,
            **picked,
            token_offsets=offsets,
            token_ids=self.token_ids[tokens],
            logprobs=self.logprobs[tokens],
            observations=None if self.observations is None else tuple(self.observations[i] for i in rows),
            actions=None if self.actions is None else tuple(self.actions[i] for i in rows),
            columns={name: column[rows] for name, column in self.columns.items()},
            token_columns={name: column[tokens] for name, column in self.token_columns.items()},
            tree_node=None if self.tree_node is None else self.tree_node[rows],
        )

    def with_columns(self, **columns: npt.NDArray[Any]) -> Self:
        """Return this batch with row columns [R] that a learner computed."""
        return replace(self, columns={**self.columns, **columns})

    def with_token_columns(self, **columns: npt.NDArray[Any]) -> Self:
        """Return this batch with token columns [L] that a learner computed."""
        return replace(self, token_columns={**self.token_columns, **columns})


def _tree_nodes(group: Sequence[int], steps: Sequence[Step]) -> Ints | None:
    """Return the codes of the decisions of groups that are trees, or None where none is."""
    if all(step.node is None for step in steps):
        return None
    # A step outside a tree is a decision of its own, whatever its neighbours are.
    owned = zip(group, steps, strict=True)
    return encode([(-1, row) if s.node is None else (g, s.node) for row, (g, s) in enumerate(owned)])


_ROW_COLUMNS = frozenset(
    (
        *("group", "episode", "t", "anchor", "state", "reward", "env_reward"),
        *("terminated", "truncated", "valid", "format_ok", "won", "score"),
    )
)


@dataclass(frozen=True, eq=False)
class Credit:
    """What an algorithm answers.

    Attributes:
        advantage: float32 [R] in level "row", [L] in level "token".
        components: Named parts (episode, step, bonus, ...) of the same shape that sum to ``advantage``.
        diagnostics: Named scalars, such as the share of lone anchors.
        level: What one value belongs to: a decision, or a response token. Stated, not told from the shape: the
            numbers of rows and tokens can be equal.
        returns: What a critic's values should become, of the shape of ``advantage``; None without a critic.
        macro: Code of the macro action, a run of tokens of one row, that each token belongs to, int64 [L], for losses
            that compare macro actions; in level "token" only. None where tokens stand alone.

    Raises:
        AlgorithmError: If the level is unknown, a component, ``returns`` or ``macro`` has another shape than
            ``advantage``, or there are macro actions in level "row".
    """

    advantage: npt.NDArray[np.float32]
    components: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    level: Literal["row", "token"] = "row"
    returns: npt.NDArray[np.float32] | None = None
    macro: Ints | None = None

    def __post_init__(self) -> None:
        if self.level not in ("row", "token"):
            raise AlgorithmError(f"credit has level {self.level!r}; the levels are 'row' and 'token'")
        if self.macro is not None and self.level != "token":
            raise AlgorithmError("macro actions are runs of tokens; credit that has 'macro' needs level 'token'")
        parts: dict[str, npt.NDArray[Any]] = {f"component {name!r}": part for name, part in self.components.items()}
        parts |= {f"'{name}'": part for name in ("returns", "macro") if (part := getattr(self, name)) is not None}
        for name, part in parts.items():
            if part.shape != self.advantage.shape:
                raise AlgorithmError(f"{name} has shape {part.shape}, expected {self.advantage.shape} like 'advantage'")

    def per_token(self, batch: StepBatch) -> npt.NDArray[np.float32]:
        """Return the advantage of every response token, [L]; row-level credit is repeated over its tokens.

        Raises:
            AlgorithmError: If the credit does not have one value for each row, or token, of ``batch``.
        """
        rows, tokens = len(batch), int(batch.token_offsets[-1])
        if self.advantage.shape != ((rows,) if self.level == "row" else (tokens,)):
            raise AlgorithmError(
                f"{self.level}-level credit has shape {self.advantage.shape}; this batch has {rows} rows and "
                f"{tokens} response tokens"
            )
        return self.advantage if self.level == "token" else np.repeat(self.advantage, np.diff(batch.token_offsets))
