from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from agentgym.algos import GRPO, GSPO
from agentgym.contracts import TokenBatch
from agentgym.errors import ConfigError
from tests.drawn import drawn_batch


def tokens_of(log_ratios: list[list[float]], advantage: list[float]) -> TokenBatch:
    lengths = torch.tensor([len(row) for row in log_ratios])
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    old = torch.full((len(row),), -2.0, dtype=torch.float64)
    logp = old + torch.tensor([d for ratios in log_ratios for d in ratios], dtype=torch.float64)
    return TokenBatch(
        logp=logp.requires_grad_(),
        old_logp=old,
        advantage=torch.tensor(advantage, dtype=torch.float64)[row],
        mask=torch.ones(len(row), dtype=torch.bool),
        row=row,
        episode=row,
        tokens_in_row=lengths.double()[row],
        total_tokens=len(row),
        total_rows=len(lengths),
        total_episodes=len(lengths),
    )


def gradient(algorithm: Any, tokens: TokenBatch) -> list[float]:
    (grad,) = torch.autograd.grad(algorithm.loss(tokens).total, tokens.logp)
    return [float(g) for g in grad]


def test_a_row_counts_by_its_mean_and_is_clipped_as_a_whole() -> None:
    """The tokens' own ratios, 1.22 and 0.82, are far outside of the range; their mean is 1."""
    tokens = tokens_of([[0.2, -0.2], [0.001, 0.003]], [1.0, 1.0])
    assert GSPO().loss(tokens).total.item() == pytest.approx(-(1.0 + 1.0004) / 2)
    assert gradient(GSPO(), tokens) == pytest.approx([-0.25, -0.25, 0.0, 0.0])


def test_a_row_that_got_worse_is_not_held_back() -> None:
    tokens = tokens_of([[-0.01, -0.03], [0.01, 0.03]], [1.0, -1.0])
    low, high = math.exp(-0.02), math.exp(0.02)
    assert GSPO().loss(tokens).total.item() == pytest.approx((high - low) / 2)
    assert gradient(GSPO(), tokens) == pytest.approx([-low / 4, -low / 4, high / 4, high / 4])


def test_rows_of_one_token_train_as_in_grpo() -> None:
    tokens = tokens_of([[0.1], [-0.3], [0.4]], [1.0, -1.0, 0.5])
    clips: dict[str, float] = {"clip_low": 0.2, "clip_high": 0.28}
    plain = GRPO(aggregation="seq-mean-token-mean", **clips)
    assert GSPO(**clips).loss(tokens).total.item() == pytest.approx(plain.loss(tokens).total.item())
    assert gradient(GSPO(**clips), tokens) == pytest.approx(gradient(plain, tokens))


def test_any_method_may_have_sequence_ratios() -> None:
    tokens = tokens_of([[0.2, -0.1], [0.3]], [1.0, -1.0])
    same = GRPO(ratio="sequence", clip_low=3e-4, clip_high=4e-4, aggregation="seq-mean-token-mean")
    assert same.loss(tokens).total.item() == GSPO().loss(tokens).total.item()


@pytest.mark.parametrize("seed", range(3))
def test_credit_is_that_of_grpo(seed: int) -> None:
    batch = drawn_batch(seed)
    assert GSPO().credit(batch).advantage.tolist() == GRPO().credit(batch).advantage.tolist()


def test_zero_advantage_is_silent_without_kl() -> None:
    assert GSPO().zero_advantage_is_silent
    assert not GSPO(kl_coef=0.01).zero_advantage_is_silent


@pytest.mark.parametrize("setting", [{"ratio": "token"}, {"dual_clip": 3.0}, {"aggregation": "token-mean"}])
def test_what_makes_it_gspo_is_fixed(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        GSPO(**setting)
