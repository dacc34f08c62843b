from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentgym.algos import GRPO, ReinforcePP, ReinforcePPBaseline
from agentgym.algos.reinforce_pp import token_returns
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import make_batch
from tests.drawn import drawn_batch


def with_tokens(lengths: list[int], logprobs: Any = None, **columns: Any) -> StepBatch:
    tokens = sum(lengths)
    return make_batch(
        **columns,
        token_offsets=np.append(0, np.cumsum(lengths)).astype(np.int64),
        token_ids=np.zeros(tokens, np.int64),
        logprobs=np.zeros(tokens, np.float32) if logprobs is None else np.array(logprobs, np.float32),
    )


def one_by_one(batch: StepBatch, kl: list[float], gamma: float, scope: str) -> list[float]:
    """Walk each episode backwards, token by token; a row without tokens is one place."""
    answer = [0.0] * len(kl)
    for episode in set(batch.episode.tolist()):
        rows = sorted(np.flatnonzero(batch.episode == episode).tolist(), key=lambda r: -int(batch.t[r]))
        total = math.fsum(batch.reward[rows].tolist())
        ahead = 0.0
        for row in rows:
            start, end = int(batch.token_offsets[row]), int(batch.token_offsets[row + 1])
            if scope == "row":
                ahead = 0.0
            places: list[int | None] = [*range(start, end)] or [None]
            for place in reversed(places):
                reward = (total if scope == "row" else float(batch.reward[row])) if place == places[-1] else 0.0
                ahead = reward - (0.0 if place is None else kl[place]) + gamma * ahead
                if place is not None:
                    answer[place] = ahead
    return answer


@pytest.mark.parametrize("scope", ["episode", "row"])
@pytest.mark.parametrize("seed", range(8))
def test_returns_equal_the_loop(seed: int, scope: Any) -> None:
    batch = drawn_batch(seed)
    kl = np.random.default_rng(seed).normal(size=len(batch.token_ids))
    ours = token_returns(batch, kl, gamma=0.9, scope=scope)
    np.testing.assert_allclose(ours, one_by_one(batch, kl.tolist(), 0.9, scope), atol=1e-12)


def test_one_response_of_two_tokens() -> None:
    batch = with_tokens([2], group=[0], episode=[0], t=[0], reward=[1])
    assert token_returns(batch, np.zeros(2), gamma=0.5, scope="episode").tolist() == [0.5, 1.0]
    credit = ReinforcePP(gamma=0.5).credit(batch)
    assert credit.level == "token"
    np.testing.assert_allclose(credit.advantage, [-(0.5**0.5), 0.5**0.5], rtol=1e-6)
    assert credit.components["return"].tolist() == credit.advantage.tolist()


def test_a_reward_on_the_way_counts_for_all_or_for_what_came_before_by_the_scope() -> None:
    batch = with_tokens([2, 1], group=[0, 0], episode=[0, 0], t=[0, 1], reward=[1, 2])
    assert token_returns(batch, np.zeros(3), gamma=1.0, scope="episode").tolist() == [3, 3, 2]
    assert token_returns(batch, np.zeros(3), gamma=1.0, scope="row").tolist() == [3, 3, 3]
    assert token_returns(batch, np.zeros(3), gamma=0.5, scope="episode").tolist() == [1, 2, 2]
    assert token_returns(batch, np.zeros(3), gamma=0.5, scope="row").tolist() == [1.5, 3, 3]


def test_a_row_without_tokens_keeps_its_reward() -> None:
    batch = with_tokens([1, 0, 1], group=[0] * 3, episode=[0] * 3, t=[0, 1, 2], reward=[0, 4, 0])
    assert token_returns(batch, np.zeros(2), gamma=0.5, scope="episode").tolist() == [2, 0]


@pytest.mark.parametrize("seed", [0, 3, 6, 9])
def test_with_one_reward_at_the_end_the_scopes_agree(seed: int) -> None:
    batch = drawn_batch(seed)
    rows, episodes = (ReinforcePP(scope=scope).credit(batch).advantage for scope in ("row", "episode"))
    np.testing.assert_allclose(rows, episodes, atol=1e-6)


