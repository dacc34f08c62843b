"""Where macro actions begin, for any number of rows, and what rewards and values become over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos.functional import segmentation
from agentgym.algos.functional.segmentation import Macros, macro_rewards, macro_values, macro_weights, parsed
from agentgym.errors import AlgorithmError

ROWS = st.lists(st.integers(0, 12), max_size=6)
AGGREGATORS = ("equal", "unit", "position", "first")
LENGTHS = (1, 2, 3, 5, 10)


def made(sizes: list[int], seed: int = 0) -> dict[str, Any]:
    """Return rows of the given lengths with random tokens."""
    rng = np.random.default_rng(seed)
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
    size = int(offsets[-1])
    return {
        "offsets": offsets,
        "ids": rng.integers(0, 50, size),
        "t": rng.integers(0, 5, len(sizes)),
        "ref": -rng.integers(0, 6, size) / 2,
        "value": rng.normal(size=size),
        "reward": rng.integers(-8, 9, size) / 8,
    }


def every_rule(rows: dict[str, Any], seed: int = 0) -> dict[str, npt.NDArray[np.bool_]]:
    offsets = rows["offsets"]
    found = {f"fixed {n}": segmentation.fixed(offsets, n) for n in (1, 3, 5)}
    found["randomised"] = segmentation.randomised(offsets, rows["ids"], rows["t"], LENGTHS, 1, seed)
    found["perplexity"] = segmentation.perplexity(offsets, rows["ref"])
    found["turns"] = segmentation.turns(offsets)
    return found | {f"{name}, lone": segmentation.close_with_lone_token(b, offsets) for name, b in found.items()}


def spans(begins: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> list[list[int]]:
    """Return the lengths of the macro actions of each row, one token at a time."""
    rows = []
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        lengths: list[int] = []
        for token in range(start, end):
            if begins[token]:
                lengths.append(0)
            lengths[-1] += 1
        rows.append(lengths)
    return rows


@given(ROWS, st.integers(0, 999))
def test_every_token_is_in_one_macro_action_of_its_row(sizes: list[int], seed: int) -> None:
    rows = made(sizes, seed)
    offsets = rows["offsets"]
    row = np.repeat(np.arange(len(sizes)), sizes)
    for name, begins in every_rule(rows, seed).items():
        macros = Macros.of(begins, offsets)
        expected = spans(begins, offsets)
        assert macros.lengths.tolist() == [length for lengths in expected for length in lengths], name
        assert np.diff(macros.offsets).tolist() == [len(lengths) for lengths in expected]
        assert macros.lengths.sum() == len(row)
        assert (macros.lengths >= 1).all()
        assert (np.diff(macros.of_token) >= 0).all()
        assert macros.place.tolist() == [n for lengths in expected for length in lengths for n in range(length)]
        behind = np.cumsum(macros.lengths)
        np.testing.assert_array_equal(row[behind - 1], row[behind - macros.lengths])
        if name.endswith("lone"):
            assert all(lengths[-1] == 1 for lengths in expected if lengths)


@given(ROWS, st.integers(0, 999))
def test_a_row_is_cut_alike_wherever_it_stands(sizes: list[int], seed: int) -> None:
    rows = made(sizes, seed)
    whole = every_rule(rows)
    for row, (start, end) in enumerate(zip(rows["offsets"][:-1], rows["offsets"][1:], strict=True)):
        alone = {name: rows[name][start:end] for name in ("ids", "ref")} | {"t": rows["t"][row : row + 1]}
        alone["offsets"] = np.array([0, end - start])
        for name, begins in every_rule(alone).items():
            assert begins.tolist() == whole[name][start:end].tolist(), name


def test_fixed_cuts_after_every_n_tokens_of_a_row() -> None:
    offsets = np.array([0, 7, 7, 9, 12])
    assert spans(segmentation.fixed(offsets, 3), offsets) == [[3, 3, 1], [], [2], [3]]
    assert segmentation.fixed(offsets, 1).all()
    lone = segmentation.close_with_lone_token(segmentation.fixed(offsets, 3), offsets)
    assert spans(lone, offsets) == [[3, 3, 1], [], [1, 1], [2, 1]]
    assert spans(segmentation.turns(offsets), offsets) == [[7], [], [2], [3]]


@given(ROWS, st.integers(0, 999), st.integers(1, 3))
def test_random_lengths_are_the_beginning_of_a_shuffled_list(sizes: list[int], seed: int, repeats: int) -> None:
    rows = made(sizes, seed)
    key = (rows["offsets"], rows["ids"], rows["t"], (1, 2), repeats, seed)
    stock = segmentation.shuffled(*key)
    assert np.sort(stock, axis=1).tolist() == [[1] * repeats + [2] * repeats] * len(sizes)
    for lengths, drawn in zip(spans(segmentation.randomised(*key), rows["offsets"]), stock.tolist(), strict=True):
        # All but the last are as drawn; behind a list that is used up the rest is one.
        assert lengths[:-1] == drawn[: max(len(lengths) - 1, 0)]
        if lengths and len(lengths) <= len(drawn):
            assert lengths[-1] <= drawn[len(lengths) - 1]
    np.testing.assert_array_equal(segmentation.shuffled(*key), stock)


def test_random_lengths_differ_by_seed_step_and_tokens() -> None:
    offsets = np.arange(0, 41, 20)
    ids = np.arange(40) % 20
    same = segmentation.shuffled(offsets, ids, np.zeros(2, np.int64), LENGTHS, 2, 0)
    assert same[0].tolist() == same[1].tolist()
    other_step = segmentation.shuffled(offsets, ids, np.array([0, 1]), LENGTHS, 2, 0)
    assert other_step[0].tolist() == same[0].tolist()
    assert other_step[1].tolist() != same[0].tolist()
    assert segmentation.shuffled(offsets, ids, np.zeros(2, np.int64), LENGTHS, 2, 1)[0].tolist() != same[0].tolist()
    swapped = np.array([1, 0, *range(2, 20)])
    assert (
        segmentation.shuffled(offsets[:2], swapped, np.zeros(1, np.int64), LENGTHS, 2, 0)[0].tolist()
        != same[0].tolist()
    )


def test_each_length_is_drawn_first_about_equally_often() -> None:
    rows = made([3] * 4000)
    stock = segmentation.shuffled(rows["offsets"], rows["ids"], np.arange(4000), (1, 2, 3, 4), 1, 7)
    for place in range(4):
        counts = np.bincount(stock[:, place], minlength=5)[1:]
        assert np.abs(counts - 1000).max() < 120  # four standard deviations are 110


def test_within_a_macro_action_perplexity_never_rises() -> None:
    logprob = np.log([0.5, 0.5, 0.9, 0.1, 0.2, 0.9, 0.8])
    offsets = np.array([0, 5, 7])
    assert spans(segmentation.perplexity(offsets, logprob), offsets) == [[3, 2], [1, 1]]
    rows = made([9, 11, 0, 8], 3)
    macros = Macros.of(segmentation.perplexity(rows["offsets"], rows["ref"]), rows["offsets"])
    surprise = np.exp(-rows["ref"])
    for macro in range(len(macros)):
        assert (np.diff(surprise[macros.of_token == macro]) <= 0).all()


class TestParsed:
    TREE = (("the", "big", "dog"), ("barked", ("at", "the", "cat")), "loudly")

    def test_short_phrases_stay_whole_and_lone_tokens_join_what_is_before(self) -> None:
        pieces = ["the", " big", " dog", " barked", " at", " the", " cat", " loudly"]
        assert parsed(pieces, self.TREE, 4) == [0, 4]  # "barked" joins the dog, "loudly" the cat
        assert parsed(pieces, self.TREE, 5) == [0, 3]
        assert parsed(pieces, self.TREE, 9) == [0]
        assert parsed(pieces, self.TREE, 2) == [0]

    def test_words_and_tokens_may_part_at_different_places(self) -> None:
        assert parsed(["don", "'t", " go", "\n"], (("do", "n't"), ("go",)), 3) == [0, 2]
        assert parsed(["a", "bc", "d", "e", ""], (("ab", "c"), ("d", "e")), 4) == [0, 2]
        # A word of many tokens cannot be taken apart.
        assert parsed(["un", "be", "liev", "able"], ("unbelievable",), 2) == [0]

    def test_a_parse_of_other_words_does_not_fit(self) -> None:
        assert parsed(["the", " dog"], ("the", "cat"), 3) is None
        assert parsed(["the"], ("the", "cat"), 3) is None
        assert parsed(["", " "], ("",), 3) is None


@pytest.mark.parametrize("how", AGGREGATORS)
def test_weights_sum_to_one_and_a_single_token_keeps_its_value(how: Any) -> None:
    rows = made([7, 0, 4, 11], 5)
    macros = Macros.of(segmentation.fixed(rows["offsets"], 4), rows["offsets"])
    np.testing.assert_allclose(macros.sum(macro_weights(macros, how)), 1, rtol=1e-15)
    alone = Macros.of(segmentation.fixed(rows["offsets"], 1), rows["offsets"])
    np.testing.assert_array_equal(macro_values(alone, rows["value"], how), rows["value"])
    np.testing.assert_array_equal(macro_rewards(alone, rows["reward"], 0.9), rows["reward"])


def test_the_aggregators_by_hand() -> None:
    macros = Macros.of(np.array([True, False, False, True]), np.array([0, 4]))
    value = np.array([6.0, 3.0, 12.0, 5.0])
    assert macro_values(macros, value, "equal") == pytest.approx([7, 5])
    assert macro_values(macros, value, "unit").tolist() == [12, 5]
    assert macro_values(macros, value, "first").tolist() == [6, 5]
    assert macro_values(macros, value, "position") == pytest.approx([(6 + 3 / 2 + 12 / 3) / (11 / 6), 5])
    assert macro_rewards(macros, value, 0.5).tolist() == [6 + 1.5 + 3, 5]


@given(ROWS, st.integers(0, 999))
def test_summed_rewards_keep_the_return(sizes: list[int], seed: int) -> None:
    rows = made(sizes, seed)
    for begins in every_rule(rows).values():
        macros = Macros.of(begins, rows["offsets"])
        assert macro_rewards(macros, rows["reward"], 1.0).sum() == rows["reward"].sum()  # eighths add up exactly


def test_a_segmentation_must_fit_its_rows() -> None:
    with pytest.raises(AlgorithmError, match=r"of 3 tokens has shape \(2,\)"):
        Macros.of(np.array([True, True]), np.array([0, 3]))
    with pytest.raises(AlgorithmError, match="row 2 begins without a macro action"):
        Macros.of(np.array([True, False, False]), np.array([0, 2, 2, 3]))
