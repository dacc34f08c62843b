from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos import GRPO, ProgressAdvantage
from agentgym.algos.progress_advantage import step_log_ratio
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError
from agentgym.testing import make_batch
from tests.drawn import drawn_batch


def three_rows() -> StepBatch:
    """Two tokens, none, one; played at -1 each, while the reference says -2, -1.5 and -0.25."""
    return make_batch(
        group=[0] * 3,
        episode=[0, 0, 1],
        t=[0, 1, 0],
        reward=[0, 1, 0],
        token_offsets=np.array([0, 2, 2, 3]),
        token_ids=np.zeros(3, np.int64),
        logprobs=np.full(3, -1, np.float32),
    ).with_token_columns(ref_logprob=np.array([-2.0, -1.5, -0.25]))


def test_the_score_alone() -> None:
    credit = ProgressAdvantage(beta=2.0, outcome=False).credit(three_rows())
    assert credit.advantage.tolist() == [3.0, 0.0, -1.5]
    assert ProgressAdvantage(beta=2.0, outcome=False, reduce="mean").credit(three_rows()).advantage.tolist() == [
        1.5,
        0.0,
        -1.5,
    ]


def test_is_added_to_the_outcome() -> None:
    credit = ProgressAdvantage(beta=2.0, std=None).credit(three_rows())
    assert credit.components["episode"].tolist() == [0.5, 0.5, -0.5]
    assert credit.components["progress"].tolist() == [3.0, 0.0, -1.5]
    assert credit.advantage.tolist() == [3.5, 0.5, -2.0]


def test_another_policy_may_be_scored() -> None:
    batch = three_rows().with_token_columns(logprob=np.array([-2.0, -1.5, -0.75]))
    assert ProgressAdvantage(beta=1.0, outcome=False).credit(batch).advantage.tolist() == [0.0, 0.0, -0.5]


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_loop_and_without_weight_grpo(seed: int) -> None:
    batch = drawn_batch(seed)
    ratios = batch.logprobs.astype(np.float64) - batch.token_columns["ref_logprob"]
    sums = [
        sum(ratios[a:b])
        for a, b in zip(batch.token_offsets[:-1].tolist(), batch.token_offsets[1:].tolist(), strict=True)
    ]
    score = ProgressAdvantage(beta=0.5, outcome=False).credit(batch).advantage
    np.testing.assert_allclose(score, 0.5 * np.array(sums), atol=1e-6)
    plain = ProgressAdvantage(beta=0.0).credit(batch).advantage.tolist()
    assert plain == GRPO().credit(batch).advantage.tolist()


def test_rows_without_tokens_anywhere() -> None:
    assert step_log_ratio(np.zeros(0), np.zeros(0), np.array([0, 0, 0]), "sum").tolist() == [0.0, 0.0]


def test_without_a_reference_it_says_who_brings_it() -> None:
    assert [spec.name for spec in ProgressAdvantage().learners()] == ["agentgym.learners:ReferenceColumn"]
    with pytest.raises(AlgorithmError, match=r"'ref_logprob'.*ReferenceColumn"):
        ProgressAdvantage().credit(make_batch(group=[0], episode=[0], t=[0], reward=[1]))
