"""The laws of losses as checks of one fixed set of token batches; each yields what it finds wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agentgym.algos.base import Algorithm
from agentgym.contracts import TokenBatch
from agentgym.errors import missing_extra

if TYPE_CHECKING:
    import torch

__all__ = ["LOSS_LAWS", "LossLaw", "token_batches"]

LossLaw = Callable[[Algorithm[Any], TokenBatch], Iterator[str]]

_GRADED = ("logp", "entropy", "values")  # columns through which a gradient flows
_MASKS: Mapping[str, tuple[str, ...]] = {
    # One string a row, one letter a response token: x counts, - does not.
    "rows of one length": ("xxx", "xxx", "xxx", "xxx"),
    "rows of many lengths": ("x", "xxxxxx", "xx", "xxx"),
    "masked tokens": ("x-x", "-xx", "xx-", "x-", "-x"),
    "empty and fully masked rows": ("xx", "", "--", "x-xx", "x"),
    "a single token": ("x",),
}


def token_batches() -> dict[str, TokenBatch]:
    """Return token batches by name, float64 with every column: rows of many lengths, masked, empty, fully masked.

    Raises:
        MissingExtraError: If torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "train", "the check of losses") from error
    made = {}
    for seed, (name, rows) in enumerate(_MASKS.items()):
        generator = torch.Generator().manual_seed(seed)
        size = sum(map(len, rows))

        def noise(size: int = size, generator: torch.Generator = generator) -> torch.Tensor:
            return torch.randn(size, generator=generator, dtype=torch.float64)

        row = torch.tensor([r for r, mask in enumerate(rows) for _ in mask], dtype=torch.int64)
        mask = torch.tensor([letter == "x" for letters in rows for letter in letters], dtype=torch.bool)
        counted = torch.tensor([letters.count("x") for letters in rows], dtype=torch.float64)
        logp = noise() - 2
        made[name] = TokenBatch(
            logp=logp,
            old_logp=logp + 0.4 * noise(),
            advantage=noise(),
            mask=mask,
            row=row,
            episode=row // 2,
            tokens_in_row=counted[row],
            total_tokens=int(mask.sum()),
            total_rows=len(rows),
            total_episodes=(len(rows) + 1) // 2,
            ref_logp=logp + 0.4 * noise(),
            entropy=noise().abs(),
            values=noise(),
            old_values=noise(),
            returns=noise(),
            value_mask=mask.clone(),
            macro=torch.arange(size) // 2 + size * row,  # one or two tokens of a row
        )
    return made


def _tensors(tokens: TokenBatch) -> dict[str, torch.Tensor]:
    named = {item.name: getattr(tokens, item.name) for item in dataclasses.fields(tokens)}
    return {name: value for name, value in named.items() if hasattr(value, "is_floating_point")}


def _with(tokens: TokenBatch, columns: Mapping[str, Any]) -> TokenBatch:
    return dataclasses.replace(tokens, **columns)


def _pick(tokens: TokenBatch, keep: torch.Tensor) -> TokenBatch:
    """Return the micro-batch of some tokens; the counts stay those of the whole."""
    return _with(tokens, {name: column[keep] for name, column in _tensors(tokens).items()})


def _loss(algorithm: Algorithm[Any], tokens: TokenBatch) -> tuple[float, dict[str, torch.Tensor], dict[str, float]]:
    """Return the loss, its gradients by column, 0 where none flows, and the metrics."""
    leaves = {name: column.clone().requires_grad_() for name, column in _tensors(tokens).items() if name in _GRADED}
    loss = algorithm.loss(_with(tokens, leaves))
    if loss.total.requires_grad:
        loss.total.backward()  # type: ignore[no-untyped-call]
    gradients = {n: leaf.new_zeros(leaf.shape) if leaf.grad is None else leaf.grad for n, leaf in leaves.items()}
    return float(loss.total.detach()), gradients, {name: float(value) for name, value in loss.metrics.items()}


def _far(first: float, second: float) -> bool:
    return not abs(first - second) <= 1e-9 * max(1.0, abs(first))


def mask(algorithm: Algorithm[Any], tokens: TokenBatch) -> Iterator[str]:
    """What lies under a false mask, NaN included, reaches neither loss nor gradient."""
    import torch

    total, gradients, _ = _loss(algorithm, tokens)
    hidden = ~tokens.mask
    for name, column in _tensors(tokens).items():
        if not column.is_floating_point() or name == "tokens_in_row":
            continue
        for filler in (7.0, float("nan")):
            changed = torch.where(hidden, torch.full_like(column, filler), column)
            other, others, _ = _loss(algorithm, _with(tokens, {name: changed}))
            if _far(total, other):
                yield f"{filler} in {name!r} under a false mask moved the loss from {total:.9g} to {other:.9g}"
                return
            for column_name, gradient in others.items():
                if bool((gradient[hidden] != 0).any()):
                    yield f"with {filler} in {name!r} a gradient reaches {column_name!r} under a false mask"
                    return
                if not torch.allclose(gradient, gradients[column_name], rtol=1e-9, atol=1e-12):
                    yield f"{filler} in {name!r} under a false mask changes the gradient of {column_name!r}"
                    return


def _padded(tokens: TokenBatch) -> TokenBatch:
    """Return the batch with three more masked tokens behind those of its first row."""
    import torch

    columns = {name: torch.cat([column, column[:1].repeat(3)]) for name, column in _tensors(tokens).items()}
    for name in ("mask", "value_mask"):
        columns[name][-3:] = False
    return _with(tokens, columns)


def micro_batch(algorithm: Algorithm[Any], tokens: TokenBatch) -> Iterator[str]:
    """Losses, metrics and gradients of micro-batches sum to those of the whole batch, and padding changes nothing."""
    import torch

    total, gradients, metrics = _loss(algorithm, tokens)
    for ways in (2, 3, max(tokens.total_rows, 1)):
        shares = [tokens.row % ways == i for i in range(ways)]
        parts = [_loss(algorithm, _pick(tokens, share)) for share in shares if bool(share.any())]
        if _far(total, summed := sum(part[0] for part in parts)):
            yield f"the losses of {len(parts)} micro-batches sum to {summed:.9g}; the whole batch has {total:.9g}"
            return
        for name, gradient in gradients.items():
            joined = torch.zeros_like(gradient)
            for share, part in zip([s for s in shares if bool(s.any())], parts, strict=True):
                joined[share] = part[1][name]
            if not torch.allclose(joined, gradient, rtol=1e-9, atol=1e-12):
                yield f"the gradient of {name!r} over {len(parts)} micro-batches is not that of the whole batch"
                return
        for name, value in metrics.items():
            if _far(value, summed := sum(part[2].get(name, 0.0) for part in parts)):
                yield f"metric {name!r} sums to {summed:.9g} over {len(parts)} micro-batches; it should be {value:.9g}"
                return
    if len(tokens.row) and _far(total, other := _loss(algorithm, _padded(tokens))[0]):
        yield f"three masked tokens of padding moved the loss from {total:.9g} to {other:.9g}"


LOSS_LAWS: Mapping[str, LossLaw] = {"mask": mask, "micro-batch": micro_batch}
"""Checks by name, in the order in which they are made."""
