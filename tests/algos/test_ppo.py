"""PPO: three levels of the same estimator, what truncation changes, and the value loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from agentgym.algos import PPO, get_algorithm
from agentgym.algos.functional.losses import value_loss
from agentgym.algos.functional.statistics import whiten
from agentgym.batch import StepBatch
from agentgym.contracts import LearnerSpec, TokenBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import make_batch
from tests import reference


def played(seed: int = 0, ends: tuple[str, ...] = ("terminated", "truncated", "fault")) -> StepBatch:
    """Three episodes of 3, 1 and 2 turns that end in different ways, with rows in a random order and dyadic numbers."""
    rng = np.random.default_rng(seed)
    episode, t = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 2, 0, 0, 1])
    last = np.array([2, 3, 5])
    closing = {name: np.isin(np.arange(6), last[[end == name for end in ends]]) for name in ("terminated", "truncated")}
    lengths = rng.integers(1, 4, 6)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = int(offsets[-1])
    batch = make_batch(
        group=np.zeros(6),
        episode=episode,
        t=t,
        reward=rng.integers(-4, 5, 6) / 4,
        **closing,
        format_ok=rng.random(6) < 0.5,
        token_offsets=offsets,
        token_ids=np.zeros(tokens, np.int64),
        logprobs=np.zeros(tokens, np.float32),
    )
    values, next_values = rng.integers(-8, 9, tokens) / 8, rng.integers(-8, 9, 6) / 8
    return (
        batch.with_columns(value=values[offsets[:-1]], next_value=next_values)
        .with_token_columns(value=values)
        .take(rng.permutation(6))
    )


def ahead(batch: StepBatch) -> npt.NDArray[np.float64]:
    return np.where(batch.terminated, 0.0, batch.columns["next_value"])


def test_turns_are_the_steps_of_an_episode() -> None:
    batch = played()
    credit = PPO(gamma=0.5, lam=0.5, whiten=False, format_penalty=0.25).credit(batch)
    reward = batch.reward - 0.25 * ~batch.format_ok
    columns = (reward, batch.columns["value"], batch.episode, batch.t)
    expected = reference.gae(*(column.tolist() for column in columns), 0.5, 0.5, ahead(batch).tolist())
    assert credit.level == "row"
    np.testing.assert_array_equal(credit.advantage, np.float32(expected))
    assert credit.returns is not None
    np.testing.assert_array_equal(credit.returns, np.float32(expected + batch.columns["value"]))
    np.testing.assert_array_equal(credit.components["gae"], credit.advantage)


def by_token(batch: StepBatch, column: npt.NDArray[Any]) -> list[float]:
    """Put a number a row on the row's last token."""
    return [
        float(column[row]) if n == size - 1 else 0.0
        for row, size in enumerate(np.diff(batch.token_offsets))
        for n in range(size)
    ]


@pytest.mark.parametrize("scope", ["episode", "row"])
def test_tokens_are_the_steps_of_an_episode_or_of_one_response(scope: str) -> None:
    batch = played(1)
    credit = PPO(level="token", scope=scope, gamma=0.5, lam=0.5, whiten=False).credit(batch)
    lengths = np.diff(batch.token_offsets)
    if scope == "episode":
        earlier = [(batch.episode == batch.episode[row]) & (batch.t < batch.t[row]) for row in range(6)]
        first = [int(lengths[before].sum()) for before in earlier]
        segment = [int(batch.episode[row]) for row in range(6) for _ in range(lengths[row])]
        position = [first[row] + n for row in range(6) for n in range(lengths[row])]
        reward, bootstrap = by_token(batch, batch.reward), by_token(batch, ahead(batch))
    else:
        segment = [row for row in range(6) for _ in range(lengths[row])]
        position = [n for row in range(6) for n in range(lengths[row])]
        totals = {e: float(batch.reward[batch.episode == e].sum()) for e in range(3)}
        reward = by_token(batch, np.array([totals[int(e)] for e in batch.episode]))
        bootstrap = [0.0] * len(reward)
    value = batch.token_columns["value"].tolist()
    expected = reference.gae(reward, value, segment, position, 0.5, 0.5, bootstrap)
    assert credit.level == "token"
    np.testing.assert_array_equal(credit.advantage, np.float32(expected))
    np.testing.assert_array_equal(credit.per_token(batch), credit.advantage)
    assert credit.returns is not None
    np.testing.assert_array_equal(credit.returns, np.float32(np.array(expected) + value))


