"""MA-PPO: what it is at its two ends, its estimate and its losses in between, and what each termination reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import PPO, MacroPPO, get_algorithm
from agentgym.algos.functional.losses import clipped_surrogate
from agentgym.algos.functional.segmentation import Macros, macro_values, macro_weights
from agentgym.batch import Credit, StepBatch
from agentgym.contracts import LearnerSpec, TokenBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import check_algorithm, make_batch

AGGREGATORS = ("equal", "unit", "position", "first")


def played(seed: int = 0) -> StepBatch:
    """Three episodes of 3, 1 and 2 turns that end in different ways, rows in a random order, with every column."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, 6)
    offsets = np.append(0, np.cumsum(lengths))
    size = int(offsets[-1])
    batch = make_batch(
        group=np.zeros(6),
        episode=[0, 0, 0, 1, 2, 2],
        t=[0, 1, 2, 0, 0, 1],
        reward=rng.integers(-4, 5, 6) / 4,
        terminated=np.arange(6) == 2,
        truncated=np.arange(6) == 3,
        format_ok=rng.random(6) < 0.5,
        token_offsets=offsets,
        token_ids=rng.integers(0, 40, size),
        logprobs=(-rng.integers(1, 9, size) / 8).astype(np.float32),
    )
    values = rng.integers(-8, 9, size) / 8
    return (
        batch.with_columns(value=values[offsets[:-1]], next_value=rng.integers(-8, 9, 6) / 8)
        .with_token_columns(value=values, ref_logprob=-rng.integers(1, 9, size) / 8)
        .with_token_columns(phrase_begins=rng.integers(0, 2, size).astype(np.float64))
        .take(rng.permutation(6))
    )


def same(first: Credit, second: Credit) -> None:
    assert first.level == second.level
    np.testing.assert_array_equal(first.advantage, second.advantage)
    np.testing.assert_array_equal(first.components["gae"], second.components["gae"])
    assert first.returns is not None
    assert second.returns is not None
    np.testing.assert_array_equal(first.returns, second.returns)


def token_batch(batch: StepBatch, credit: Credit, seed: int = 0) -> TokenBatch:
    """Return what a loss would read, with a policy and values that have moved."""
    rng = torch.Generator().manual_seed(seed)
    lengths = np.diff(batch.token_offsets)
    size = len(batch.token_ids)

    def noise() -> torch.Tensor:
        return torch.randn(size, generator=rng, dtype=torch.float64)

    old, value = torch.from_numpy(batch.logprobs).double(), torch.from_numpy(batch.token_columns["value"])
    assert credit.returns is not None
    assert credit.level == "token"
    return TokenBatch(
        logp=(old + 0.2 * noise()).requires_grad_(),
        old_logp=old,
        advantage=torch.from_numpy(credit.advantage).double(),
        mask=torch.ones(size, dtype=torch.bool),
        row=torch.from_numpy(np.repeat(np.arange(len(batch)), lengths)),
        episode=torch.from_numpy(np.repeat(batch.episode, lengths)),
        tokens_in_row=torch.from_numpy(np.repeat(lengths, lengths)).double(),
        total_tokens=size,
        total_rows=len(batch),
        total_episodes=3,
        values=(value + 0.4 * noise()).requires_grad_(),
        old_values=value,
        returns=torch.from_numpy(credit.returns).double(),
        value_mask=torch.ones(size, dtype=torch.bool),
        macro=None if credit.macro is None else torch.from_numpy(credit.macro),
    )


def gradients(algorithm: Any, tokens: TokenBatch) -> tuple[dict[str, float], list[torch.Tensor]]:
    leaves = [tokens.logp.detach().requires_grad_(), tokens.values.detach().requires_grad_()]  # type: ignore[union-attr]
    loss = algorithm.loss(replace(tokens, logp=leaves[0], values=leaves[1]))
    found = torch.autograd.grad(loss.total, leaves)
    return {"total": float(loss.total.detach()), **{n: float(v) for n, v in loss.metrics.items()}}, list(found)


