from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos.functional.similarity import first_fit
from tests import reference

ALPHABET = "abcdefghij "


def edited(rng: np.random.Generator, count: int, length: int) -> list[str]:
    """Return different texts: copies of a few, each with some letters exchanged."""
    roots = ["".join(rng.choice(list(ALPHABET), length)) for _ in range(3)]
    texts = []
    for _ in range(count):
        letters = list(roots[rng.integers(3)])
        for place in rng.integers(length, size=rng.integers(length // 2)):
            letters[place] = str(rng.choice(list(ALPHABET)))
        texts.append("".join(letters))
    return list(dict.fromkeys(texts))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
def test_equals_the_loop_over_difflib(seed: int, threshold: float) -> None:
    texts = edited(np.random.default_rng(seed), 14, 24)
    clusters = first_fit(texts, threshold).tolist()
    assert clusters == reference.first_fit(texts, threshold)


@given(st.lists(st.text("abc ", max_size=6), unique=True, max_size=6), st.sampled_from([0.4, 0.75, 1.0]))
def test_clusters_are_numbered_by_appearance_and_hold_what_is_alike(texts: list[str], threshold: float) -> None:
    clusters = first_fit(texts, threshold).tolist()
    assert list(dict.fromkeys(clusters)) == list(range(len(set(clusters))))
    heads = [texts[clusters.index(k)] for k in range(len(set(clusters)))]
    for text, cluster in zip(texts, clusters, strict=True):
        shared = sum((min(text.count(c), heads[cluster].count(c)) for c in set(text)), 0)
        assert text == heads[cluster] or 2 * shared >= threshold * (len(text) + len(heads[cluster]))


def test_texts_that_differ_in_a_word_are_never_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are texts that cannot be alike; difflib would index and align thousands of letters for each pair."""

    def refuse(*_: Any) -> float:
        raise AssertionError("the slow comparison ran")

    monkeypatch.setattr(difflib.SequenceMatcher, "get_matching_blocks", refuse)
    texts = [f"{'north ' * 400}page {k:03} {'south ' * 400}" for k in range(120)]
    assert set(first_fit(texts, 0.9).tolist()) == {0}
    others = ["z" * 50, "q" * 50, ""]
    assert first_fit([texts[0], *others], 0.9).tolist() == [0, 1, 2, 3]


def test_no_texts() -> None:
    assert first_fit([], 0.9).tolist() == []


def test_long_texts_are_compared_by_words() -> None:
    """difflib's own ratio of the first two is 0.0: in a text of 200 letters it skips the frequent ones."""
    words = [f"{'ab' * (k % 3)}{k % 97}c" for k in range(400)]
    changed = ["changed" if k % 40 == 0 else word for k, word in enumerate(words)]
    page, other, mixed = " ".join(words), " ".join(changed), " ".join(np.random.default_rng(0).permutation(words))
    assert difflib.SequenceMatcher(None, other, page).ratio() < 0.1
    assert first_fit([page, other, mixed], 0.9).tolist() == [0, 0, 1]
    assert first_fit([page, "short"], 0.9).tolist() == [0, 1]
