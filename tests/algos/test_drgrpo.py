from __future__ import annotations

import numpy as np
import pytest
import torch

from agentgym.algos import GRPO, DrGRPO
from agentgym.contracts import TokenBatch
from agentgym.errors import ConfigError
from agentgym.testing import make_batch
from tests.drawn import drawn_batch


def tokens_of(lengths: list[int], advantage: list[float]) -> TokenBatch:
    """Return rows of the given lengths on the policy that played, one advantage a row."""
    row = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    zeros = torch.zeros(len(row))
    return TokenBatch(
        logp=zeros.clone().requires_grad_(),
        old_logp=zeros,
        advantage=torch.tensor(advantage)[row],
        mask=torch.ones(len(row), dtype=torch.bool),
        row=row,
        episode=row,
        tokens_in_row=torch.tensor(lengths).float()[row],
        total_tokens=len(row),
        total_rows=len(lengths),
        total_episodes=len(lengths),
    )


@pytest.mark.parametrize("seed", range(6))
def test_credit_is_that_of_grpo_without_a_standard_deviation(seed: int) -> None:
    batch = drawn_batch(seed)
    for base in ("episodes", "rows"):
        expected = GRPO(base=base, std=None).credit(batch)
        assert DrGRPO(base=base).credit(batch).advantage.tolist() == expected.advantage.tolist()


def test_one_malformed_row_among_a_hundred_failures_loses_its_penalty_and_no_more() -> None:
    format_ok = np.arange(100) != 7
    columns = {"group": [0] * 100, "episode": np.arange(100) // 10, "t": np.arange(100) % 10, "reward": [0] * 100}
    advantage = DrGRPO(base="rows", format_penalty=0.1).credit(make_batch(**columns, format_ok=format_ok)).advantage
    np.testing.assert_allclose(advantage, np.where(format_ok, 0.001, -0.099), rtol=1e-6)


def test_every_token_weighs_the_same_however_long_its_row() -> None:
    tokens = tokens_of([1, 4], [1.0, 1.0])
    total = DrGRPO(norm_tokens=10).loss(tokens).total
    total.backward()
    assert total.item() == pytest.approx(-(1 + 4) / (2 * 10))
    assert tokens.logp.grad is not None
    assert tokens.logp.grad.tolist() == pytest.approx([-1 / 20] * 5)


def test_twice_the_rows_give_the_same_loss() -> None:
    once = DrGRPO().loss(tokens_of([2, 3], [1.0, -0.5])).total.item()
    assert DrGRPO().loss(tokens_of([2, 3, 2, 3], [1.0, -0.5, 1.0, -0.5])).total.item() == pytest.approx(once)


def test_the_published_divisor_is_the_padded_width_and_there_is_no_mean_over_rows() -> None:
    """What the reference code computes, as documented: a sum over rows, so that learning rates do not carry over."""
    width, lengths, advantage = 7, [2, 7], [1.0, -0.5]
    reference = -sum(n * a for n, a in zip(lengths, advantage, strict=True)) / width
    ours = DrGRPO(norm_tokens=width).loss(tokens_of(lengths, advantage)).total.item()
    assert ours * len(lengths) == pytest.approx(reference)


def test_a_standard_deviation_or_another_aggregation_is_refused() -> None:
    with pytest.raises(ConfigError, match="std"):
        DrGRPO(std="sample")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="seq-mean-token-sum-norm"):
        DrGRPO(aggregation="token-mean")
