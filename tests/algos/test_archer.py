"""ArCHer's credit and loss against worlds whose values are known, and what its settings refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import ArCHer, ArCHerOffline, get_algorithm
from agentgym.batch import StepBatch
from agentgym.contracts import TokenBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import make_batch

NUMBERS = st.floats(-2, 2, allow_subnormal=False)


def valued(batch: StepBatch, q: object, v: object) -> StepBatch:
    return batch.with_columns(utterance_q=np.asarray(q, float), utterance_v=np.asarray(v, float))


@given(
    reward=st.lists(NUMBERS, min_size=1, max_size=6),
    values=st.lists(NUMBERS, min_size=6, max_size=6),
    gamma=st.floats(0.5, 1),
)
def test_advantages_of_exact_critics_telescope(reward: list[float], values: list[float], gamma: float) -> None:
    """In a deterministic world Σ γᶜ A = Σ γᶜ r - V(s₀), whatever V is, if Q = r + γ V' and nothing is after the end."""
    turns = len(reward)
    v = np.array(values[:turns])
    q = np.array(reward) + gamma * np.append(v[1:], 0.0)
    t = list(range(turns))
    ends = [number == turns - 1 for number in t]
    batch = make_batch(group=[0] * turns, episode=[0] * turns, t=t, reward=reward, terminated=ends)
    advantage = ArCHer(gamma=gamma).credit(valued(batch, q, v)).advantage
    discount = gamma ** np.arange(turns)
    assert (discount * advantage).sum() == pytest.approx((discount * reward).sum() - v[0], abs=1e-5)


@given(
    q=st.lists(NUMBERS, min_size=3, max_size=3),
    weights=st.lists(st.floats(0.1, 1), min_size=3, max_size=3),
)
def test_no_advantage_is_expected_of_the_policy_itself(q: list[float], weights: list[float]) -> None:
    policy = np.array(weights) / sum(weights)
    batch = make_batch(group=[0] * 3, episode=[0, 1, 2], t=[0] * 3, reward=[0] * 3)
    advantage = ArCHer().credit(valued(batch, q, np.full(3, policy @ q))).advantage
    assert policy @ advantage == pytest.approx(0, abs=1e-6)


def test_every_token_of_a_turn_has_its_advantage_and_pulls_alike() -> None:
    """REINFORCE: dL/dlog π is -A over the number of turns, at each token, whatever was recorded of it."""
    five = np.zeros(5)
    tokens = {"token_offsets": [0, 2, 5], "token_ids": five.astype(np.int64), "logprobs": five.astype(np.float32)}
    batch = make_batch(group=[0, 0], episode=[0, 0], t=[0, 1], reward=[0, 1], **tokens)
    credit = ArCHer().credit(valued(batch, [0.5, 1.0], [0.25, 0.5]))
    np.testing.assert_array_equal(credit.per_token(batch), np.float32([0.25, 0.25, 0.5, 0.5, 0.5]))
    logp = torch.tensor([-1.0, -2.0, -0.5, -3.0, -0.1], requires_grad=True)
    row = torch.tensor([0, 0, 1, 1, 1])
    spoken = TokenBatch(
        logp=logp,
        old_logp=logp.detach() + 5.0,
        advantage=torch.from_numpy(credit.per_token(batch)),
        mask=torch.ones(5, dtype=torch.bool),
        row=row,
        episode=torch.zeros_like(row),
        tokens_in_row=torch.tensor([2.0, 2, 3, 3, 3]),
        total_tokens=5,
        total_rows=2,
        total_episodes=1,
    )
    loss = ArCHer().loss(spoken)
    loss.total.backward()
    assert float(loss.total.detach()) == pytest.approx((0.25 * 3.0 + 0.5 * 3.6) / 2)
    assert logp.grad is not None
    torch.testing.assert_close(logp.grad, -spoken.advantage / 2)


# The baseline ---------------------------------------------------------------------------------------------------------


