"""A KV cache whose rows have lengths of their own.

The caches of transformers append the same number of columns to every row, so that a batch of growing chats fills with
padding and each new token copies the whole cache. Here every row is written at its own length into storage that grows
by doubling, rows leave by taking the last row's place, and the live rows stay a plain slice.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["RaggedCache"]

_MIN_COLUMNS = 128


class _RaggedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, [rows, heads, columns, head size]."""

    is_sliding = False

    def __init__(self, plan: _Plan) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._plan = plan

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate on first use, when heads, sizes, type and device are known."""
        self.keys = self._empty(key_states)
        self.values = self._empty(value_states)
        self.is_initialized = True

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not uninitialised memory: a masked column still enters 0 * value, and 0 * nan is nan.
        return like.new_zeros(self._plan.row_capacity, like.shape[1], self._plan.column_capacity, like.shape[3])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new states at each row's own length; return the slice that the live rows need."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        plan = self._plan
        assert self.keys is not None
        assert self.values is not None
        if plan.source is None:
            self.keys[plan.rows, :, plan.columns] = key_states[:, :, 0]
            self.values[plan.rows, :, plan.columns] = value_states[:, :, 0]
        else:
            self.keys[plan.rows, :, plan.columns] = key_states[plan.rows, :, plan.source]
            self.values[plan.rows, :, plan.columns] = value_states[plan.rows, :, plan.source]
        batch = key_states.shape[0]
        return self.keys[:batch, :, : plan.width], self.values[:batch, :, : plan.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return (width, offset); unused, as masks are given ready-made."""
        return self._plan.width, 0

    def get_seq_length(self) -> int:
        """Return the longest row."""
        return self._plan.width

    def get_max_length(self) -> int:
        """Return -1: the cache grows."""
        return -1

    def grow(self) -> None:
        """Copy into storage of the planned capacity."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            if old is not None:
                new = self._empty(old)
                new[: old.shape[0], :, : old.shape[2]] = old
                setattr(self, name, new)

    def adopt(self, other: _RaggedLayer, sources: list[int], first: int, width: int) -> None:
        """Write copies of rows of ``other`` from row ``first`` on."""
        assert other.keys is not None
        assert other.values is not None
        if not self.is_initialized:
            self.lazy_initialization(other.keys, other.values)
        assert self.keys is not None
        assert self.values is not None
        rows = slice(first, first + len(sources))
        self.keys[rows, :, :width] = other.keys[sources, :, :width]
        self.values[rows, :, :width] = other.values[sources, :, :width]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy one row over another."""
        for tensor in (self.keys, self.values):
            if tensor is not None:
                tensor[target, :, :length] = tensor[source, :, :length]


class _Plan:
    """Where the next write goes; shared by all layers of one cache."""

    row_capacity: int = 0
    column_capacity: int = 0
    width: int = 0
    rows: torch.Tensor
    columns: torch.Tensor
    source: torch.Tensor | None = None


class RaggedCache(Cache):
    """A cache for ``rows`` chats, each with a length of its own.

    Attributes:
        lengths: Number of tokens in each live row.
    """

    def __init__(self, layers: int, device: torch.device) -> None:
        self._plan = _Plan()
        self._device = device
        self.lengths: list[int] = []
        self._ragged = [_RaggedLayer(self._plan) for _ in range(layers)]
        super().__init__(layers=list(self._ragged))

    def add_row(self) -> int:
        """Append an empty row and return its number."""
        self.lengths.append(0)
        return len(self.lengths) - 1

    def adopt(self, other: RaggedCache, sources: list[int]) -> None:
        """Append a row for each of ``sources``, at least one: a copy of that row of ``other``, which is not empty."""
        first = len(self.lengths)
        self.lengths += [other.lengths[source] for source in sources]
        width = max(self.lengths[first:])
        self._reserve(len(self.lengths), width)
        for mine, theirs in zip(self._ragged, other._ragged, strict=True):
            mine.adopt(theirs, sources, first, width)

    def remove_row(self, row: int) -> int:
        """Remove a row; the last row takes its number. Return the number that row had."""
        last = len(self.lengths) - 1
        # A row that holds nothing yet may lie beyond what the layers have room for.
        if row != last and self.lengths[last]:
            for layer in self._ragged:
                layer.move(last, row, self.lengths[last])
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        return last

    def plan(self, counts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Prepare to write ``counts[row]`` new tokens to each live row.

        Args:
            counts: Number of new tokens for each row, at least 0; the states come padded to the largest on the right.

        Returns:
            The position of each new token, int64 [rows, q], and the attention mask, bool [rows, 1, q, width], True
            where a token may look.
        """
        plan, query = self._plan, max(counts)
        start = torch.tensor(self.lengths, device=self._device)
        count = torch.tensor(counts, device=self._device)
        plan.width = int((start + count).max())
        self._reserve(len(counts), plan.width)
        offset = torch.arange(query, device=self._device)
        positions = start[:, None] + offset
        if query == 1 and min(counts) == 1:
            plan.rows, plan.columns, plan.source = torch.arange(len(counts), device=self._device), start, None
        else:
            plan.rows, plan.source = (offset < count[:, None]).nonzero(as_tuple=True)
            plan.columns = positions[plan.rows, plan.source]
        # Padding queries look at what the row's last real token sees, so that no softmax is over nothing.
        last = torch.minimum(positions, (start + count - 1).clamp(min=0)[:, None])
        mask = torch.arange(plan.width, device=self._device) <= last[:, :, None]
        self.lengths = (start + count).tolist()
        return last, mask[:, None]

    def _reserve(self, rows: int, columns: int) -> None:
        plan = self._plan
        if rows <= plan.row_capacity and columns <= plan.column_capacity:
            return
        if rows > plan.row_capacity:
            plan.row_capacity = rows if plan.row_capacity == 0 else max(rows, 2 * plan.row_capacity)
        if columns > plan.column_capacity:
            plan.column_capacity = max(_MIN_COLUMNS, columns, 2 * plan.column_capacity)
        for layer in self._ragged:
            layer.grow()