def test_the_kl_penalty_is_in_the_reward_of_each_token_and_those_before() -> None:
    batch = with_tokens([2, 2], [-1, -1, -2, -1], group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    known = batch.with_token_columns(ref_logprob=np.array([-2.0, -1.5, -1.0, -1.0]))
    # KL 1, 0.5 | -1, 0 at weight 0.2: returns 0.7, 0.9 | 0.2, 0
    ours = ReinforcePP(kl_reward_coef=0.2).credit(known).advantage
    returns = np.array([0.7, 0.9, 0.2, 0.0])
    np.testing.assert_allclose(ours, (returns - returns.mean()) / returns.std(ddof=1), rtol=1e-6)
    trained = known.with_token_columns(logprob=np.array([-2.0, -1.5, -1.0, -1.0]))
    unpenalised = ReinforcePP().credit(batch).advantage.tolist()
    assert ReinforcePP(kl_reward_coef=0.2).credit(trained).advantage.tolist() == unpenalised


def test_the_reference_is_asked_for_only_where_it_is_read() -> None:
    batch = with_tokens([1], group=[0], episode=[0], t=[0], reward=[1])
    assert ReinforcePP().learners() == []
    assert [spec.name for spec in ReinforcePP(kl_reward_coef=0.1).learners()] == ["agentgym.learners:ReferenceColumn"]
    with pytest.raises(AlgorithmError, match=r"'ref_logprob'.*ReferenceColumn"):
        ReinforcePP(kl_reward_coef=0.1).credit(batch)


@pytest.mark.parametrize("seed", range(4))
def test_advantages_are_white_over_the_tokens_of_the_batch(seed: int) -> None:
    advantage = ReinforcePP().credit(drawn_batch(seed)).advantage.astype(np.float64)
    assert advantage.mean() == pytest.approx(0, abs=1e-6)
    assert advantage.var(ddof=1) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("lengths", [[0], [1], [3]])
def test_a_batch_of_equal_returns_has_no_credit(lengths: list[int]) -> None:
    credit = ReinforcePP().credit(with_tokens(lengths, group=[0], episode=[0], t=[0], reward=[10 * 0.95**7]))
    assert credit.advantage.tolist() == [0.0] * lengths[0]


# The baseline form ----------------------------------------------------------------------------------------------------


def test_the_baseline_form_weighs_rows_by_their_tokens() -> None:
    """Centred 0.5 on three tokens and -0.5 on one: mean 0.25, sample variance 0.25."""
    batch = with_tokens([3, 1], group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0])
    np.testing.assert_allclose(ReinforcePPBaseline().credit(batch).advantage, [0.5, -1.5], rtol=1e-6)


@pytest.mark.parametrize("base", ["episodes", "rows"])
@pytest.mark.parametrize("seed", range(5))
def test_the_baseline_form_is_centred_grpo_whitened(seed: int, base: Any) -> None:
    batch = drawn_batch(seed, least_tokens=1)
    lengths = np.diff(batch.token_offsets)
    centred = GRPO(base=base, std=None).credit(batch).advantage.astype(np.float64)
    tokens = np.repeat(centred, lengths)
    deviation = np.sqrt(tokens.var(ddof=1) + 1e-8) if len(tokens) > 1 else 1.0
    ours = ReinforcePPBaseline(base=base).credit(batch).advantage
    np.testing.assert_allclose(ours, (centred - tokens.mean()) / deviation, atol=2e-6)


def test_rows_without_tokens_get_nothing_and_a_batch_without_tokens_counts_rows() -> None:
    columns: dict[str, Any] = {"group": [0] * 3, "episode": [0, 1, 2], "t": [0] * 3, "reward": [2, 0, 1]}
    some = ReinforcePPBaseline().credit(with_tokens([1, 1, 0], **columns)).advantage
    np.testing.assert_allclose(some, [0.5**0.5, -(0.5**0.5), 0], rtol=1e-6)
    assert ReinforcePPBaseline().credit(with_tokens([0, 0, 0], **columns)).advantage.tolist() == [1, -1, 0]


def test_the_baseline_form_has_no_standard_deviation_of_the_group() -> None:
    with pytest.raises(ConfigError, match="std"):
        ReinforcePPBaseline(std="sample")  # type: ignore[arg-type]