def two_turns() -> StepBatch:
    five = np.zeros(5)
    tokens = {"token_offsets": [0, 2, 5], "token_ids": five.astype(np.int64), "logprobs": five.astype(np.float32)}
    batch = make_batch(group=[0, 0], episode=[0, 0], t=[0, 1], reward=[0, 1], **tokens)
    return valued(batch, [0.5, 1.0], [0.25, 0.5])


def test_a_baseline_is_taken_off_at_each_token_and_learns_the_advantage() -> None:
    b = np.array([0.25, 0.0, 0.5, 1.0, -0.5])
    credit = ArCHer(baseline=True).credit(two_turns().with_token_columns(value=b))
    assert credit.level == "token"
    assert credit.advantage.tolist() == [0.0, 0.25, 0.0, -0.5, 1.0]
    assert credit.returns is not None
    assert credit.returns.tolist() == [0.25, 0.25, 0.5, 0.5, 0.5]
    np.testing.assert_array_equal(credit.components["utterance"] + credit.components["baseline"], credit.advantage)
    with pytest.raises(AlgorithmError, match=r"token column 'value'.*agentgym\.learners:Critic"):
        ArCHer(baseline=True).credit(two_turns())


def test_the_losses_of_policy_and_baseline_are_means_over_turns_of_sums_over_tokens() -> None:
    algorithm, b = ArCHer(baseline=True), torch.tensor([0.5, 0.0, 1.0])
    logp = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    values = torch.tensor([0.5, 0.0, 0.75], requires_grad=True)
    advantage = torch.tensor([1.0, 1.0, 2.0])
    tokens = TokenBatch(
        logp=logp,
        old_logp=logp.detach(),
        advantage=advantage - b,
        mask=torch.ones(3, dtype=torch.bool),
        row=torch.tensor([0, 0, 1]),
        episode=torch.tensor([0, 0, 1]),
        tokens_in_row=torch.tensor([2.0, 2, 1]),
        total_tokens=3,
        total_rows=2,
        total_episodes=2,
        values=values,
        old_values=b,
        returns=advantage,
        value_mask=torch.ones(3, dtype=torch.bool),
    )
    loss = algorithm.loss(tokens)
    assert float(loss.metrics["policy_loss"]) == pytest.approx((0.5 * 1 + 1.0 * 2 + 1.0 * 0.5) / 2)
    assert float(loss.metrics["baseline_loss"]) == pytest.approx((0.5**2 + 1.0**2 + 1.25**2) / 2)
    assert float(loss.total.detach()) == pytest.approx(sum(map(float, loss.metrics.values())))
    loss.total.backward()
    assert logp.grad is not None
    assert values.grad is not None
    assert logp.grad.tolist() == [-0.25, -0.5, -0.5]
    assert values.grad.tolist() == [-0.5, -1.0, -1.25]
    assert not algorithm.zero_advantage_is_silent


@given(b=NUMBERS, q=st.lists(NUMBERS, min_size=3, max_size=3))
def test_a_baseline_leaves_the_expected_gradient_alone(b: float, q: list[float]) -> None:
    """Over utterances as often as the policy says them, b times the sum of ∇log π is 0."""
    said = [0, 1, 2, 2]  # π = 1/4, 1/4, 1/2
    gradients = []
    for baseline in (0.0, b):
        logits = torch.tensor([0.0, 0.0, math.log(2)], dtype=torch.float64, requires_grad=True)
        advantage = torch.tensor([q[token] for token in said], dtype=torch.float64) - baseline
        row = torch.arange(4)
        logp = logits.log_softmax(0)[said]
        spoken = TokenBatch(logp, logp.detach(), advantage, row >= 0, row, row, torch.ones(4), 4, 4, 4)
        (gradient,) = torch.autograd.grad(ArCHer().loss(spoken).total, logits)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def test_the_baseline_is_a_critic_of_tokens() -> None:
    critics, baseline = ArCHer(baseline=True, baseline_rate=3.0, shared=True, actor="fresh", actor_steps=3).learners()
    assert (critics.options["actor"], critics.options["actor_steps"]) == ("fresh", 3)
    assert baseline.name == "agentgym.learners:Critic"
    assert baseline.options == {"level": "token", "shared": True, "rate": 3.0}
    assert len(ArCHer().learners()) == 1


