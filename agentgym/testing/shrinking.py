"""Make a batch small while something stays wrong with it, and show it as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from agentgym.batch import Credit, StepBatch

__all__ = ["shrink", "table"]

Ints = npt.NDArray[np.int64]

_TRIES = 400
_ROWS = 40


def _without_rows(batch: StepBatch) -> Iterator[StepBatch]:
    """Yield the batch less a group, less an episode, less the last or first decision of one, for all that share it."""
    for column in (batch.group, batch.episode):
        for code in np.unique(column):
            if (rows := np.flatnonzero(column != code)).size:
                yield batch.take(rows)
    done = set()
    for episode in np.unique(batch.episode):
        inside = np.flatnonzero(batch.episode == episode)
        if len(inside) == 1:
            continue
        for t, without in ((len(inside) - 1, _without_last), (0, _without_first)):
            node = int(batch.node[inside[batch.t[inside] == t][0]])
            if (node, t) not in done:
                done.add((node, t))
                yield from without(batch, np.flatnonzero(batch.node == node))


def _without_last(batch: StepBatch, ends: Ints) -> Iterator[StepBatch]:
    """Yield the batch less a decision that ends its paths, if that leaves no other path that goes on from there."""
    paths = np.isin(batch.episode, batch.episode[ends])
    last = batch.t[ends[0]]
    before = np.flatnonzero(paths & (batch.t == last - 1))
    others = np.isin(batch.node, batch.node[before]) & ~paths
    if others.any() or batch.t[paths].max() > last:
        return
    flags = {name: getattr(batch, name).copy() for name in ("terminated", "truncated")}
    for column in flags.values():
        column[before] = column[ends[0]]
    yield replace(batch, **flags).take(np.setdiff1d(np.arange(len(batch)), ends))


def _without_first(batch: StepBatch, starts: Ints) -> Iterator[StepBatch]:
    """Yield the batch less a first decision, if none of its paths consists of it alone."""
    paths = np.isin(batch.episode, batch.episode[starts])
    seconds = paths & (batch.t == 1)
    if seconds.sum() < len(starts):
        return
    # The second step stays the start of its group: it takes the first one's place, not its state.
    moved = {name: getattr(batch, name).copy() for name in ("t", "anchor", "state")}
    moved["t"][paths] -= 1
    for name in ("anchor", "state"):
        moved[name][seconds] = moved[name][starts[0]]
    texts = batch.observations
    if texts is not None:
        texts = tuple(texts[starts[0]] if second else text for second, text in zip(seconds, texts, strict=True))
    yield replace(batch, **moved, observations=texts).take(np.setdiff1d(np.arange(len(batch)), starts))


def _simpler(batch: StepBatch) -> Iterator[StepBatch]:
    """Yield the batch in order, without its trees, with everything valid, and with rewards that are 0, or round."""
    order = np.lexsort((batch.t, batch.episode, batch.group))
    if np.any(order != np.arange(len(batch))):
        yield batch.take(order)
    if batch.tree_node is not None:
        yield replace(batch, tree_node=None)
    on = np.ones(len(batch), np.bool_)
    if not (batch.valid & batch.format_ok).all():
        yield replace(batch, valid=on, format_ok=on)
    tried: tuple[Callable[[float], float], ...] = (lambda _: 0.0, lambda r: float(round(r)))
    for row in np.sort(np.unique(batch.node, return_index=True)[1]):
        for simple in tried:
            if (value := simple(float(batch.reward[row]))) != batch.reward[row]:
                reward: npt.NDArray[np.float64] = batch.reward.copy()
                reward[batch.node == batch.node[row]] = value
                yield replace(batch, reward=reward, env_reward=reward)


def shrink(batch: StepBatch, breaks: Callable[[StepBatch], bool]) -> StepBatch:
    """Return a smaller batch for which ``breaks`` still holds, dropping groups, then episodes, then steps, greedily.

    Trees stay trees: a decision that paths share goes from all of them at once, and its reward changes on all.

    Args:
        batch: A batch for which ``breaks`` holds.
        breaks: Whether the fault shows; asked a few hundred times at most.
    """
    tries = 0
    for smaller in (_without_rows, _simpler):
        progress = True
        while progress and tries < _TRIES:
            progress = False
            for candidate in smaller(batch):
                tries += 1
                if breaks(candidate):
                    batch, progress = candidate, True
                    break
                if tries >= _TRIES:
                    break
    return batch


def _number(value: float) -> str:
    return f"{value:.6g}"


def table(batch: StepBatch, credit: Credit | None = None) -> str:
    """Return the batch as text, one line a row: its columns and what credit it got.

    Args:
        batch: Any batch; rows behind the fortieth are counted, not shown.
        credit: Its credit, shown behind the columns; of several tokens in a row, all.
    """
    lines = [["row", "group", "episode", "t", "anchor", "state", "reward", "end", "valid", "form", "won", "tokens"]]
    named = {} if batch.tree_node is None else {"node": batch.tree_node}
    added = {**named, **batch.columns}
    lines[0] += [*added, *([] if credit is None else ["credit"])]
    for row in range(min(len(batch), _ROWS)):
        end = "terminated" if batch.terminated[row] else "truncated" if batch.truncated[row] else ""
        start, stop = (int(offset) for offset in batch.token_offsets[row : row + 2])
        flags = ["yes" if column[row] else "no" for column in (batch.valid, batch.format_ok, batch.won)]
        codes = [str(column[row]) for column in (batch.group, batch.episode, batch.t, batch.anchor, batch.state)]
        line = [str(row), *codes, _number(batch.reward[row]), end, *flags, str(stop - start)]
        line += [_number(column[row]) for column in added.values()]
        if credit is not None:
            span = slice(row, row + 1) if credit.level == "row" else slice(start, stop)
            line.append(" ".join(_number(value) for value in credit.advantage[span].tolist()))
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    if len(batch) > _ROWS:
        text.append(f"... and {len(batch) - _ROWS} rows more")
    return "\n".join(text)
