"""From recorded groups to micro-batches: every response token in exactly one, observations never in the loss.

All processes see the whole batch and plan the same schedule; each then runs its own share of it. So credit, counts and
the number of forward passes agree everywhere without a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from agentgym.episodes import Episode

__all__ = [
    "MicroBatch",
    "TrainSequence",
    "bins",
    "collate",
    "pack",
    "sequences_of",
]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainSequence:
    """One sequence to train on.

    Attributes:
        ids: Token ids, int64 [n].
        positions: Places of the response tokens in ``ids``, int64 [m], each at least 1.
        tokens: Numbers of the same tokens in the token columns of the batch, int64 [m].
        allowed: Where sampling was constrained, the ids each response token was chosen among; else None.
    """

    ids: Ints
    positions: Ints
    tokens: Ints
    allowed: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one forward pass needs.

    Attributes:
        ids: Token ids padded with 0 on the right, int64 [B, T].
        lengths: Number of real tokens, int64 [B].
        select: Flat places ``b * T + t`` of the response tokens, int64 [L].
        tokens: Numbers of these tokens in the token columns of the batch, int64 [L].
        idle: Whether no token counts: such a pass only keeps the processes in step.
        allowed: Ids each token was chosen among, or None.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    select: torch.Tensor
    tokens: torch.Tensor
    idle: bool = False
    allowed: tuple[tuple[int, ...], ...] | None = None

    def to(self, device: torch.device) -> MicroBatch:
        """Return this micro-batch with its tensors on ``device``."""
        moved = {name: getattr(self, name).to(device) for name in ("ids", "lengths", "select", "tokens")}
        return replace(self, **moved)


def sequences_of(episodes: Sequence[Episode]) -> list[TrainSequence]:
    """Return the sequences of ``episodes``; tokens are numbered as in ``StepBatch.from_groups`` of the same."""
    sequences: list[TrainSequence] = []
    first = 0
    for episode in episodes:
        for sequence in episode.sequences() if episode.steps else ():
            positions = np.flatnonzero(sequence.loss_mask)
            tokens = np.arange(first, first + len(positions))
            first += len(positions)
            if len(positions):
                sequences.append(TrainSequence(sequence.ids, positions, tokens, sequence.allowed))
    return sequences


def bins(sequences: Sequence[TrainSequence], budget: int) -> list[list[TrainSequence]]:
    """Share the sequences out into bins of at most ``budget`` tokens, padding included; a longer one is alone.

    Returns:
        Bins, longest sequences first, so that a pass that does not fit in memory fails at once.
    """
    packed: list[list[TrainSequence]] = []
    for sequence in sorted(sequences, key=lambda s: -len(s.ids)):
        # Sorted by length, the first of a bin is its widest.
        if packed and (len(packed[-1]) + 1) * len(packed[-1][0].ids) <= budget:
            packed[-1].append(sequence)
        else:
            packed.append([sequence])
    return packed


def pack(sequences: Sequence[TrainSequence], budget: int, processes: int = 1) -> list[MicroBatch]:
    """Pack into micro-batches of at most ``budget`` tokens, padding included.

    Args:
        sequences: What to pack, at least one.
        budget: Largest number of tokens in a micro-batch.
        processes: The number of micro-batches is made a multiple of this, by passes in which no token counts.
    """
    packed = [collate(part) for part in bins(sequences, budget)]
    missing = -len(packed) % processes
    return packed + [collate([min(sequences, key=lambda s: len(s.ids))], idle=True)] * missing


def collate(sequences: Sequence[TrainSequence], idle: bool = False) -> MicroBatch:
    """Pad sequences into one micro-batch."""
    lengths = [len(s.ids) for s in sequences]
    width = max(lengths)
    ids = np.zeros((len(sequences), width), np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = sequence.ids
    select = np.concatenate([row * width + s.positions for row, s in enumerate(sequences)])
    constrained = all(s.allowed is not None for s in sequences)
    return MicroBatch(
        ids=torch.from_numpy(ids),
        lengths=torch.tensor(lengths),
        select=torch.from_numpy(select),
        tokens=torch.from_numpy(np.concatenate([s.tokens for s in sequences])),
        idle=idle,
        allowed=tuple(ids for s in sequences for ids in s.allowed or ()) if constrained else None,
    )