class TestOneToken:
    """A macro action of one token is a token: PPO to the last bit, whatever else is set."""

    @pytest.mark.parametrize("how", AGGREGATORS)
    @pytest.mark.parametrize("discount", ["token", "macro"])
    def test_the_credit_is_that_of_ppo(self, how: Any, discount: Any) -> None:
        for seed in range(6):
            batch = played(seed)
            shared: dict[str, Any] = {"gamma": 0.9, "lam": 0.8, "whiten": seed % 2 == 0, "format_penalty": 0.25}
            for scope in ("episode", "row"):
                macro = MacroPPO(length=1, value_of=how, discount=discount, scope=scope, **shared).credit(batch)
                same(macro, PPO(level="token", scope=scope, **shared).credit(batch))

    @pytest.mark.parametrize("how", AGGREGATORS)
    @pytest.mark.parametrize("ratio", ["token", "macro"])
    def test_both_losses_are_that_of_ppo(self, how: Any, ratio: Any) -> None:
        settings: dict[str, Any] = {"clip_low": 0.1, "clip_high": 0.15, "value_clip": 0.2, "dual_clip": 1.2}
        batch = played(3)
        macro = MacroPPO(length=1, value_of=how, ratio=ratio, **settings)
        token = PPO(level="token", **settings)
        first, ours = gradients(macro, token_batch(batch, macro.credit(batch)))
        second, theirs = gradients(token, token_batch(batch, token.credit(batch)))
        assert first == second
        assert first["clip_ratio/region_mean"] > 0
        assert first["value_clip_ratio"] > 0
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


class TestTurns:
    @pytest.mark.parametrize("gamma", [1.0, 0.9])
    @pytest.mark.parametrize("whiten", [True, False])
    def test_a_macro_action_a_turn_is_ppo_over_turns(self, gamma: float, whiten: bool) -> None:
        turns: dict[str, Any] = {"termination": "turn", "value_of": "first", "lone_last": False, "discount": "macro"}
        for seed in range(4):
            batch = played(seed)
            shared: dict[str, Any] = {"gamma": gamma, "lam": 0.8, "whiten": whiten, "invalid_penalty": 0.5}
            macro, turn = MacroPPO(**turns, **shared).credit(batch), PPO(**shared).credit(batch)
            np.testing.assert_array_equal(macro.advantage, turn.per_token(batch))
            assert macro.returns is not None
            np.testing.assert_array_equal(macro.returns[batch.token_offsets[:-1]], turn.returns)

    def test_with_the_published_aggregators_or_a_lone_last_token_it_is_not(self) -> None:
        batch = played(1)
        turn = PPO(whiten=False).credit(batch).per_token(batch)
        for settings in ({"value_of": "equal", "lone_last": False}, {"value_of": "first", "lone_last": True}):
            credit = MacroPPO(termination="turn", whiten=False, **settings).credit(batch)
            assert np.abs(credit.advantage - turn).max() > 0.01


def by_hand(batch: StepBatch, macros: Macros, gamma: float, lam: float, how: Any) -> npt.NDArray[np.float64]:
    """Return the advantage of each macro action, token by token and macro action by macro action."""
    value = batch.token_columns["value"]
    weights = macro_weights(macros, how)
    answer = np.zeros(len(macros))
    for episode in np.unique(batch.episode):
        rows = np.flatnonzero(batch.episode == episode)
        rows = rows[np.argsort(batch.t[rows])]
        last = rows[-1]
        next_value = 0.0 if batch.terminated[last] else float(batch.columns["next_value"][last])
        carried = 0.0
        for row in rows[::-1]:
            for macro in reversed(range(macros.offsets[row], macros.offsets[row + 1])):
                tokens = np.flatnonzero(macros.of_token == macro)
                rewards = [batch.reward[row] if n == batch.token_offsets[row + 1] - 1 else 0.0 for n in tokens]
                earned = sum(gamma**i * r for i, r in enumerate(rewards))
                own = float((weights[tokens] * value[tokens]).sum())
                behind = gamma ** len(tokens)
                carried = earned + behind * next_value - own + behind * lam * carried
                answer[macro], next_value = carried, own
    return answer