@pytest.mark.parametrize("level", ["turn", "token"])
def test_truncation_bootstraps_and_termination_does_not(level: str) -> None:
    algorithm = PPO(level=level, gamma=0.5, lam=0.25, whiten=False)
    cut, ended = played(2, ("truncated",) * 3), played(2, ("terminated",) * 3)
    difference = algorithm.credit(cut).advantage - algorithm.credit(ended).advantage
    size = {int(e): int((cut.episode == e).sum()) for e in range(3)}
    last = cut.columns["next_value"][cut.truncated]
    value = dict(zip(cut.episode[cut.truncated].tolist(), last.tolist(), strict=True))
    lengths = np.diff(cut.token_offsets)
    for row, (e, t) in enumerate(zip(cut.episode.tolist(), cut.t.tolist(), strict=True)):
        later = [int(lengths[r]) for r in range(6) if cut.episode[r] == e and cut.t[r] > t]
        for n in range(1 if level == "turn" else int(lengths[row])):
            k = size[e] - 1 - t if level == "turn" else sum(later) + int(lengths[row]) - 1 - n
            at = row if level == "turn" else int(cut.token_offsets[row]) + n
            assert difference[at] == (0.5 * 0.25) ** k * 0.5 * value[e]
    # A fault cuts an episode off as well.
    fault = played(2, ("fault",) * 3)
    np.testing.assert_array_equal(algorithm.credit(fault).advantage, algorithm.credit(cut).advantage)


@pytest.mark.parametrize("level", ["turn", "token"])
def test_whitening_is_over_the_steps_and_leaves_the_returns(level: str) -> None:
    batch = played(3)
    raw, white = (PPO(level=level, whiten=on).credit(batch) for on in (False, True))
    assert white.advantage.mean() == pytest.approx(0, abs=1e-6)
    assert white.advantage.std(ddof=1) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(white.advantage, whiten(raw.advantage.astype(np.float64)), rtol=1e-6)
    assert raw.returns is not None
    assert white.returns is not None
    np.testing.assert_array_equal(raw.returns, white.returns)


@pytest.mark.parametrize("name", ["ppo", "ppo_verl_agent", "turn_ppo"])
def test_shuffling_rows_permutes_the_credit(name: str) -> None:
    batch, algorithm = played(4), get_algorithm(name)
    shuffle = np.random.default_rng(0).permutation(6)
    moved = batch.take(shuffle)
    row = np.repeat(np.arange(6), np.diff(batch.token_offsets))
    tokens = np.concatenate([np.flatnonzero(row == r) for r in shuffle])
    np.testing.assert_array_equal(
        algorithm.credit(moved).per_token(moved), algorithm.credit(batch).per_token(batch)[tokens]
    )


def test_the_preset_of_verl_agent_gives_the_return_less_the_value() -> None:
    batch = played(5)
    credit = get_algorithm("ppo_verl_agent", whiten=False, format_penalty=0.0).credit(batch)
    totals = np.array([batch.reward[batch.episode == e].sum() for e in batch.episode])
    expected = np.repeat(totals, np.diff(batch.token_offsets)) - batch.token_columns["value"]
    np.testing.assert_allclose(credit.advantage, expected, atol=1e-6)


def test_missing_columns_are_named_with_who_brings_them() -> None:
    bare = make_batch(group=[0], episode=[0], t=[0], reward=[1.0])
    with pytest.raises(AlgorithmError, match=r"row column 'value'.*agentgym\.learners:Critic"):
        PPO().credit(bare)
    with pytest.raises(AlgorithmError, match="token column 'value'"):
        PPO(level="token").credit(bare.with_columns(value=np.zeros(1)))
    with pytest.raises(AlgorithmError, match="row column 'next_value'"):
        PPO().credit(bare.with_columns(value=np.zeros(1)))
    nothing = {"token_offsets": [0, 0], "token_ids": np.zeros(0, np.int64), "logprobs": np.zeros(0, np.float32)}
    silent = make_batch(group=[0], episode=[0], t=[0], reward=[1.0], **nothing).with_columns(next_value=np.zeros(1))
    silent = silent.with_token_columns(value=np.zeros(0))
    with pytest.raises(AlgorithmError, match="row 0 has no response tokens"):
        PPO(level="token").credit(silent)
    with pytest.raises(ConfigError, match="scope='row' needs level='token'"):
        PPO(scope="row")


def test_what_is_read_and_who_is_asked_depend_on_the_level() -> None:
    assert {name: column.level for name, column in PPO().columns.items()} == {"value": "row", "next_value": "row"}
    verl = get_algorithm("ppo_verl_agent")
    assert {name: column.level for name, column in verl.columns.items()} == {"value": "token"}
    options = {"level": "token", "shared": True, "rate": 3.0}
    (asked,) = PPO(level="token", shared=True, critic_rate=3.0).learners()
    assert asked == LearnerSpec("agentgym.learners:Critic", options)


