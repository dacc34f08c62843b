"""Metrics read what they say, on credit whose relation to the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from agentgym.envs.finite import FiniteMDP, build, given_observation, solve
from agentgym.envs.finite.worlds import AliasedCorridor, KeyRoom
from agentgym.evaluation.creditbench.metrics import METRICS, Ground, bootstrap_weights, measure
from agentgym.evaluation.creditbench.sampling import Sample, sample_groups
from tests.trajectories import some_policy

HORIZON = 8


def ground_of(mdp: FiniteMDP, *, averaged: bool = False, batches: int = 30, resamples: int = 50) -> Ground:
    policy = some_policy(mdp)
    rng = np.random.default_rng(0)
    sample = sample_groups(mdp, policy, horizon=HORIZON, group_size=4, groups=4, batches=batches, rng=rng)
    return Ground.of(mdp, policy, HORIZON, sample, bootstrap_weights(batches, resamples, rng), averaged=averaged)


@pytest.fixture(scope="module")
def ground() -> Ground:
    return ground_of(build(KeyRoom()))


def in_two_batches(ground: Ground) -> np.ndarray:
    """Return which rows count in bias and spread: those of cells that a second batch visits too."""
    parts = np.bincount(ground.cell * 30 + ground.sample.part, minlength=30 * (ground.cell.max() + 1)).reshape(-1, 30)
    return np.asarray(((parts > 0).sum(1) > 1)[ground.cell])


def at(found: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in found.items()}


def test_truth_is_without_fault(ground: Ground) -> None:
    found = measure(ground, ground.advantage, ground.advantage, ground.advantage)
    assert set(found) == set(METRICS)
    perfect = {name: values for name, values in found.items() if name not in ("batch_cosine", "signal", "cosine")}
    for name, values in perfect.items():
        wanted = 0.0 if "bias" in name or "spread" in name or name == "silent" else 1.0
        assert np.allclose(values, wanted, atol=1e-6), name
    assert at(found)["cosine"] > 0.98
    assert 0.5 < at(found)["batch_cosine"] < at(found)["cosine"]


def test_scale_changes_nothing(ground: Ground) -> None:
    credit = ground.advantage + np.random.default_rng(1).normal(size=len(ground.advantage)) * 0.1
    one, other = measure(ground, credit), measure(ground, 8 * credit)
    assert all(np.allclose(one[name], other[name], equal_nan=True) for name in one)


def test_sign_turned_round_is_seen_everywhere(ground: Ground) -> None:
    found = at(measure(ground, -ground.advantage))
    assert found["correlation"] == pytest.approx(-1)
    assert found["centred_correlation"] == pytest.approx(-1)
    assert found["sign_agreement"] == 0
    assert found["cosine"] < -0.98
    assert found["bias"] == pytest.approx(1), "no positive scale helps"


def test_baseline_is_bias_but_no_centred_bias(ground: Ground) -> None:
    """A function of (h, s) added to A leaves the centred metrics and the expected gradient alone."""
    shift = np.random.default_rng(2).normal(size=ground.moment.max() + 1)[ground.moment]
    found = at(measure(ground, ground.advantage + shift * np.sqrt(np.mean(ground.advantage**2))))
    assert found["bias"] > 0.5
    assert found["correlation"] < 0.9
    assert found["centred_bias"] == pytest.approx(0, abs=1e-6)
    assert found["centred_correlation"] == pytest.approx(1)
    assert found["cosine"] > 0.9


def test_noise_is_spread_and_no_bias(ground: Ground) -> None:
    size = np.sqrt(np.mean(ground.advantage[in_two_batches(ground)] ** 2))
    noise = np.random.default_rng(3).normal(size=len(ground.advantage)) * size
    found = measure(ground, ground.advantage + noise)
    assert found["bias"][0] < 0.2
    assert found["spread"][0] == pytest.approx(1, abs=0.1)
    assert np.quantile(found["spread"][1:], 0.025) < found["spread"][0] < np.quantile(found["spread"][1:], 0.975)
    assert found["correlation"][0] == pytest.approx(np.sqrt(0.5), abs=0.1)
    assert found["cosine"][0] > 0.9, "noise does not count against the expected gradient"
    only_noise = at(measure(ground, noise))
    assert np.isnan(only_noise["cosine"]) or abs(only_noise["cosine"]) < 0.6
    assert abs(only_noise["batch_cosine"]) < 0.15


def test_bias_of_known_size(ground: Ground) -> None:
    """Credit that knows A in half of the cells by weight and is 0 elsewhere has bias² of what it leaves out."""
    kept = ground.cell % 2 == 0
    found = at(measure(ground, np.where(kept, ground.advantage, 0.0)))
    known = in_two_batches(ground)
    left_out = np.sum(ground.advantage[known & ~kept] ** 2) / np.sum(ground.advantage[known] ** 2)
    assert found["bias"] == pytest.approx(np.sqrt(left_out), abs=0.02)
    assert found["spread"] == pytest.approx(0, abs=1e-6)


def test_no_credit_is_no_signal(ground: Ground) -> None:
    found = at(measure(ground, np.zeros(len(ground.advantage))))
    assert (found["signal"], found["silent"], found["batch_cosine"]) == (0, 1, 0)
    assert all(np.isnan(found[name]) for name in ("cosine", "bias", "correlation", "sign_agreement"))


def test_signs_count_only_where_the_truth_has_one(ground: Ground) -> None:
    large = np.abs(ground.advantage) > 1e-6
    assert 0 < large.mean() < 1
    credit = np.where(large, np.sign(ground.advantage), 1.0)
    rows = np.flatnonzero(large)
    credit[rows[::4]] = 0
    credit[rows[1::4]] *= -1
    found = at(measure(ground, credit))
    assert found["silent"] == pytest.approx(1 / 4, abs=1e-3)
    assert found["sign_agreement"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["signal"] == pytest.approx(1 - large.mean() / 4, abs=1e-3)


def test_rows_may_come_in_any_order_of_batches(ground: Ground) -> None:
    """The estimate does not depend on which batch is called which."""
    sample = ground.sample
    turned = Sample(
        sample.batch,
        sample.batches - 1 - sample.part,
        sample.left,
        sample.action,
        sample.successor,
        sample.task,
        sample.batches,
        sample.episodes,
    )
    other = Ground(turned, ground.policy, ground.gradient, ground.advantage, ground.weights, ground.moment, ground.cell)
    credit = np.random.default_rng(1).normal(size=len(ground.advantage)) + ground.advantage
    one, two = at(measure(ground, credit)), at(measure(other, credit))
    assert one == pytest.approx(two, nan_ok=True)


def test_aliased_worlds_have_two_targets() -> None:
    mdp = build(AliasedCorridor())
    hidden, shown = ground_of(mdp), ground_of(mdp, averaged=True)
    advantage = solve(mdp, hidden.policy, HORIZON).advantage
    left, state, action = hidden.sample.left, hidden.sample.batch.state, hidden.sample.action
    assert np.array_equal(hidden.advantage, advantage[left, state, action])
    averaged = given_observation(mdp, hidden.policy, advantage)
    assert np.array_equal(shown.advantage, averaged[left, state, action])
    assert hidden.moment.max() > shown.moment.max()
    assert np.array_equal(hidden.gradient, shown.gradient)
    # The policy cannot see more than the text, so both have the same expected gradient.
    one, two = at(measure(hidden, hidden.advantage)), at(measure(hidden, shown.advantage))
    assert one["cosine"] == pytest.approx(two["cosine"], abs=0.05)
    assert two["correlation"] < 0.9


def test_bootstrap_draws_batches_with_replacement() -> None:
    weights = bootstrap_weights(6, 100, np.random.default_rng(0))
    assert weights.shape == (101, 6)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 6).all()
    assert weights[1:].max() > 1


def test_resamples_of_a_single_batch_are_undefined_and_no_warning(ground: Ground) -> None:
    """With three batches, one resample in nine draws the same one three times: there is no pair to tell noise from."""
    few = ground_of(build(KeyRoom()), batches=3, resamples=60)
    alone = (few.weights == 3).any(1)
    assert alone.any()
    found = measure(few, few.advantage + np.random.default_rng(0).normal(size=len(few.advantage)))
    assert all(np.array_equal(np.isnan(found[name]) & alone, alone) for name in ("bias", "spread", "cosine"))
    assert not np.isnan(found["correlation"]).any()