@given(
    st.integers(0, 999), st.sampled_from(AGGREGATORS), st.sampled_from(["fixed", "randomised", "perplexity", "parsed"])
)
def test_the_estimate_is_its_slow_twin(seed: int, how: Any, termination: Any) -> None:
    batch = played(seed)
    algorithm = MacroPPO(termination=termination, length=3, value_of=how, gamma=0.9, lam=0.8, whiten=False)
    credit, macros = algorithm.credit(batch), algorithm.macros(batch)
    expected = by_hand(batch, macros, 0.9, 0.8, how)
    np.testing.assert_allclose(credit.advantage, expected[macros.of_token], rtol=1e-5, atol=1e-6)
    assert credit.macro is not None
    np.testing.assert_array_equal(credit.macro, macros.of_token)
    assert credit.returns is not None
    own = macro_values(macros, batch.token_columns["value"], how)
    np.testing.assert_allclose(credit.returns, (expected + own)[macros.of_token], rtol=1e-5, atol=1e-6)
    assert credit.diagnostics["macro_length_mean"] == len(batch.token_ids) / len(macros)


@pytest.mark.parametrize("how", AGGREGATORS)
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_one_macro_action_has_the_return_less_its_value(how: Any, lam: float) -> None:
    batch = played(2)
    batch = replace(batch.take(np.flatnonzero(batch.episode == 1)), terminated=np.ones(1, np.bool_))
    batch = replace(batch, episode=np.zeros(1, np.int64))
    algorithm = MacroPPO(termination="turn", lone_last=False, lam=lam, value_of=how, whiten=False)
    value = macro_values(algorithm.macros(batch), batch.token_columns["value"], how)
    np.testing.assert_allclose(algorithm.credit(batch).advantage, batch.reward[0] - value[0], rtol=1e-6)


def test_without_discounts_it_is_what_was_still_to_come_less_the_value() -> None:
    for seed in range(5):
        batch = played(seed)
        algorithm = MacroPPO(termination="randomised", gamma=1.0, lam=1.0, whiten=False)
        macros = algorithm.macros(batch)
        value = macro_values(macros, batch.token_columns["value"], "equal")
        credit = algorithm.credit(batch).advantage
        for row in range(6):
            later = (batch.episode == batch.episode[row]) & (batch.t >= batch.t[row])
            last = np.flatnonzero(later)[np.argmax(batch.t[later])]
            end = 0.0 if batch.terminated[last] else batch.columns["next_value"][last]
            to_come = batch.reward[later].sum() + end
            tokens = np.arange(batch.token_offsets[row], batch.token_offsets[row + 1])
            np.testing.assert_allclose(credit[tokens], to_come - value[macros.of_token[tokens]], atol=1e-6)


@pytest.mark.parametrize("discount", ["token", "macro"])
def test_truncation_differs_by_the_discounted_value_over_macro_actions(discount: Any) -> None:
    batch = played(4)
    algorithm = MacroPPO(length=2, gamma=0.5, lam=0.25, discount=discount, whiten=False)
    cut = replace(batch, terminated=np.zeros(6, np.bool_))
    done = replace(batch, terminated=np.ones(6, np.bool_))
    difference = algorithm.credit(cut).advantage.astype(np.float64) - algorithm.credit(done).advantage
    macros = algorithm.macros(batch)
    for episode in range(3):
        rows = np.flatnonzero(batch.episode == episode)
        rows = rows[np.argsort(batch.t[rows])]
        order = np.concatenate([np.arange(macros.offsets[row], macros.offsets[row + 1]) for row in rows])
        value = batch.columns["next_value"][rows[-1]]
        expected = float(value)
        for number, macro in enumerate(order[::-1]):
            tokens = macros.lengths[macro] if discount == "token" else 1
            expected *= 0.5**tokens * (1.0 if number == 0 else 0.25)
            np.testing.assert_allclose(difference[macros.of_token == macro], expected, atol=1e-6)