def test_an_empty_batch_gets_empty_credit() -> None:
    empty = played().take(np.zeros(0, np.int64))
    for level in ("turn", "token"):
        credit = PPO(level=level).credit(empty)
        assert credit.advantage.shape == (0,)
        assert credit.diagnostics == {}


def test_diagnostics_say_how_much_the_values_explain() -> None:
    batch = played(6)
    perfect = PPO(lam=1.0, gamma=1.0).credit(batch)
    assert perfect.returns is not None
    known = batch.with_columns(value=perfect.returns.astype(np.float64))
    assert PPO(lam=1.0, gamma=1.0).credit(known).diagnostics["value_explained_variance"] == pytest.approx(1)
    blind = batch.with_columns(value=np.full(6, 0.5))
    diagnostics = PPO(lam=1.0, gamma=1.0).credit(blind).diagnostics
    assert diagnostics["value_explained_variance"] == pytest.approx(0)
    assert diagnostics["value_mean"] == 0.5


def tokens(values: list[float], old: list[float], returns: list[float], mask: list[int], rows: int = 2) -> TokenBatch:
    size = len(values)
    return TokenBatch(
        logp=torch.zeros(size, requires_grad=True),
        old_logp=torch.zeros(size),
        advantage=torch.ones(size),
        mask=torch.ones(size, dtype=torch.bool),
        row=torch.arange(size),
        episode=torch.zeros(size, dtype=torch.int64),
        tokens_in_row=torch.ones(size),
        total_tokens=size,
        total_rows=rows,
        total_episodes=1,
        values=torch.tensor(values, requires_grad=True),
        old_values=torch.tensor(old),
        returns=torch.tensor(returns),
        value_mask=torch.tensor(mask, dtype=torch.bool),
    )


class TestValueLoss:
    def test_the_larger_of_the_free_and_the_clipped_error_counts(self) -> None:
        # Moved by 0.25, by 1 towards the target and past the clip, and by 1 away from it; the last has no target.
        part = tokens([0.25, 1.0, -1.0, float("nan")], [0.0] * 4, [1.0, 1.0, 1.0, 1.0], [1, 1, 1, 0])
        loss = value_loss(part, 3, 0.5)
        assert float(loss.total.detach()) == pytest.approx((0.75**2 + 0.5**2 + 2.0**2) / 3)
        assert float(loss.metrics["value_clip_ratio"]) == pytest.approx(1 / 3)
        loss.total.backward()
        assert part.values is not None
        assert part.values.grad is not None
        # No gradient moves a value on that has gone past the clip; one that went astray may come back.
        assert part.values.grad.tolist() == pytest.approx([-0.5, 0.0, -4 / 3, 0.0])
        assert float(value_loss(part, 3, None).total.detach()) == pytest.approx((0.75**2 + 0.0 + 2.0**2) / 3)

    def test_turns_divide_by_rows_and_tokens_by_tokens(self) -> None:
        part = tokens([1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1, 0], rows=4)
        base = float(PPO().loss(part).metrics["policy_loss"])
        assert float(PPO(value_coef=0.5).loss(part).total.detach()) == pytest.approx(base + 0.5 / 4)
        assert float(PPO(level="token", value_coef=0.5).loss(part).total.detach()) == pytest.approx(base + 0.5 / 2)

    def test_micro_batches_add_up(self) -> None:
        rng = np.random.default_rng(0)
        columns = [rng.normal(size=6).tolist() for _ in range(3)]
        mask = [1, 0, 1, 1, 0, 1]
        whole = float(value_loss(tokens(*columns, mask), 4, 0.5).total.detach())
        parts = [value_loss(tokens(*[c[at] for c in columns], mask[at]), 4, 0.5) for at in (slice(2), slice(2, 6))]
        assert sum(float(part.total.detach()) for part in parts) == pytest.approx(whole)

    def test_without_a_critic_in_training_the_policy_alone_has_a_loss(self) -> None:
        part = tokens([0.0], [0.0], [1.0], [1])
        alone = replace(part, values=None)
        assert set(PPO().loss(alone).metrics) == set(PPO().loss(part).metrics) - {"value_loss", "value_clip_ratio"}
        with pytest.raises(AlgorithmError, match="value loss needs"):
            value_loss(replace(part, returns=None), 1, 0.5)
