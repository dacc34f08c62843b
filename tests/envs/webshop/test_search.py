"""Search: words, stems, and the scores of a slow twin."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentgym.envs.webshop.analysis import stem, terms
from agentgym.envs.webshop.search import KeywordIndex, length_code, norms, top
from tests.envs.webshop.shelves import MUG, catalogue


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Women's ladies’ CAT'S", ["women", "ladi", "cat"]),
        ("1,200 x 7.5 in, 3.x", ["1,200", "x", "7.5", "3", "x"]),
        ("parameters:upper wi-fi a.b.c", ["parameters:upp", "wi", "fi", "a.b.c"]),
        ("under_score __ _x", ["under_scor", "_x"]),
        ("the cat and the hat", ["cat", "hat"]),
        ("★ ☆ ® ½ 2½", ["★", "®", "2"]),
        ("字元 ひら カタ", ["字", "元", "ひ", "ら", "カタ"]),
        ("👨‍💼👍 🇩🇪", ["👨‍💼", "👍", "🇩🇪"]),
        ("naïve café", ["naïv", "café"]),
        ("", []),
        ("a" * 256, ["a" * 255]),  # the piece left over is the stop word "a"
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert terms(text) == wanted


@pytest.mark.parametrize(
    ("word", "wanted"),
    # One or two words for each rule of the algorithm, worked out from its text.
    [
        *[("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("boss", "boss"), ("as", "as")],
        *[("agreed", "agre"), ("feed", "feed"), ("plastered", "plaster"), ("bled", "bled"), ("sing", "sing")],
        *[("conflated", "conflat"), ("hopping", "hop"), ("falling", "fall"), ("hissing", "hiss"), ("filing", "file")],
        *[("happy", "happi"), ("sky", "sky"), ("relational", "relat"), ("conditional", "condit")],
        *[("possibly", "possibl"), ("sensibly", "sensibl"), ("analogies", "analog"), ("biology", "biologi")],
        *[("triplicate", "triplic"), ("hopefulness", "hope"), ("adoption", "adopt"), ("region", "region")],
        *[
            ("replacement", "replac"),
            ("probate", "probat"),
            ("rate", "rate"),
            ("cease", "ceas"),
            ("controlling", "control"),
        ],
        *[("yyy", "yyi"), ("12s", "12"), ("é", "é")],
    ],
)
def test_stems(word: str, wanted: str) -> None:
    assert stem(word) == wanted


@given(st.text(alphabet="ab1_2:.',;- x\n", max_size=20))
@example("a.b_:c'd 1,2")
def test_a_text_of_ascii_has_the_words_it_has_among_others(text: str) -> None:
    assert [*terms(text), "字"] == terms(text + " 字")


@given(st.text())
def test_any_text_has_terms(text: str) -> None:
    assert terms(f"{text} {text}") == 2 * terms(text)
    assert "" not in terms(text)


@pytest.mark.parametrize(
    ("length", "code"), [(0, 0), (23, 23), (24, 24), (31, 31), (32, 32), (40, 40), (41, 40), (42, 41), (56, 48)]
)
def test_lengths_are_kept_in_a_byte(length: int, code: int) -> None:
    assert length_code(length) == code


def test_length_codes_grow_and_stay_within_an_eighth() -> None:
    codes = [length_code(length) for length in range(100_000)]
    assert codes == sorted(codes)
    assert max(codes) < 256
    # norm = 1 / (k1 (1 − b + b length / mean)): solved for the length that the byte stands for
    kept = [(1 / (0.9 * float(norm)) - 0.6) / 0.4 * 50 for norm in norms(50.0)]
    for length in range(1, 100_000, 7):
        assert length * 7 / 8 < kept[codes[length]] * (1 + 1e-6)
        assert kept[codes[length]] < length * (1 + 1e-6) + 1e-5


words = st.lists(st.sampled_from(["ant", "bee", "cow", "dog", "elk"]), max_size=30)


@given(st.lists(words, min_size=1, max_size=8), words.filter(bool))
def test_scores_are_those_of_the_formula(documents: list[list[str]], query: list[str]) -> None:
    names = [f"N{number:02d}" for number in range(len(documents))]
    filled = [document for document in documents if document]
    mean = sum(map(len, filled)) / max(1, len(filled))
    scores = {}
    for name, document in zip(names, documents, strict=True):
        score = 0.0
        for term, asked in Counter(query).items():
            having = sum(term in other for other in documents)
            count = document.count(term)
            if count:
                weight = asked * math.log(1 + (len(filled) - having + 0.5) / (having + 0.5))
                # documents here are shorter than 32 words, and their lengths exact
                score += weight * (1 - 1 / (1 + count / (0.9 * (0.6 + 0.4 * len(document) / mean))))
        if score:
            scores[name] = score
    found = [names[number] for number in KeywordIndex(documents, names).search(" ".join(query), 50)]
    assert sorted(found) == sorted(scores)
    for better, worse in itertools.pairwise(found):
        assert scores[better] > scores[worse] * (1 + 1e-6) or (
            math.isclose(scores[better], scores[worse], rel_tol=1e-5)
        )


def test_equal_scores_are_ordered_by_name() -> None:
    index = KeywordIndex([["mug"]] * 3, ["C", "A", "B"])
    assert index.search("mugs", 2) == (1, 2)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 30))
def test_top_is_the_head_of_the_sorted_list(values: list[int], limit: int) -> None:
    scores = np.array(values, np.float32)
    ranks = np.array(range(len(values))[::-1], np.int32)
    wanted = sorted(range(len(values)), key=lambda number: (-values[number], ranks[number]))[:limit]
    assert top(scores, ranks, limit).tolist() == wanted


def test_options_and_the_first_bullet_point_are_searched() -> None:
    shelves = catalogue()
    assert [shelves.product(number).asin for number in shelves.search("dishwashers in NAVY", 5)] == [MUG.asin]
    assert shelves.search("heat", 5) == ()  # the second bullet point is not
    assert shelves.search("!?", 5) == ()
