from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentgym.algos.functional.statistics import normalise, segments, whiten
from agentgym.errors import AlgorithmError
from tests import reference

FLOATS = st.one_of(
    st.integers(-16, 16).map(lambda n: n / 8),
    st.integers(0, 40).map(lambda k: 10 * 0.95**k),
    st.floats(-1e6, 1e6, width=32),
)
PAIRS = st.lists(st.tuples(FLOATS, st.integers(0, 4)), min_size=1, max_size=30)
MODES = st.sampled_from([None, "sample", "population"])


def run(values: npt.ArrayLike, codes: npt.ArrayLike, **settings: Any) -> npt.NDArray[np.float64]:
    return normalise(segments(np.asarray(values, float), np.asarray(codes, int)), **{"eps": 1e-6, **settings})


@given(PAIRS, MODES, st.sampled_from(["zero", "raw"]))
@example([(5000.0, 0), (5001.0, 0)], "sample", "zero")
@example([(3e38, 0), (-3e38, 0), (1.0, 0)], "population", "zero")
def test_equals_the_loop(pairs: list[tuple[float, int]], std: Any, lone: Any) -> None:
    values, codes = zip(*pairs, strict=True)
    slow = reference.normalise(values, codes, std, 1e-6, lone)
    scale = max(map(abs, values)) if std is None else max(map(abs, values)) / 1e-6
    np.testing.assert_allclose(run(values, codes, std=std, lone=lone), slow, rtol=1e-9, atol=1e-14 * max(scale, 1))


@given(PAIRS, MODES, st.randoms(use_true_random=False))
def test_shuffling_permutes_bit_for_bit(pairs: list[tuple[float, int]], std: Any, random: Any) -> None:
    order = list(range(len(pairs)))
    random.shuffle(order)
    values, codes = map(np.array, zip(*pairs, strict=True))
    assert run(values[order], codes[order], std=std).tolist() == run(values, codes, std=std)[order].tolist()


@pytest.mark.parametrize("k", range(1, 60, 7))
@pytest.mark.parametrize("size", [2, 3, 7, 8, 100])
def test_ties_that_are_not_dyadic_give_literal_zero(k: int, size: int) -> None:
    value = 10 * 0.95**k
    codes = np.append(np.zeros(size, int), [1, 1])
    result = run(np.append(np.full(size, value), [0.0, value]), codes, std="sample", eps=1e-12)
    assert result[:size].tolist() == [0.0] * size
    assert result[-1] > 0.7


def test_two_large_close_rewards_keep_their_difference() -> None:
    np.testing.assert_allclose(run([5000, 5001], [0, 0], std="sample"), [-(0.5**0.5), 0.5**0.5], rtol=1e-5)


@given(PAIRS, st.sampled_from(["sample", "population"]), st.sampled_from([0.01, 0.5, 4.0, 100.0]))
def test_scaling_the_values_scales_all_but_eps(pairs: list[tuple[float, int]], std: Any, c: float) -> None:
    values, codes = map(np.array, zip(*pairs, strict=True))
    peers = [values[codes == code] for code in codes]
    deviation = np.array([0.0 if np.ptp(p) == 0 else np.std(p, ddof=std == "sample") for p in peers])
    expected = run(values, codes, std=std, eps=1e-4) * c * (deviation + 1e-4) / (c * deviation + 1e-4)
    np.testing.assert_allclose(run(c * values, codes, std=std, eps=1e-4), expected, rtol=1e-6, atol=1e-6)


def test_std_divides_by_n_or_n_minus_one_plus_eps() -> None:
    values = [0.0, 0.0, 3.0]
    assert run(values, [7, 7, 7], std=None).tolist() == [-1.0, -1.0, 2.0]
    assert run(values, [7, 7, 7], std="sample", eps=1.0)[2] == pytest.approx(2 / (3**0.5 + 1))
    assert run(values, [7, 7, 7], std="population", eps=1.0)[2] == pytest.approx(2 / (2**0.5 + 1))


def test_lone_values() -> None:
    values, codes = [4.0, 1.0, 3.0], [0, 1, 1]
    assert run(values, codes, std=None).tolist() == [0.0, -1.0, 1.0]
    assert run(values, codes, std=None, lone="raw").tolist() == [4.0, -1.0, 1.0]
    assert run(values, codes, std="sample", lone="raw", eps=1.0)[0] == 2.0
    with pytest.raises(AlgorithmError, match="1 of 2 groups have a single member"):
        run(values, codes, std=None, lone="raise")
    assert run([1.0, 3.0], [1, 1], std=None, lone="raise").tolist() == [-1.0, 1.0]


def test_segments_know_their_sizes_and_ties() -> None:
    parts = segments(np.array([2.0, 1.0, 2.0, 5.0, 1.5]), np.array([3, 0, 3, 9, 0]))
    assert parts.sizes.tolist() == [2, 2, 1]
    assert parts.tied.tolist() == [False, True, True]
    assert parts.lone.tolist() == [False, False, True]


def test_nothing_gives_nothing() -> None:
    assert run([], [], std="sample", lone="raise").shape == (0,)


@pytest.mark.parametrize("seed", range(6))
def test_whitening_has_mean_zero_and_variance_one_whatever_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice([10 * 0.95**k for k in range(9)], size=2 + 5 * seed)
    values[0] += 1  # never all equal
    whitened = whiten(values, eps=1e-12)
    assert whitened.mean() == pytest.approx(0, abs=1e-12)
    assert whitened.var(ddof=1) == pytest.approx(1)
    np.testing.assert_allclose(whitened, (values - values.mean()) / values.std(ddof=1))
    shuffle = rng.permutation(len(values))
    assert whiten(values[shuffle], eps=1e-12).tolist() == whitened[shuffle].tolist()


@pytest.mark.parametrize("values", [[], [3.7], [0.1 * 3] * 7])
def test_whitening_equal_values_gives_literal_zeros(values: list[float]) -> None:
    assert whiten(np.array(values, np.float64)).tolist() == [0.0] * len(values)


def test_the_epsilon_of_whitening_is_added_to_the_variance() -> None:
    assert whiten(np.array([0.0, 2.0]), eps=2.0).tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("seed", range(4))
def test_a_weight_counts_a_value_so_often_whatever_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = rng.choice([0.1, 0.3, 10 * 0.95**7, 4.0], size=12), rng.integers(1, 5, size=12)
    weighted = whiten(values, weights=weights)
    repeated = whiten(np.repeat(values, weights))
    np.testing.assert_allclose(np.repeat(weighted, weights), repeated, rtol=1e-12)
    shuffle = rng.permutation(12)
    assert whiten(values[shuffle], weights=weights[shuffle]).tolist() == weighted[shuffle].tolist()
    assert whiten(np.full(3, 0.3), weights=np.array([1, 2, 7])).tolist() == [0.0] * 3
