from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentgym.algos.functional.trie import build_trie, prefix_codes

# Two symbols, so that sequences share a lot; an outcome that is not dyadic leaves a residue where a mean is careless.
SEQUENCES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.integers(0, 1), min_size=1, max_size=9),
        st.sampled_from([0.0, 1.0, 10 * 0.95**7, 5000.0]),
    ),
    min_size=1,
    max_size=12,
)
Sequences = list[tuple[int, list[int], float]]


def flat(sequences: Sequences) -> tuple[Any, Any, Any, Any]:
    symbols = np.array([symbol for _, own, _ in sequences for symbol in own], np.int64)
    lengths = np.array([len(own) for _, own, _ in sequences], np.int64)
    return symbols, lengths, np.array([root for root, _, _ in sequences]), np.array([r for _, _, r in sequences])


def prefixes(sequences: Sequences) -> list[tuple[int, ...]]:
    return [(root, *own[: i + 1]) for root, own, _ in sequences for i in range(len(own))]


@given(SEQUENCES)
@example([(0, [0] * 9, 0.0), (0, [0] * 9, 1.0), (0, [0] * 8 + [1], 0.0), (1, [0] * 9, 0.0)])
@example([(0, [1, 0, 0, 0], 0.0), (0, [0, 0, 0, 0], 0.0)])  # alike but for their first symbol
def test_codes_name_prefixes(sequences: Sequences) -> None:
    symbols, lengths, roots, _ = flat(sequences)
    codes = prefix_codes(symbols, lengths, roots).tolist()
    named = prefixes(sequences)
    assert len(set(codes)) == len(set(named)) == len(set(zip(codes, named, strict=True)))


@given(SEQUENCES)
def test_values_and_differences_equal_the_loop(sequences: Sequences) -> None:
    trie = build_trie(*flat(sequences))
    through: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for root, own, outcome in sequences:
        for i in range(len(own) + 1):
            through[(root, *own[:i])].append(outcome)
    named = prefixes(sequences)
    mean = {prefix: sum(outcomes) / len(outcomes) for prefix, outcomes in through.items()}
    np.testing.assert_allclose(trie.values, [mean[prefix] for prefix in named], rtol=1e-12)
    assert trie.sizes.tolist() == [len(through[prefix]) for prefix in named]
    assert trie.branching.tolist() == [len(through[prefix]) < len(through[prefix[:-1]]) for prefix in named]
    np.testing.assert_allclose(trie.differences, [mean[p] - mean[p[:-1]] for p in named], atol=1e-9)
    assert (trie.differences[~trie.branching] == 0).all()


@given(SEQUENCES, st.randoms(use_true_random=False))
def test_another_order_and_other_symbols_change_nothing(sequences: Sequences, random: Any) -> None:
    order = list(range(len(sequences)))
    random.shuffle(order)
    found = build_trie(*flat(sequences)).differences
    ends = np.cumsum([len(own) for _, own, _ in sequences])
    parts = np.split(found, ends[:-1])
    renamed = [(7 - sequences[i][0], [90 - 40 * s for s in sequences[i][1]], sequences[i][2]) for i in order]
    assert build_trie(*flat(renamed)).differences.tolist() == np.concatenate([parts[i] for i in order]).tolist()


@pytest.mark.parametrize("size", [2, 3, 7, 10])
def test_equal_outcomes_differ_by_literal_zero_wherever_the_sequences_fork(size: int) -> None:
    sequences = [(0, [0, i % 3, i], 10 * 0.95**7) for i in range(size)]
    trie = build_trie(*flat(sequences))
    assert trie.branching.any()
    assert trie.differences.tolist() == [0.0] * (3 * size)
    assert trie.values.tolist() == [10 * 0.95**7] * (3 * size)


def test_symbols_may_be_any_numbers() -> None:
    symbols = np.array([-1, 2**62, -1, -(2**62)])
    assert prefix_codes(symbols, np.array([2, 2]), np.array([0, 0])).tolist()[::2] == [0, 0]
    assert build_trie(symbols, np.array([2, 2]), np.array([0, 0]), np.array([1.0, 0.0])).differences.tolist() == [
        *(0.0, 0.5),
        *(0.0, -0.5),
    ]


def test_nothing_gives_nothing() -> None:
    none = np.zeros(0, np.int64)
    trie = build_trie(none, none, none, np.zeros(0))
    assert trie.codes.shape == trie.differences.shape == trie.branching.shape == (0,)