# Offline --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["actor=fresh", "actor_steps=2", "baseline=true"])
def test_offline_nothing_is_said_anew(setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=f"ArCHerOfflineConfig has no setting '{name}'"):
        get_algorithm(f"archer_offline:{setting}")


def test_offline_weights_are_exponential_and_bounded() -> None:
    batch = make_batch(group=[0] * 3, episode=[0, 1, 2], t=[0] * 3, reward=[0] * 3)
    columns = valued(batch, [1.0, 0.0, 900.0], [0.0, 1.0, 0.0])
    weight = ArCHerOffline(beta_inv=2.0, max_weight=50.0).credit(columns).advantage
    assert weight.tolist() == pytest.approx([math.exp(2), math.exp(-2), 50.0], rel=1e-6)
    assert ArCHerOffline(beta_inv=0.0).credit(columns).advantage.tolist() == [1.0, 1.0, 1.0]
    assert not np.isfinite(get_algorithm("archer_offline_paper").credit(columns).advantage[2])


def test_silence_is_for_turns_without_advantage_and_losses_without_further_terms() -> None:
    assert ArCHer().zero_advantage_is_silent
    assert not ArCHer(kl_coef=0.1).zero_advantage_is_silent
    assert not ArCHer(entropy_coef=0.1).zero_advantage_is_silent


@pytest.mark.parametrize("setting", [{"clip_high": 0.3}, {"dual_clip": 3.0}, {"ratio": "sequence"}, {"clip_low": 0.1}])
def test_settings_of_a_ratio_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="which this loss does not have"):
        ArCHer(**setting)
    assert ArCHer(clip_low=0.2).config.aggregation == "seq-mean-token-sum"


def test_critics_are_asked_for_with_the_settings() -> None:
    (spec,) = ArCHer(gamma=0.5, steps=3, critic_learning_rate=0.25).learners()
    assert (spec.options["gamma"], spec.options["steps"], spec.options["learning_rate"]) == (0.5, 3, 0.25)
    assert "expectile" not in spec.options
    (offline,) = ArCHerOffline(expectile=0.7).learners()
    assert offline.options["expectile"] == 0.7
    assert ArCHerOffline().collector().name == "group"
    assert ArCHerOffline(data="games.jsonl").collector().options == {"data": "games.jsonl"}


def test_a_missing_column_is_named() -> None:
    batch = make_batch(group=[0], episode=[0], t=[0], reward=[0])
    with pytest.raises(AlgorithmError, match=r"row column 'utterance_q'.*UtteranceCritics"):
        ArCHer().credit(batch)


def test_terms_need_their_columns() -> None:
    ones = torch.ones(1)
    tokens = TokenBatch(ones, ones, ones, ones.bool(), ones.long(), ones.long(), ones, 1, 1, 1)
    with pytest.raises(AlgorithmError, match="'ref_logp'"):
        ArCHer(kl_coef=0.1).loss(tokens)


def test_whitened_advantages_have_no_mean() -> None:
    rng = np.random.default_rng(0)
    batch = make_batch(group=[0] * 6, episode=[0, 0, 0, 1, 1, 1], t=[0, 1, 2] * 2, reward=[0.0] * 6)
    columns = batch.with_columns(utterance_q=rng.normal(size=6) - 3.0, utterance_v=rng.normal(size=6))
    plain, whitened = (get_algorithm("archer", whiten=whiten).credit(columns).advantage for whiten in (False, True))
    assert abs(plain.mean()) > 1
    assert whitened.mean() == pytest.approx(0, abs=1e-6)
    assert whitened.std(ddof=1) == pytest.approx(1, rel=1e-3)
    np.testing.assert_allclose(np.argsort(whitened), np.argsort(plain))
