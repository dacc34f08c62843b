from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos.functional.losses import (
    clipped_surrogate,
    kl_divergence,
    policy_loss,
    sequence_log_ratio,
    token_weights,
)
from agentgym.contracts import Loss, TokenBatch
from agentgym.errors import AlgorithmError
from tests import reference

AGGREGATIONS = ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
DEFAULTS: dict[str, Any] = {
    "clip_low": 0.2,
    "clip_high": 0.28,
    "dual_clip": 3.0,
    "kl_coef": 0.0,
    "kl_estimator": "k3",
    "entropy_coef": 0.0,
    "aggregation": "token-mean",
    "norm_tokens": 7,
}


def token_batch(counts: list[list[bool]], seed: int = 0, **columns: torch.Tensor) -> TokenBatch:
    """Build a batch from the mask of each row; other columns are random."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.tensor([r for r, mask in enumerate(counts) for _ in mask], dtype=torch.int64)
    per_row = torch.tensor([sum(mask) for mask in counts], dtype=torch.float64)
    size = len(row)

    def noise() -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    logp = noise() - 2
    given = {
        "logp": logp,
        "old_logp": logp + 0.4 * noise(),
        "ref_logp": logp + 0.4 * noise(),
        "advantage": noise(),
        "entropy": noise().abs(),
        "mask": torch.tensor([keep for mask in counts for keep in mask], dtype=torch.bool),
        **columns,
    }
    return TokenBatch(
        row=row,
        episode=row,
        tokens_in_row=per_row[row],
        total_tokens=int(per_row.sum()),
        total_rows=len(counts),
        total_episodes=len(counts),
        **given,
    )


def part(tokens: TokenBatch, keep: torch.Tensor) -> TokenBatch:
    """Return the micro-batch of some tokens; counts stay those of the whole."""
    columns = {f.name: getattr(tokens, f.name) for f in dataclasses.fields(tokens)}
    picked = {name: column[keep] for name, column in columns.items() if isinstance(column, torch.Tensor)}
    return dataclasses.replace(tokens, **picked)


def loss(tokens: TokenBatch, **settings: Any) -> Loss:
    return policy_loss(tokens, **{**DEFAULTS, **settings})


MASKS = st.lists(st.lists(st.booleans(), max_size=4), min_size=1, max_size=5).filter(lambda m: any(map(any, m)))


@given(MASKS, st.integers(0, 99), st.sampled_from(AGGREGATIONS), st.sampled_from(["k1", "k2", "k3", "abs"]))
def test_equals_the_loop_with_empty_and_masked_rows(masks: list[list[bool]], seed: int, how: Any, kl: Any) -> None:
    tokens = token_batch(masks, seed)
    rows: list[list[float]] = [[] for _ in masks]
    for i in range(len(tokens.row)):
        if not tokens.mask[i]:
            continue
        ratio = math.exp(tokens.logp[i] - tokens.old_logp[i])
        value = reference.surrogate(ratio, float(tokens.advantage[i]), 0.2, 0.28, 3.0)
        assert tokens.ref_logp is not None
        assert tokens.entropy is not None
        value += 0.3 * reference.kl(float(tokens.logp[i]), float(tokens.ref_logp[i]), kl)
        rows[int(tokens.row[i])].append(value - 0.1 * float(tokens.entropy[i]))
    total = loss(tokens, aggregation=how, kl_coef=0.3, kl_estimator=kl, entropy_coef=0.1).total
    assert float(total) == pytest.approx(reference.aggregate(rows, how, 7), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(
    ("logp", "ref", "k1", "k2", "k3"),
    [(-1, -1.2, 0.2, 0.02, 0.0187), (-1, -0.5, -0.5, 0.125, 0.1487), (-0.1, -3, 2.9, 4.205, 1.955)],
)
def test_kl_values(logp: float, ref: float, k1: float, k2: float, k3: float) -> None:
    pair = torch.tensor([logp]), torch.tensor([ref])
    assert kl_divergence(*pair, "k1").item() == pytest.approx(k1)
    assert kl_divergence(*pair, "k2").item() == pytest.approx(k2)
    assert kl_divergence(*pair, "k3").item() == pytest.approx(k3, abs=5e-5)


@pytest.mark.parametrize("ref", [-1.0 + 2.9, 99.0, 1e30])
def test_k3_is_at_most_ten_and_then_without_gradient(ref: float) -> None:
    logp = torch.tensor([-1.0], requires_grad=True)
    value = kl_divergence(logp, torch.tensor([ref]), "k3")
    value.sum().backward()
    assert value.item() == 10.0
    assert logp.grad is not None
    assert logp.grad.item() == 0.0


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.5, 1.0, -1.28),  # a good action counts no further than 1 + ε_high
        (0.5, 1.0, -0.5),  # but is not held back when it has become rare
        (0.5, -1.0, 0.8),  # a bad action counts no less than 1 - ε_low
        (1.5, -1.0, 1.5),  # and in full when it has become likely
        (9.0, -1.0, 3.0),  # up to c
        (9.0, 0.0, 0.0),
    ],
)
def test_surrogate_values(ratio: float, advantage: float, expected: float) -> None:
    value = clipped_surrogate(torch.tensor([ratio]), torch.tensor([advantage]), 0.2, 0.28, 3.0)
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize("ratio", [0.5, 0.79, 1.0, 1.27, 1.29, 2.0, 9.0])
@pytest.mark.parametrize("advantage", [-1.5, 0.0, 1.5])
@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_a_clip_that_keeps_gradients_differs_only_in_those_of_good_tokens_beyond_its_upper_bound(
    ratio: float, advantage: float, dual_clip: float | None
) -> None:
    gradients = []
    for keep in (False, True):
        log_ratio = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
        loss = clipped_surrogate(
            log_ratio.exp(), torch.tensor([advantage], dtype=torch.float64), 0.2, 0.28, dual_clip, keep
        )
        loss.sum().backward()
        assert log_ratio.grad is not None
        gradients.append((loss.item(), log_ratio.grad.item()))
    (plain_loss, plain), (kept_loss, kept) = gradients
    assert kept_loss == pytest.approx(plain_loss)
    if ratio > 1.28 and advantage > 0:
        assert (plain, kept) == (0.0, pytest.approx(-advantage * 1.28))
    else:
        assert kept == plain


def test_without_dual_clip_a_likely_bad_action_counts_in_full() -> None:
    assert clipped_surrogate(torch.tensor([9.0]), torch.tensor([-1.0]), 0.2, 0.28, None).item() == 9.0


@pytest.mark.parametrize("difference", [90.0, 1e4])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_an_overflowing_ratio_leaves_a_finite_loss_and_gradient(difference: float, advantage: float) -> None:
    logp = torch.tensor([0.0], requires_grad=True)
    tokens = token_batch([[True]], logp=logp, old_logp=torch.tensor([-difference]), advantage=torch.tensor([advantage]))
    total = loss(tokens, dual_clip=None).total
    total.backward()
    assert math.isfinite(total.item())
    assert logp.grad is not None
    assert math.isfinite(logp.grad.item())


@given(MASKS, st.integers(0, 9), st.sampled_from(AGGREGATIONS), st.randoms(use_true_random=False))
def test_micro_batches_sum_to_the_whole(masks: list[list[bool]], seed: int, how: Any, random: Any) -> None:
    tokens = token_batch(masks, seed)
    settings = {"aggregation": how, "kl_coef": 0.3, "entropy_coef": 0.1}
    share = torch.tensor([random.randrange(3) for _ in tokens.row])
    whole = loss(tokens, **settings)
    parts = [loss(part(tokens, share == i), **settings) for i in range(3)]
    assert sum(float(p.total) for p in parts) == pytest.approx(float(whole.total), rel=1e-12, abs=1e-14)
    for name, value in whole.metrics.items():
        assert sum(float(p.metrics[name]) for p in parts) == pytest.approx(float(value), rel=1e-12, abs=1e-14)


def test_nothing_under_the_mask_reaches_loss_or_gradient() -> None:
    masks = [[True, False], [False, False], [True, True, False]]
    clean = token_batch(masks)
    dirt = {}
    for name in ("logp", "old_logp", "ref_logp", "advantage", "entropy"):
        column = getattr(clean, name).clone()
        column[~clean.mask] = math.nan
        dirt[name] = column.requires_grad_(name in ("logp", "entropy"))
    dirty = token_batch(masks, **dirt)
    settings = {"kl_coef": 0.3, "entropy_coef": 0.1, "aggregation": "seq-mean-token-mean"}
    first, second = loss(clean, **settings), loss(dirty, **settings)
    assert second.total.item() == first.total.item()
    assert {k: float(v) for k, v in second.metrics.items()} == {k: float(v) for k, v in first.metrics.items()}
    second.total.backward()
    for name in ("logp", "entropy"):
        gradient = dirt[name].grad
        assert gradient is not None
        assert gradient[~clean.mask].tolist() == [0.0] * int((~clean.mask).sum())
        assert bool((gradient[clean.mask] != 0).any())


def test_metrics_count_clipped_tokens() -> None:
    ratio = torch.tensor([1.5, 0.5, 0.5, 9.0, 1.0]).log()
    tokens = token_batch(
        [[True] * 5],
        logp=ratio.requires_grad_(),
        old_logp=torch.zeros(5),
        ref_logp=torch.zeros(5),
        advantage=torch.tensor([1.0, 1, -1, -1, 1]),
        entropy=torch.ones(5),
    )
    metrics = loss(tokens).metrics
    assert {k: round(float(v), 6) for k, v in metrics.items() if k.startswith("clip")} == {
        "clip_ratio/low_mean": 0.2,
        "clip_ratio/high_mean": 0.2,
        "clip_ratio/region_mean": 0.4,
        "clip_ratio/dual_mean": 0.2,
    }
    assert float(metrics["ppo_kl"]) == pytest.approx(-ratio.mean().item())
    assert float(metrics["entropy"]) == 1.0
    assert not any(value.requires_grad for value in metrics.values())
    assert "clip_ratio/dual_mean" not in loss(tokens, dual_clip=None).metrics


@pytest.mark.parametrize(("setting", "column"), [("kl_coef", "ref_logp"), ("entropy_coef", "entropy")])
def test_a_term_without_its_column_is_refused(setting: str, column: str) -> None:
    tokens = dataclasses.replace(token_batch([[True]]), **{column: None})
    with pytest.raises(AlgorithmError, match=rf"0\.1 needs '{column}'"):
        loss(tokens, **{setting: 0.1})
    assert column.removesuffix("_logp").replace("ref", "kl") not in loss(tokens).metrics


def test_no_counted_token_gives_a_loss_of_zero_that_can_be_differentiated() -> None:
    logp = torch.zeros(2, requires_grad=True)
    for how in AGGREGATIONS:
        total = loss(token_batch([[False, False]], logp=logp), aggregation=how).total
        total.backward()
        assert total.item() == 0.0


def test_weights_sum_to_one_except_for_token_sums() -> None:
    tokens = token_batch([[True, True], [True, False, True], [True]])
    assert token_weights(tokens, "token-mean").tolist() == pytest.approx([0.2] * 5)
    assert token_weights(tokens, "seq-mean-token-sum").tolist() == pytest.approx([1 / 3] * 5)
    assert token_weights(tokens, "seq-mean-token-mean").tolist() == pytest.approx([1 / 6] * 4 + [1 / 3])
    assert token_weights(tokens, "seq-mean-token-sum-norm", 4).tolist() == pytest.approx([1 / 12] * 5)


@pytest.mark.parametrize("advantage", [1.5, -1.5])
def test_a_step_down_the_loss_moves_the_sampled_token_by_the_sign_of_its_advantage(advantage: float) -> None:
    """Finite differences in float64 on a softmax over three tokens, of which the second was sampled."""
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    old = logits.log_softmax(0)[1].reshape(1)

    def value(x: torch.Tensor) -> float:
        logp = x.log_softmax(0)[1].reshape(1)
        weight = torch.tensor([advantage], dtype=torch.float64)
        return float(loss(token_batch([[True]], logp=logp, old_logp=old, advantage=weight)).total)

    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    gradient = torch.tensor([(value(logits + d) - value(logits - d)) / 2e-6 for d in step], dtype=torch.float64)
    moved = (logits - 1e-3 * gradient).log_softmax(0)[1]
    assert (moved - old).sign().item() == math.copysign(1, advantage)

    exact = logits.clone().requires_grad_()
    tokens = token_batch(
        [[True]],
        logp=exact.log_softmax(0)[1].reshape(1),
        old_logp=old,
        advantage=torch.tensor([advantage], dtype=torch.float64),
    )
    loss(tokens).total.backward()
    torch.testing.assert_close(exact.grad, gradient, rtol=1e-6, atol=1e-8)


SEQUENCE: dict[str, Any] = {"ratio": "sequence", "aggregation": "seq-mean-token-mean", "dual_clip": None}


def leaf(tokens: TokenBatch) -> tuple[TokenBatch, torch.Tensor]:
    logp = tokens.logp.detach().clone().requires_grad_()
    return dataclasses.replace(tokens, logp=logp), logp


def per_row(tokens: TokenBatch, rows: int) -> TokenBatch:
    """Give all tokens of a row one advantage, as row-level credit does."""
    advantage = torch.randn(rows, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return dataclasses.replace(tokens, advantage=advantage[tokens.row])


@pytest.mark.parametrize("seed", range(8))
def test_a_sequence_ratio_has_the_value_and_the_gradient_of_the_ratio_of_whole_rows(seed: int) -> None:
    masks = [[True, True, False, True], [True], [False, True, True, True, True]]
    tokens, logp = leaf(per_row(token_batch(masks, seed), len(masks)))
    total = loss(tokens, **SEQUENCE).total
    total.backward()

    direct = tokens.logp.detach().clone().requires_grad_()
    expected = torch.zeros((), dtype=torch.float64)
    for row in range(len(masks)):
        members = (tokens.row == row) & tokens.mask
        ratio = (direct - tokens.old_logp)[members].mean().exp()
        advantage = tokens.advantage[members][0]
        expected = expected - torch.minimum(advantage * ratio, advantage * ratio.clamp(0.8, 1.28)) / len(masks)
    expected.backward()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(logp.grad, direct.grad)


def test_a_clipped_row_has_no_gradient_and_an_unclipped_one_has() -> None:
    tokens, logp = leaf(
        token_batch(
            [[True, True], [True, True]],
            logp=torch.tensor([0.0, -1.0, 0.0, -1.0]),
            old_logp=torch.tensor([-1.0, -2.0, -0.1, -1.1]),
            advantage=torch.ones(4),
        )
    )
    result = loss(tokens, **SEQUENCE)
    result.total.backward()
    assert result.total.item() == pytest.approx(-(1.28 + math.exp(0.1)) / 2)
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx([0, 0, -math.exp(0.1) / 4, -math.exp(0.1) / 4])
    assert float(result.metrics["clip_ratio/high_mean"]) == 0.5


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_one_token_have_the_same_ratio_either_way(seed: int) -> None:
    tokens, logp = leaf(token_batch([[True], [True], [True]], seed))
    loss(tokens, **SEQUENCE).total.backward()
    twin, other = leaf(tokens)
    loss(twin, **{**SEQUENCE, "ratio": "token"}).total.backward()
    torch.testing.assert_close(logp.grad, other.grad)


def test_sequence_ratios_sum_over_micro_batches_of_whole_rows_and_refuse_parts() -> None:
    tokens = token_batch([[True, True, False], [True], [True, True]])
    whole = loss(tokens, **SEQUENCE)
    parts = [loss(part(tokens, tokens.row == row), **SEQUENCE) for row in range(3)]
    assert sum(float(p.total) for p in parts) == pytest.approx(float(whole.total), rel=1e-12)
    with pytest.raises(AlgorithmError, match="whole rows"):
        loss(part(tokens, torch.tensor([True, False, False, True, True, True])), **SEQUENCE)


def test_nothing_under_the_mask_reaches_a_sequence_ratio() -> None:
    clean = token_batch([[True, False, True]])
    dirty = dataclasses.replace(clean, logp=clean.logp.clone().where(clean.mask, torch.tensor(math.nan)))
    dirty, logp = leaf(dirty)
    total = loss(dirty, **SEQUENCE).total
    total.backward()
    assert total.item() == loss(clean, **SEQUENCE).total.item()
    assert logp.grad is not None
    assert logp.grad[1].item() == 0.0


def test_log_s_is_at_most_ten_and_then_without_gradient() -> None:
    logp = torch.tensor([0.0, 0.0], requires_grad=True)
    row = torch.tensor([0, 0])
    log_s = sequence_log_ratio(logp, torch.tensor([18.0, 4.0]), row, torch.tensor([2.0, 2.0]))
    log_s.sum().backward()
    assert log_s.tolist() == [10.0, 10.0]
    assert logp.grad is not None
    assert logp.grad.tolist() == [0.0, 0.0]
