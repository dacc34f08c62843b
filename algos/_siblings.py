"""Failed episodes beside a successful sibling: which one, which of their steps are alike, and what that earns.

Letters beside those of the batch: F failed episodes of groups that have a success too, N their steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from agentgym.algos.functional.matching import (
    Keep,
    Pairs,
    best_positions,
    greedy_matching,
    optimal_matching,
    soft_credit,
)
from agentgym.algos.matchers import Matcher
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError
from agentgym.identity import text_hash

__all__ = ["Matches", "Order", "Reference", "Scope", "Text", "match", "match_bonus"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Reference = Literal["longest", "shortest", "best", "random"]
Text = Literal["observation+action", "observation", "action"]
Order = Literal["similarity", "optimal", "length", "chronological"]
Scope = Literal["episode", "group"]

# Pairs of steps worked on at once: few enough for the fast memory of a processor core.
_PAIRS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class Matches:
    """Failed steps, the positions of their references, and the similarity of each pair of different texts.

    The similarity of step n with position j of its reference is ``scores[cell[n] + columns[group][j]]``. Each group
    also has a blank row and column of similarity 0, for padding and for steps that may not be matched.

    Attributes:
        rows: Row of each failed step in the batch, by episode and step, [N].
        starts: Where each failed episode begins, [F].
        lengths: Number of its steps, [F].
        group: Its group as a number from 0; episodes of one group stand together, [F].
        rank: Order of the episodes' contents, equal for equal texts, [F].
        cell: Where the scores of each failed step begin, [N].
        text_rank: Order of the hashes of the steps' texts, [N].
        response_length: Number of response tokens of each failed step, [N].
        columns: Column of each position of each group's reference, one array a group.
        blank: Blank row and column of each group, [groups, 2].
        scores: Similarities, in [0, 1].
        reward: What the success of the reference earns, as a share of a won episode: 1, or its score; 0 on rows without
            a reference, [R].
        twins: Number of episodes of the group alike to the last text that share the bonus of this one, at least 1, [F].
        copies: Rows of such twins, which are not among the F, and the rows whose bonus they have; [C] both.
    """

    rows: Ints
    starts: Ints
    lengths: Ints
    group: Ints
    rank: Ints
    cell: Ints
    text_rank: Ints
    response_length: Ints
    columns: Sequence[Ints]
    blank: Ints
    scores: Floats
    reward: Floats
    twins: Ints
    copies: tuple[Ints, Ints]


@dataclass(frozen=True, eq=False)
class _Steps:
    """The texts of the steps that may be compared.

    Attributes:
        texts: Different texts.
        hashes: Their hashes.
        code: Number of each row's text, -1 where nothing is compared, [R].
        response_length: Number of response tokens, [R].
        eligible: Whether a failed step may be matched, [R].
    """

    texts: list[str]
    hashes: list[str]
    code: Ints
    response_length: Ints
    eligible: Bools

    def content(self, rows: Ints) -> str:
        """Return one hash of all that matching an episode depends on."""
        words = [self.hashes[c] for c in self.code[rows].tolist()]
        return text_hash(f"{words} {self.response_length[rows].tolist()} {self.eligible[rows].tolist()}")


@dataclass(frozen=True, eq=False)
class _Group:
    """The part of ``Matches`` that one group gives; ``contents`` are the hashes of its failed episodes."""

    episodes: list[Ints]
    contents: list[str]
    twins: list[int]
    copies: list[tuple[Ints, Ints]]
    cell: Ints
    column: Ints
    table: Floats


def _read(batch: StepBatch, rows: Ints, text: Text, require_valid: bool) -> _Steps:
    observations, actions = batch.observations, batch.actions
    if not len(rows):
        observations = actions = ()
    if observations is None or actions is None:
        raise AlgorithmError("SCPO compares observations and actions, but this batch dropped its texts")
    number: dict[str, int] = {}
    code = np.full(len(batch), -1)
    for row in rows.tolist():
        # A matcher may take the last line for the action, so it always has a line of its own.
        seen = "" if text == "action" else observations[row]
        done = "" if text == "observation" else actions[row]
        code[row] = number.setdefault(f"{seen}\n{done}", len(number))
    eligible = (batch.valid & batch.format_ok) if require_valid else np.ones(len(batch), np.bool_)
    return _Steps(list(number), [text_hash(t) for t in number], code, np.diff(batch.token_offsets), eligible)


def _preference(batch: StepBatch, steps: _Steps, rows: Ints, reference: Reference, seed: int) -> tuple[object, ...]:
    """Return what the reference of a group has most of."""
    content, score = steps.content(rows), (bool(batch.won[rows[0]]), float(batch.score[rows[0]]))
    if reference == "random":
        return text_hash(f"{seed} {content}"), score
    if reference == "best":
        return *score, len(rows), content
    return len(rows) if reference == "longest" else -len(rows), *score, content


def _score(steps: _Steps, failed: Ints, reference: Ints, matcher: Matcher) -> tuple[Ints, Ints, Floats]:
    """Return the cell of each failed step, the column of each position, and the scores with a blank row and column."""
    left, cell = np.unique(steps.code[failed], return_inverse=True)
    right, column = np.unique(steps.code[reference], return_inverse=True)
    # Sorted, so that not even the batches of a model depend on the order of the rows.
    orders = [np.array(sorted(range(len(c)), key=lambda k: steps.hashes[c[k]]), np.int64) for c in (left, right)]
    scores = np.asarray(
        matcher(*([steps.texts[c] for c in codes[o]] for codes, o in zip((left, right), orders, strict=True)))
    )
    if scores.shape != (len(left), len(right)) or not bool(np.all((scores >= 0) & (scores <= 1))):
        raise AlgorithmError(
            f"the matcher answered with shape {scores.shape} and values from {scores.min(initial=0)} to "
            f"{scores.max(initial=0)}; expected ({len(left)}, {len(right)}) and values in [0, 1]"
        )
    table = np.zeros((len(left) + 1, len(right) + 1))
    table[np.ix_(*orders)] = scores
    return np.where(steps.eligible[failed], cell, len(left)) * (len(right) + 1), column, table


def _group(steps: _Steps, failed: list[Ints], chosen: Ints, matcher: Matcher, scope: Scope) -> _Group:
    contents = [steps.content(rows) for rows in failed]
    twins = [1] * len(failed)
    copies: list[tuple[Ints, Ints]] = []
    if scope == "group":
        first: dict[str, Ints] = {}
        copies = [
            (rows, first[c]) for c, rows in zip(contents, failed, strict=True) if first.setdefault(c, rows) is not rows
        ]
        twins = [contents.count(content) for content in first]
        contents, failed = list(first), list(first.values())
    return _Group(failed, contents, twins, copies, *_score(steps, np.concatenate(failed), chosen, matcher))


def _mixed(batch: StepBatch, success: Bools) -> list[tuple[list[Ints], list[Ints]]]:
    """Return the rows of the failed and of the successful episodes, in order, of each group that has both."""
    order = np.lexsort((batch.t, batch.episode))
    begins = np.flatnonzero(np.diff(batch.episode[order], prepend=-1))
    sides: dict[int, tuple[list[Ints], list[Ints]]] = {}
    for rows in np.split(order, begins[1:]) if len(order) else []:
        sides.setdefault(int(batch.group[rows[0]]), ([], []))[int(success[rows[0]])].append(rows)
    return [(losers, winners) for losers, winners in sides.values() if losers and winners]


def match(
    batch: StepBatch,
    success: Bools,
    matcher: Matcher,
    *,
    text: Text,
    reference: Reference,
    seed: int,
    scope: Scope,
    require_valid: bool,
) -> Matches:
    """Return the failed steps of every group beside those of its reference.

    Args:
        batch: Whole groups.
        success: Whether each row's episode succeeded, [R].
        matcher: Scores pairs of texts.
        text: What of a step is compared.
        reference: Which successful episode of a group is the reference. Ties go to the won episode, then to the better
            score, then to the greater hash of all its texts.
        seed: Part of what "random" hashes.
        scope: "group" counts episodes alike to the last text once.
        require_valid: Whether steps with an invalid or malformed action match nothing.

    Raises:
        AlgorithmError: If a group has successes and failures but the batch no texts, or the matcher's answer is no
            matrix of values in [0, 1].
    """
    mixed = _mixed(batch, success)
    parts: list[_Group] = []
    reward = np.zeros(len(batch))
    steps = _read(batch, _joined([rows for pair in mixed for side in pair for rows in side]), text, require_valid)
    for losers, winners in mixed:
        chosen = max(winners, key=lambda rows: _preference(batch, steps, rows, reference, seed))
        reward[np.concatenate(losers)] = 1.0 if batch.won[chosen[0]] else batch.score[chosen[0]]
        parts.append(_group(steps, losers, chosen, matcher, scope))
    rows = _joined([rows for part in parts for rows in part.episodes])
    lengths = np.array([len(rows) for part in parts for rows in part.episodes], np.int64)
    offsets = np.cumsum([0, *(part.table.size for part in parts)])
    copies = [pair for part in parts for pair in part.copies]
    return Matches(
        rows=rows,
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        group=np.repeat(np.arange(len(parts)), [len(part.episodes) for part in parts]),
        rank=_ranks([content for part in parts for content in part.contents]),
        cell=_joined([part.cell + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        text_rank=_ranks(steps.hashes)[steps.code[rows]],
        response_length=np.diff(batch.token_offsets)[rows],
        columns=[part.column for part in parts],
        blank=np.array(
            [(o + p.table.size - p.table.shape[1], p.table.shape[1] - 1) for p, o in zip(parts, offsets, strict=False)],
            np.int64,
        ).reshape(-1, 2),
        scores=np.concatenate([np.zeros(0), *(part.table.ravel() for part in parts)]),
        reward=reward,
        twins=np.array([n for part in parts for n in part.twins], np.int64),
        copies=(_joined([to for to, _ in copies]), _joined([source for _, source in copies])),
    )


def _joined(parts: Sequence[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _ranks(names: Sequence[str]) -> Ints:
    place = {name: k for k, name in enumerate(sorted(set(names)))}
    return np.array([place[name] for name in names], np.int64)


def match_bonus(
    matches: Matches,
    *,
    threshold: float,
    order: Order,
    monotone: bool,
    retry: bool,
    scope: Scope,
    max_total: float | None,
) -> Floats:
    """Return r of every row of the batch, in [0, 1]; 0 on rows that are not matched.

    Args:
        matches: Failed steps beside those of their reference.
        threshold: λ, in [0, 1).
        order: How positions are allotted; "optimal" for the greatest total.
        monotone: Whether matches only go further along the reference.
        retry: Whether a step whose best position is not allowed gets another.
        scope: Whether positions are allotted within an episode or a group.
        max_total: Most that r adds up to in an episode.

    Returns:
        r, [R].
    """
    result = np.zeros(len(matches.reward))
    keep: Keep = "nothing" if not monotone else "order" if order == "similarity" else "mark"
    for episodes in _chunks(matches):
        pairs, at = _padded(matches, episodes, threshold)
        if order == "optimal":
            matched = optimal_matching(pairs)
        else:
            best = best_positions(pairs)
            visits = _visits(matches, episodes, at, best, order)
            pool = episodes if scope == "episode" else matches.group[episodes]
            matched = greedy_matching(pairs, best, visits, pool, keep=keep, retry=retry)
        step, episode = np.nonzero(matched >= 0)
        credit = np.zeros(matched.shape)
        cell = pairs.rows[step, episode] + pairs.columns[episode, matched[step, episode]]
        credit[step, episode] = soft_credit(matches.scores[cell], threshold) / matches.twins[episodes[episode]]
        if max_total is not None:
            credit *= np.minimum(1.0, max_total / np.maximum(credit.sum(axis=0), max_total))
        result[matches.rows[at[step, episode]]] = credit[step, episode]
    to, source = matches.copies
    result[to] = result[source]
    return result


def _chunks(matches: Matches) -> Iterator[Ints]:
    """Yield the failed episodes of some groups at a time, groups of like size together, so that little is padded."""
    sizes = np.bincount(matches.group, minlength=len(matches.columns))
    ends = np.cumsum(sizes)
    longest = np.maximum.reduceat(matches.lengths, ends - sizes) if len(sizes) else sizes
    positions = np.array([len(column) for column in matches.columns], np.int64)
    chunk: list[Ints] = []
    episodes = steps = width = 0
    for g in np.argsort(longest * positions, kind="stable").tolist():
        steps, width = max(steps, int(longest[g])), max(width, int(positions[g]))
        if chunk and (episodes + sizes[g]) * steps * width > _PAIRS_AT_ONCE:
            yield np.concatenate(chunk)
            chunk, episodes, steps, width = [], 0, int(longest[g]), int(positions[g])
        chunk.append(np.arange(ends[g] - sizes[g], ends[g]))
        episodes += int(sizes[g])
    if chunk:
        yield np.concatenate(chunk)


def _padded(matches: Matches, episodes: Ints, threshold: float) -> tuple[Pairs, Ints]:
    """Return the credits of some episodes, and where each of their steps is among the N, -1 for padding, [I, F]."""
    lengths, groups = matches.lengths[episodes], matches.group[episodes]
    step = np.arange(lengths.max())[:, None]
    at = np.where(step < lengths, matches.starts[episodes] + step, -1)
    rows = np.where(at >= 0, matches.cell[at], matches.blank[groups, 0])
    present, inverse = np.unique(groups, return_inverse=True)
    columns = np.tile(matches.blank[present, 1][:, None], max(len(matches.columns[g]) for g in present))
    for k, g in enumerate(present.tolist()):
        columns[k, : len(matches.columns[g])] = matches.columns[g]
    return Pairs(matches.scores, rows, columns[inverse], threshold), at


def _visits(matches: Matches, episodes: Ints, at: Ints, best: tuple[Floats, Ints], order: Order) -> Ints:
    """Return when each step is visited, smaller first, [I, F]; whatever ties is equal in content."""
    credit, position = best
    step = np.broadcast_to(np.arange(len(at))[:, None], at.shape)
    keys: tuple[Ints | Floats, ...]
    if order == "similarity":
        keys = (-credit, -position, matches.text_rank[at], step)
    elif order == "length":
        keys = (-matches.response_length[at], step)
    else:
        keys = (step,)
    content = np.broadcast_to(matches.rank[episodes], at.shape)
    visits = np.empty(at.size, np.int64)
    visits[np.lexsort([key.ravel() for key in (content, *keys[::-1])])] = np.arange(at.size)
    return visits.reshape(at.shape)