class TestKL:
    """Token rewards -β (log π - log π_ref), in units in which every sum is exact."""

    @staticmethod
    def rewards(batch: StepBatch, **settings: Any) -> npt.NDArray[np.float64]:
        algorithm = MacroPPO(length=4, kl_reward_coef=0.5, whiten=False, **settings)
        return algorithm.rewards(batch, algorithm.macros(batch), batch.reward)

    def test_summed_it_keeps_the_return_and_averaged_it_is_a_mean_with_the_weights(self) -> None:
        batch = played(5)
        penalty = -0.5 * (batch.logprobs - batch.token_columns["ref_logprob"])
        assert np.abs(penalty).sum() > 0
        for how in AGGREGATORS:
            macros = MacroPPO(length=4).macros(batch)
            summed = self.rewards(batch, value_of=how)
            assert summed.sum() == batch.reward.sum() + penalty.sum()
            plain = macros.sum(np.where(np.isin(np.arange(len(penalty)), batch.token_offsets[1:] - 1), 1.0, 0.0))
            last = np.repeat(batch.reward, np.diff(macros.offsets)) * plain
            mean = macro_values(macros, penalty, how)
            np.testing.assert_allclose(self.rewards(batch, value_of=how, kl_agg="mean"), last + mean, atol=1e-12)

    def test_the_learner_brings_what_it_reads(self) -> None:
        algorithm = MacroPPO(kl_reward_coef=0.1)
        assert LearnerSpec("agentgym.learners:ReferenceColumn") in algorithm.learners()
        assert algorithm.columns["ref_logprob"].level == "token"
        assert "ref_logprob" not in MacroPPO().columns
        batch = replace(played(), token_columns={"value": played().token_columns["value"]})
        with pytest.raises(AlgorithmError, match=r"token column 'ref_logprob'.*ReferenceColumn"):
            algorithm.credit(batch)


class TestLoss:
    def test_the_joint_ratio_is_the_product_and_has_the_gradient_of_its_one_surrogate(self) -> None:
        batch = played(6)
        algorithm = MacroPPO(ratio="macro", length=3, clip_low=0.1, clip_high=0.3)
        tokens = token_batch(batch, algorithm.credit(batch))
        logp = tokens.logp.detach().requires_grad_()
        macros = algorithm.macros(batch)
        log_ratio = torch.zeros(len(macros), dtype=torch.float64).index_add(
            0, torch.from_numpy(macros.of_token), logp - tokens.old_logp
        )
        advantage = tokens.advantage[torch.from_numpy(np.flatnonzero(macros.place == 0))]
        surrogate = clipped_surrogate(log_ratio.exp(), advantage, 0.1, 0.3, None)
        (expected,) = torch.autograd.grad(surrogate.sum() / tokens.total_tokens, logp)
        metrics, (found, _) = gradients(algorithm, tokens)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        counted = (surrogate.detach() * torch.from_numpy(macros.lengths)).sum() / tokens.total_tokens
        assert metrics["policy_loss"] == pytest.approx(float(counted))
        assert (expected == 0).any()  # some are held back

    def test_both_forms_begin_with_one_gradient_and_part_later(self) -> None:
        batch = played(7)
        credit = MacroPPO(length=4).credit(batch)
        tokens = token_batch(batch, credit)
        start = replace(tokens, logp=tokens.old_logp.clone())
        token, macro = MacroPPO(length=4), MacroPPO(length=4, ratio="macro")
        torch.testing.assert_close(gradients(token, start)[1][0], gradients(macro, start)[1][0])
        held = [gradients(a, tokens)[0]["clip_ratio/region_mean"] for a in (token, macro)]
        assert held[1] > held[0]

    def test_all_values_of_a_macro_action_learn_its_return(self) -> None:
        batch = played(8)
        algorithm = MacroPPO(length=3, value_clip=None)
        credit = algorithm.credit(batch)
        tokens = token_batch(batch, credit)
        assert tokens.values is not None
        assert credit.returns is not None
        error = tokens.values.detach().numpy() - credit.returns
        assert gradients(algorithm, tokens)[0]["value_loss"] == pytest.approx((error**2).mean())

    def test_a_macro_ratio_needs_macro_actions_and_whole_rows(self) -> None:
        batch = played(9)
        algorithm = MacroPPO(ratio="macro")
        tokens = token_batch(batch, algorithm.credit(batch))
        with pytest.raises(AlgorithmError, match="ratio='macro' needs the macro actions"):
            PPO(level="token", ratio="macro").loss(replace(tokens, macro=None))
        torn = replace(tokens, mask=torch.arange(len(tokens.mask)) > 0)
        with pytest.raises(AlgorithmError, match="a macro ratio needs micro-batches of whole rows"):
            algorithm.loss(torn)


