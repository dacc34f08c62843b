"""GAE against its slow twin, its limits, and what truncation changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos.functional.gae import gae, token_positions
from agentgym.algos.functional.returns import discounted_returns
from agentgym.algos.functional.statistics import normalise, segments
from agentgym.errors import AlgorithmError
from tests import reference


def draw(seed: int, lengths: list[int]) -> dict[str, Any]:
    """Return segments of the given lengths in a random order of items."""
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    shuffle = rng.permutation(total)
    return {
        "reward": rng.normal(size=total),
        "value": rng.normal(size=total),
        "bootstrap": rng.normal(size=total),
        "segment": np.repeat(np.arange(len(lengths)), lengths)[shuffle],
        "position": np.concatenate([np.arange(n) for n in lengths])[shuffle] if lengths else np.zeros(0, np.int64),
    }


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 9), max_size=6),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    st.sampled_from([0.0, 0.9, 1.0]),
)
def test_gae_is_its_slow_twin(seed: int, lengths: list[int], gamma: float, lam: float) -> None:
    items = draw(seed, lengths)
    expected = reference.gae(**{k: v.tolist() for k, v in items.items()}, gamma=gamma, lam=lam)
    np.testing.assert_allclose(gae(**items, gamma=gamma, lam=lam), expected, rtol=1e-12, atol=1e-12)


def test_lambda_one_is_the_return_minus_the_value_and_lambda_zero_one_step() -> None:
    items = draw(0, [3, 5, 1])
    reward, value, segment, position = (items[n] for n in ("reward", "value", "segment", "position"))
    returns = discounted_returns(reward, segment, position, 0.9)
    whole = gae(reward, value, segment, position, gamma=0.9, lam=1.0)
    np.testing.assert_allclose(whole, returns - value, rtol=1e-12, atol=1e-12)
    myopic = gae(reward, value, segment, position, gamma=0.0, lam=1.0)
    np.testing.assert_array_equal(myopic, reward - value)


@pytest.mark.parametrize(("gamma", "lam"), [(0.5, 0.5), (0.5, 1.0), (1.0, 0.25), (1.0, 1.0), (0.25, 0.0)])
def test_truncation_differs_from_termination_by_the_discounted_value(gamma: float, lam: float) -> None:
    """Powers of two make every sum exact, so the differences are exact as well."""
    rng = np.random.default_rng(1)
    reward, value = (rng.integers(-8, 9, 5) / 8 for _ in range(2))
    segment, position = np.zeros(5, np.int64), np.arange(5)
    ahead = 0.75
    cut = gae(reward, value, segment, position, gamma=gamma, lam=lam, bootstrap=np.full(5, ahead))
    ended = gae(reward, value, segment, position, gamma=gamma, lam=lam, bootstrap=np.zeros(5))
    k = np.arange(5)[::-1]
    np.testing.assert_array_equal(cut - ended, (gamma * lam) ** k * gamma * ahead)
    if lam == 1:  # a Monte-Carlo return differs by γᵏ⁺¹ V
        np.testing.assert_array_equal(cut - ended, gamma ** (k + 1) * ahead)


def test_only_the_last_item_of_a_segment_reads_the_bootstrap() -> None:
    items = draw(2, [4, 3])
    last = np.array([items["position"][i] == (3, 2)[s] for i, s in enumerate(items["segment"])])
    noise = {**items, "bootstrap": np.where(last, items["bootstrap"], np.nan)}
    np.testing.assert_array_equal(gae(**noise, gamma=0.9, lam=0.9), gae(**items, gamma=0.9, lam=0.9))


def test_shuffling_permutes_the_answer_and_other_segments_change_nothing() -> None:
    items = draw(3, [4, 7, 2])
    whole = gae(**items, gamma=0.99, lam=0.95)
    order = np.random.default_rng(0).permutation(13)
    np.testing.assert_array_equal(gae(**{k: v[order] for k, v in items.items()}, gamma=0.99, lam=0.95), whole[order])
    mine = items["segment"] == 1
    np.testing.assert_array_equal(gae(**{k: v[mine] for k, v in items.items()}, gamma=0.99, lam=0.95), whole[mine])


@pytest.mark.parametrize("broken", ["reward", "value", "bootstrap"])
def test_what_is_not_finite_is_refused(broken: str) -> None:
    items = draw(4, [2, 2])
    items[broken] = np.full(4, np.nan)
    with pytest.raises(AlgorithmError, match="must be finite"):
        gae(**items, gamma=1.0, lam=1.0)


def test_missing_places_are_refused() -> None:
    with pytest.raises(AlgorithmError, match="not the steps 0 to 1"):
        gae(np.zeros(2), np.zeros(2), np.zeros(2, np.int64), np.array([0, 2]), gamma=1.0, lam=1.0)


def test_token_positions_count_through_the_rows_of_an_episode() -> None:
    # Rows in the order (episode 1, t 1), (episode 0, t 0), (episode 1, t 0), (episode 0, t 1).
    offsets = np.array([0, 2, 3, 6, 7])
    episode, position = token_positions(offsets, np.array([1, 0, 1, 0]), np.array([1, 0, 0, 1]))
    assert episode.tolist() == [1, 1, 0, 1, 1, 1, 0]
    assert position.tolist() == [3, 4, 0, 0, 1, 2, 1]
    empty = token_positions(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert [len(part) for part in empty] == [0, 0]


@pytest.mark.parametrize("number", range(10))
def test_gae_within_a_response_is_the_published_one(agentgym_data: Path, number: int) -> None:
    case = json.loads((agentgym_data / "golden/group_advantages.json").read_text())["losses"][number]
    mask = np.array(case["mask"], bool)
    row, place = np.nonzero(mask)
    reward, value = np.array(case["rewards"])[mask], np.array(case["values"])[mask]
    advantage = gae(reward, value, row, place, gamma=0.99, lam=0.95)
    whitened = normalise(segments(advantage, np.zeros(len(row), np.int64)), std="sample", eps=1e-8)
    # The reference works in float32.
    np.testing.assert_allclose(advantage + value, np.array(case["gae_returns"])[mask], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(whitened, np.array(case["gae_whitened"])[mask], rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 9), max_size=6), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_items_that_last_discount_what_follows_once_for_each_step(seed: int, lengths: list[int], gamma: float) -> None:
    items = draw(seed, lengths)
    duration = np.random.default_rng(seed).integers(1, 5, sum(lengths))
    found = gae(**items, gamma=gamma, lam=0.9, duration=duration)
    for code, size in enumerate(lengths):
        place = {int(p): n for n, p in enumerate(items["position"]) if items["segment"][n] == code}
        carried = 0.0
        next_value = float(items["bootstrap"][place[size - 1]])
        for position in reversed(range(size)):
            n = place[position]
            behind = gamma ** int(duration[n])
            own = float(items["value"][n])
            carried = float(items["reward"][n]) + behind * next_value - own + behind * 0.9 * carried
            next_value = own
            assert found[n] == pytest.approx(carried, rel=1e-11, abs=1e-11)


def test_items_that_last_one_step_are_items_to_the_last_bit() -> None:
    items = draw(3, [40, 7, 1])
    ones = np.ones(48, np.int64)
    plain = gae(**items, gamma=0.97, lam=0.93)
    np.testing.assert_array_equal(gae(**items, gamma=0.97, lam=0.93, duration=ones), plain)


def test_long_items_do_not_lose_what_lies_near() -> None:
    """γ to the power of the steps from the start of the segment is 0 in double precision; nothing divides by it."""
    n = 50
    place = np.arange(n)
    long = np.full(n, 400)
    advantage = gae(np.ones(n), np.zeros(n), np.zeros(n, np.int64), place, gamma=0.9, lam=1.0, duration=long)
    np.testing.assert_allclose(advantage, 1.0)
