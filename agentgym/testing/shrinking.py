"""Make a batch small while something stays wrong with it, and show it as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from agentgym.batch import Credit, StepBatch

__all__ = ["shrink", "table"]

_TRIES = 400
_ROWS = 40


def _without_rows(batch: StepBatch) -> Iterator[StepBatch]:
    """Yield the batch less a group, less an episode, less the last or first step of an episode."""
    for column in (batch.group, batch.episode):
        for code in np.unique(column):
            if (rows := np.flatnonzero(column != code)).size:
                yield batch.take(rows)
    for episode in np.unique(batch.episode):
        inside = batch.episode == episode
        if (last := int(batch.t[inside].max())) == 0:
            continue
        end, before = (np.flatnonzero(inside & (batch.t == t))[0] for t in (last, last - 1))
        flags = {name: getattr(batch, name).copy() for name in ("terminated", "truncated")}
        for column in flags.values():
            column[before] = column[end]
        ended = replace(batch, **flags)
        yield ended.take(np.flatnonzero(~(inside & (batch.t == last))))
        # The second step stays the start of its group: it takes the first one's place, not its state.
        start, second = (np.flatnonzero(inside & (batch.t == t))[0] for t in (0, 1))
        moved = {name: getattr(batch, name).copy() for name in ("t", "anchor", "state")}
        moved["t"][inside] -= 1
        for name in ("anchor", "state"):
            moved[name][second] = moved[name][start]
        texts = batch.observations
        if texts is not None:
            texts = tuple(texts[start] if row == second else text for row, text in enumerate(texts))
        yield replace(batch, **moved, observations=texts).take(np.flatnonzero(np.arange(len(batch)) != start))


def _simpler(batch: StepBatch) -> Iterator[StepBatch]:
    """Yield the batch in order, with everything valid, and with rewards that are 0, or round."""
    order = np.lexsort((batch.t, batch.episode, batch.group))
    if np.any(order != np.arange(len(batch))):
        yield batch.take(order)
    on = np.ones(len(batch), np.bool_)
    if not (batch.valid & batch.format_ok).all():
        yield replace(batch, valid=on, format_ok=on)
    tried: tuple[Callable[[float], float], ...] = (lambda _: 0.0, lambda r: float(round(r)))
    for row in range(len(batch)):
        for simple in tried:
            if (value := simple(float(batch.reward[row]))) != batch.reward[row]:
                reward: npt.NDArray[np.float64] = batch.reward.copy()
                reward[row] = value
                yield replace(batch, reward=reward, env_reward=reward)


def shrink(batch: StepBatch, breaks: Callable[[StepBatch], bool]) -> StepBatch:
    """Return a smaller batch for which ``breaks`` still holds, dropping groups, then episodes, then steps, greedily.

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
    added = [*batch.columns]
    lines[0] += [*added, *([] if credit is None else ["credit"])]
    for row in range(min(len(batch), _ROWS)):
        end = "terminated" if batch.terminated[row] else "truncated" if batch.truncated[row] else ""
        start, stop = (int(offset) for offset in batch.token_offsets[row : row + 2])
        flags = ["yes" if column[row] else "no" for column in (batch.valid, batch.format_ok, batch.won)]
        codes = [str(column[row]) for column in (batch.group, batch.episode, batch.t, batch.anchor, batch.state)]
        line = [str(row), *codes, _number(batch.reward[row]), end, *flags, str(stop - start)]
        line += [_number(batch.columns[name][row]) for name in added]
        if credit is not None:
            span = slice(row, row + 1) if credit.level == "row" else slice(start, stop)
            line.append(" ".join(_number(value) for value in credit.advantage[span].tolist()))
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    if len(batch) > _ROWS:
        text.append(f"... and {len(batch) - _ROWS} rows more")
    return "\n".join(text)
