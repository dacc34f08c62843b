"""Policy losses over the flat tokens of one micro-batch.

Each sum is divided by the counts of the whole batch, never of the micro-batch, so micro-batch losses add up to the
full-batch loss whatever the split. Tokens under a false mask are dropped first: their values, NaN included, reach
neither loss nor gradient.

Only tensor methods are used, so that importing this module does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agentgym.contracts import Loss, TokenBatch
from agentgym.errors import AlgorithmError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Aggregation",
    "KLEstimator",
    "Ratio",
    "clipped_surrogate",
    "kl_divergence",
    "macro_log_ratio",
    "policy_loss",
    "sequence_log_ratio",
    "token_weights",
    "value_loss",
]

KLEstimator = Literal["k1", "k2", "k3", "abs"]
Aggregation = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
Ratio = Literal["token", "macro", "sequence"]

# exp(20) is finite in every floating type; an infinite ratio would turn the gradient of the unused branch into NaN.
_MAX_LOG_RATIO = 20.0
_MAX_SEQUENCE_LOG_RATIO = 10.0  # the reference code's bound


def kl_divergence(logp: Tensor, ref_logp: Tensor, estimator: KLEstimator) -> Tensor:
    """Estimate KL(π ‖ π_ref) at tokens sampled from π, d = log π_ref - log π.

    k1 = -d has an expected gradient of 0 on-policy, so it is for logging; k2 = d² / 2 has the gradient of the reverse
    KL; k3 = eᵈ - d - 1, at most 10 (the reference code clamps to [-10, 10]), is never negative and has the gradient of
    the forward KL; abs = |d| is the reference code's fourth, a distance rather than an estimate.

    Args:
        logp: log π, [L].
        ref_logp: log π_ref, [L].
        estimator: Which estimator.

    Returns:
        One estimate per token, [L].
    """
    d = ref_logp - logp
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return d.square() / 2
    if estimator == "abs":
        return d.abs()
    d = d.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    return (d.exp() - d - 1).clamp(max=10)


def clipped_surrogate(
    ratio: Tensor,
    advantage: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
    keep_clipped: bool = False,
) -> Tensor:
    """Return the clipped policy loss max(-Aρ, -A clip(ρ, 1 - ε_low, 1 + ε_high)), at most -A c where A < 0.

    With ``keep_clipped`` the upper bound is (1 + ε_high) ρ / sg(ρ), sg stopping the gradient: the same loss, but a good
    token that has become likelier than the bound keeps the gradient -A (1 + ε_high) ∇log π instead of none. AEPO, arXiv
    2510.14545.

    Args:
        ratio: ρ = π / π_old, [L].
        advantage: A, [L].
        clip_low: ε_low, in [0, 1].
        clip_high: ε_high, at least 0; larger than ε_low is "clip-higher".
        dual_clip: c, above 1, which bounds the loss of a bad action that has become likely; None leaves it unbounded.
        keep_clipped: Whether the upper bound lets the gradient through.

    Returns:
        Loss per token, [L].
    """
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    if keep_clipped:
        bounded = bounded.where(ratio <= 1 + clip_high, (1 + clip_high) * ratio / ratio.detach())
    loss = (-advantage * ratio).maximum(-advantage * bounded)
    if dual_clip is not None:
        loss = loss.where(advantage >= 0, loss.minimum(-advantage * dual_clip))
    return loss


def sequence_log_ratio(logp: Tensor, log_ratio: Tensor, row: Tensor, tokens_in_row: Tensor) -> Tensor:
    """Return log sₜ, which has the value of the row's mean log ratio and the gradient of the token's own log π.

    The value is that of GSPO's sequence ratio, arXiv 2507.18071, equation 7; the gradient is that of its token form,
    equations 13 and 14. Where all tokens of a row have one advantage and the weights average over them
    ("seq-mean-token-mean"), the summed gradient is that of the sequence ratio itself.

    Args:
        logp: log π of the counted tokens, with gradient, [L].
        log_ratio: log π - log π_old, [L].
        row: Row of each token, [L].
        tokens_in_row: Number of counted tokens of that row in the whole batch, [L].

    Returns:
        log sₜ, at most 10, beyond which there is no gradient, [L].

    Raises:
        AlgorithmError: If a row is only partly here: its mean cannot be known.
    """
    found = _whole_rows("sequence", row, tokens_in_row)
    means = log_ratio.new_zeros(len(found)).index_add(0, row, log_ratio.detach())[row] / tokens_in_row
    log_s: Tensor = (logp - logp.detach() + means).clamp(max=_MAX_SEQUENCE_LOG_RATIO)
    return log_s


def macro_log_ratio(logp: Tensor, log_ratio: Tensor, macro: Tensor, row: Tensor, tokens_in_row: Tensor) -> Tensor:
    """Return log ρ of each token's macro action, in value the sum of its log ratios, in gradient the token's own log π.

    ρ is the ratio of the joint probabilities, π(ω) / π_old(ω): MA-RLHF, arXiv 2410.02743. Where all tokens of a macro
    action have one advantage and one weight, the gradients of its tokens sum to that of its one surrogate.

    Args:
        logp: log π of the counted tokens, with gradient, [L].
        log_ratio: log π - log π_old, [L].
        macro: Code of each token's macro action, which lies within a row, [L].
        row: Row of each token, [L].
        tokens_in_row: Number of counted tokens of that row in the whole batch, [L].

    Returns:
        log ρ, between -20 and 20, beyond which there is no gradient, [L].

    Raises:
        AlgorithmError: If a row is only partly here: its macro actions cannot be known to be whole.
    """
    _whole_rows("macro", row, tokens_in_row)
    codes, place = macro.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    sums = log_ratio.new_zeros(len(codes)).index_add(0, place, log_ratio.detach())[place]
    return (logp - logp.detach() + sums).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)


def _whole_rows(ratio: str, row: Tensor, tokens_in_row: Tensor) -> Tensor:
    """Return how many tokens of each row number are here, or complain where a row is only partly."""
    found = row.bincount()
    if bool((found[row] != tokens_in_row).any()):
        raise AlgorithmError(f"a {ratio} ratio needs micro-batches of whole rows, but a row is only partly in this one")
    return found


def token_weights(tokens: TokenBatch, aggregation: Aggregation, norm_tokens: int = 1) -> Tensor:
    """Return the weight of each counted token in the loss; "seq" is a row, one decision.

    Args:
        tokens: A micro-batch.
        aggregation: ``token-mean`` weighs tokens alike over the whole batch, ``seq-mean-token-sum`` averages over rows
            the sums of their tokens, ``seq-mean-token-mean`` the means of their tokens, ``seq-mean-token-sum-norm``
            the sums of their tokens over ``norm_tokens``. Rows without tokens count as rows.
        norm_tokens: Constant divisor of ``seq-mean-token-sum-norm``, at least 1; the others do not read it.

    Returns:
        Weights of the tokens under the mask, in order.
    """
    in_row = tokens.tokens_in_row[tokens.mask]
    if aggregation == "token-mean":
        return in_row.new_full(in_row.shape, 1 / max(tokens.total_tokens, 1))
    if aggregation == "seq-mean-token-sum":
        return in_row.new_full(in_row.shape, 1 / max(tokens.total_rows, 1))
    if aggregation == "seq-mean-token-sum-norm":
        return in_row.new_full(in_row.shape, 1 / (max(tokens.total_rows, 1) * norm_tokens))
    return 1 / (in_row * tokens.total_rows)


def _clipped(
    ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float, dual_clip: float | None
) -> dict[str, Tensor]:
    """Return which tokens each bound of ``clipped_surrogate`` holds back, by the name of the metric."""
    low, high = (advantage < 0) & (ratio < 1 - clip_low), (advantage > 0) & (ratio > 1 + clip_high)
    clipped = {"clip_ratio/low_mean": low, "clip_ratio/high_mean": high, "clip_ratio/region_mean": low | high}
    return clipped if dual_clip is None else clipped | {"clip_ratio/dual_mean": (advantage < 0) & (ratio > dual_clip)}


def _require(name: str, column: Tensor | None, coefficient: float) -> None:
    if coefficient > 0 and column is None:
        raise AlgorithmError(f"a coefficient of {coefficient} needs {name!r}, which the token batch lacks")


def _ratios(tokens: TokenBatch, logp: Tensor, log_ratio: Tensor, ratio: Ratio) -> Tensor:
    """Return ρ of each counted token, of which ``logp`` and ``log_ratio`` are given."""
    keep = tokens.mask
    if ratio == "token":
        return log_ratio.exp()
    if ratio == "sequence":
        return sequence_log_ratio(logp, log_ratio, tokens.row[keep], tokens.tokens_in_row[keep]).exp()
    if tokens.macro is None:
        raise AlgorithmError("ratio='macro' needs the macro actions of the tokens, which only ma_ppo's credit has")
    return macro_log_ratio(logp, log_ratio, tokens.macro[keep], tokens.row[keep], tokens.tokens_in_row[keep]).exp()


def policy_loss(
    tokens: TokenBatch,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
    kl_coef: float,
    kl_estimator: KLEstimator,
    entropy_coef: float,
    aggregation: Aggregation,
    norm_tokens: int = 1,
    ratio: Ratio = "token",
    keep_clipped: bool = False,
) -> Loss:
    """Return Σ w (surrogate + β KL - α entropy) with the weights w of ``token_weights``.

    The metrics are means over the counted tokens of the whole batch, except ``policy_loss``, which is weighted like the
    loss.

    Args:
        tokens: A micro-batch.
        clip_low: ε_low of ``clipped_surrogate``.
        clip_high: ε_high of ``clipped_surrogate``.
        dual_clip: c of ``clipped_surrogate``.
        kl_coef: β, at least 0.
        kl_estimator: Estimator of ``kl_divergence``.
        entropy_coef: α, at least 0.
        aggregation: Weights of ``token_weights``.
        norm_tokens: Constant of ``token_weights``.
        ratio: ρ of each token, of its macro action, see ``macro_log_ratio``, or of its row, ``sequence_log_ratio``.
        keep_clipped: Of ``clipped_surrogate``.

    Returns:
        The loss and its metrics; ``kl`` and ``entropy`` only where the batch has ``ref_logp`` and ``entropy``.

    Raises:
        AlgorithmError: If a coefficient is above 0 and its column is absent, a macro ratio gets no macro actions, or a
            macro or sequence ratio gets part of a row.
    """
    _require("ref_logp", tokens.ref_logp, kl_coef)
    _require("entropy", tokens.entropy, entropy_coef)
    keep = tokens.mask
    weights = token_weights(tokens, aggregation, norm_tokens)
    logp, advantage = tokens.logp[keep], tokens.advantage[keep]
    log_ratio = (logp - tokens.old_logp[keep]).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    rho = _ratios(tokens, logp, log_ratio, ratio)
    surrogate = clipped_surrogate(rho, advantage, clip_low, clip_high, dual_clip, keep_clipped)
    total = (weights * surrogate).sum()
    means = {**_clipped(rho, advantage, clip_low, clip_high, dual_clip), "ppo_kl": -log_ratio}
    metrics = {"policy_loss": total.detach()}
    if tokens.ref_logp is not None:
        means["kl"] = kl_divergence(logp, tokens.ref_logp[keep], kl_estimator)
        total = total + kl_coef * (weights * means["kl"]).sum()
    if tokens.entropy is not None:
        means["entropy"] = tokens.entropy[keep]
        total = total - entropy_coef * (weights * means["entropy"]).sum()
    metrics |= {n: value.detach().to(logp.dtype).sum() / max(tokens.total_tokens, 1) for n, value in means.items()}
    return Loss(total, metrics)


def value_loss(tokens: TokenBatch, count: int, clip: float | None) -> Loss:
    """Return the mean of max((v - V̂)², (clip(v, V - ε, V + ε) - V̂)²) over the tokens with a target.

    Without the factor 1/2 that some implementations have. The clip is that of PPO's published code: a value that has
    moved further than ε from what it was gets no gradient that would move it on.

    Args:
        tokens: A micro-batch with values v, old values V, returns V̂ and the mask of the targets.
        count: Targets in the whole batch.
        clip: ε, above 0; None leaves values free.

    Returns:
        The loss, and metrics ``value_loss`` and ``value_clip_ratio``, the share of targets where the clip decides.

    Raises:
        AlgorithmError: If a column is absent.
    """
    values, old, returns, mask = tokens.values, tokens.old_values, tokens.returns, tokens.value_mask
    if values is None or old is None or returns is None or mask is None:
        raise AlgorithmError("a value loss needs 'values', 'old_values', 'returns' and 'value_mask' in the token batch")
    keep = mask & tokens.mask
    values, old, returns = values[keep], old[keep], returns[keep]
    errors = (values - returns).square()
    held = errors if clip is None else (old + (values - old).clamp(-clip, clip) - returns).square()
    total = errors.maximum(held).sum() / max(count, 1)
    clipped = (held > errors).to(values.dtype).sum() / max(count, 1)
    return Loss(total, {"value_loss": total.detach(), "value_clip_ratio": clipped.detach()})
