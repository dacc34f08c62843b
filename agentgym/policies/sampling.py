"""Sampling by inverse distribution function, so that one uniform number decides each token.

The numbers belong to the episode: what it samples does not depend on which other episodes share its batch, or on how
many processes share the work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Choices", "sample"]


class Choices:
    """The admissible responses that a growing response can still become.

    Args:
        candidates: Token ids of each admissible response, end token included.
    """

    def __init__(self, candidates: Sequence[tuple[int, ...]]) -> None:
        self._live = list(dict.fromkeys(candidates))
        self._taken: list[tuple[int, ...]] = []
        self._position = 0
        self.longest = max(map(len, candidates))

    def allowed(self) -> tuple[int, ...]:
        """Return the ids that may come next, ascending."""
        return tuple(sorted({ids[self._position] for ids in self._live if len(ids) > self._position}))

    def take(self, token: int) -> None:
        """Go on with ``token``."""
        self._taken.append(self.allowed())
        self._live = [ids for ids in self._live if len(ids) > self._position and ids[self._position] == token]
        self._position += 1

    @property
    def taken(self) -> tuple[tuple[int, ...], ...]:
        """For each token so far, the ids it was chosen among."""
        return tuple(self._taken)


def sample(
    logits: torch.Tensor,
    uniforms: npt.NDArray[np.float64],
    *,
    temperature: float,
    top_p: float = 1.0,
    greedy: bool = False,
    allowed: Sequence[Sequence[int]] | None = None,
    entropies: bool = False,
) -> tuple[list[int], list[float], list[float]]:
    """Draw one token a row.

    Args:
        logits: float32 [rows, V].
        uniforms: Numbers in [0, 1), float64 [rows].
        temperature: Divides the logits, above 0.
        top_p: Share of probability mass kept, in (0, 1].
        greedy: Take the most likely token instead.
        allowed: Ids each row may choose among, or None for all.
        entropies: Whether to compute the entropies; otherwise they are given as 0.

    Returns:
        Tokens, their log-probabilities in the distribution sampled from (tempered, restricted, renormalised), and the
        entropy of that distribution in nats.
    """
    if allowed is not None:
        mask = torch.ones(logits.shape, dtype=torch.bool)
        for row, ids in enumerate(allowed):
            mask[row, list(ids)] = False
        logits = logits.masked_fill(mask.to(logits.device), float("-inf"))
    logps = torch.log_softmax(logits / temperature, dim=-1)
    if top_p < 1:
        logps = _nucleus(logps, top_p)
    if greedy:
        tokens = logps.argmax(-1)
    else:
        # The sum runs in float64: in float32 the tail of a large vocabulary would be lost to rounding.
        cumulative = logps.exp().double().cumsum(-1)
        target = torch.from_numpy(uniforms).to(logps.device)[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logps.shape[-1] - 1)
    chosen = logps.gather(1, tokens[:, None])[:, 0]
    spread = torch.special.entr(logps.exp()).sum(-1) if entropies else torch.zeros(len(chosen))
    return tokens.tolist(), chosen.tolist(), spread.tolist()


def _nucleus(logps: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the smallest set of most likely tokens whose mass reaches ``top_p``; renormalise."""
    ordered, index = logps.sort(dim=-1, descending=True)
    mass_before = ordered.exp().cumsum(-1) - ordered.exp()
    dropped = torch.zeros_like(logps, dtype=torch.bool).scatter(1, index, mass_before >= top_p)
    return torch.log_softmax(logps.masked_fill(dropped, float("-inf")), dim=-1)