@pytest.mark.parametrize(
    "settings",
    [
        {"termination": "randomised", "ratio": "macro", "gamma": 0.9},
        {"termination": "parsed", "value_of": "position"},
        {"termination": "perplexity", "kl_reward_coef": 0.1, "kl_agg": "mean"},
        {"termination": "turn", "lone_last": False, "value_of": "first", "whiten": False},
    ],
    ids=str,
)
def test_every_termination_keeps_the_laws(settings: dict[str, Any]) -> None:
    check_algorithm(MacroPPO(**settings), max_examples=2)


def test_the_presets_differ_as_paper_and_code_do() -> None:
    paper, code = get_algorithm("ma_ppo_paper"), get_algorithm("ma_ppo_code")
    assert (paper.config.ratio, paper.config.kl_agg) == ("macro", "sum")
    assert (code.config.ratio, code.config.kl_agg, code.config.discount) == ("token", "mean", "macro")
    batch = played(1)
    assert np.abs(paper.credit(batch).advantage - code.credit(batch).advantage).max() > 0


def test_phrases_come_from_a_learner_with_the_settings() -> None:
    critic, phrases = MacroPPO(termination="parsed", cutoff=7, fallback="fixed", length=3).learners()
    assert critic.options["level"] == "token"
    options = {"parser": "agentgym.learners.phrases:chunk", "cutoff": 7, "fallback": 3}
    assert phrases == LearnerSpec("agentgym.learners:PhraseColumn", options)
    assert MacroPPO(termination="parsed", length=3).learners()[1].options["fallback"] == 1
    batch = played(2)
    algorithm = MacroPPO(termination="parsed", lone_last=False)
    starts = np.flatnonzero(algorithm.macros(batch).place == 0)
    firsts = set(batch.token_offsets[:-1].tolist())
    assert set(starts) == firsts | set(np.flatnonzero(batch.token_columns["phrase_begins"] > 0.5).tolist())


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ConfigError, match="macro actions have ratio='macro' or 'token'"):
        MacroPPO(ratio="sequence")
    with pytest.raises(ConfigError, match=r"MacroPPOConfig\.level = 'turn'"):
        MacroPPO(level="turn")
    with pytest.raises(ConfigError, match=r"MacroPPOConfig\.lengths\.0 = 0"):
        MacroPPO(lengths=(0, 1))
    nothing = {"token_offsets": [0, 0], "token_ids": np.zeros(0, np.int64), "logprobs": np.zeros(0, np.float32)}
    silent = make_batch(group=[0], episode=[0], t=[0], reward=[1.0], **nothing).with_columns(next_value=np.zeros(1))
    with pytest.raises(AlgorithmError, match="row 0 has no response tokens"):
        MacroPPO().credit(silent.with_token_columns(value=np.zeros(0)))


def test_an_empty_batch_gets_empty_credit() -> None:
    credit = MacroPPO().credit(played().take(np.zeros(0, np.int64)))
    assert credit.advantage.shape == (0,)
    assert credit.diagnostics == {}
