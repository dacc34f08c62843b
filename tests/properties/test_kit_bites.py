"""The check finds what is broken: every broken method by the right law, on the fixed battery alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from agentgym.algos import GRPO, Algorithm
from agentgym.algos.base import LAWS, VALUE_LAWS
from agentgym.batch import Credit, StepBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import LawBroken, check_algorithm
from agentgym.testing.algorithms import CONTRACT
from tests.properties.broken import answers, groups, losses, steps, trees
from tests.properties.broken.plain import Forks, Plain, Steps, Tree, Values

BROKEN = {**groups.BROKEN, **steps.BROKEN, **answers.BROKEN, **losses.BROKEN, **trees.BROKEN}
ALL = frozenset(LAWS)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_method_is_caught_by_the_right_law(name: str) -> None:
    algorithm, law = BROKEN[name]
    with pytest.raises(LawBroken) as caught:
        check_algorithm(algorithm, max_examples=0)
    assert caught.value.law == law, str(caught.value)
    assert f"breaks the law {law!r}" in str(caught.value)
    if caught.value.batch is not None:
        assert len(caught.value.batch) <= 12, str(caught.value)  # it was shrunk
        assert re.search(r"^row +group +episode", str(caught.value), re.M)


def test_there_are_many_and_every_law_catches_some() -> None:
    assert len(BROKEN) >= 60
    assert {law for _, law in BROKEN.values()} == {*CONTRACT, *LAWS, *VALUE_LAWS}


@pytest.mark.parametrize(
    "honest",
    [
        Plain(),
        Plain(base="rows", std="population"),
        Steps(),
        Steps(std=None),
        Values(std=None, gamma=0.9),
        Tree(),
        Tree(std=None),
        Forks(),
        Forks(gamma=0.9),
    ],
    ids=repr,
)
def test_the_method_they_were_made_from_passes(honest: Algorithm[Any]) -> None:
    check_algorithm(honest, max_examples=10)


def test_the_smallest_batch_is_small_and_its_message_complete() -> None:
    with pytest.raises(LawBroken) as caught:
        check_algorithm(groups.MeanOfTheBatch(), laws=["locality"], max_examples=0)
    batch = caught.value.batch
    assert batch is not None
    assert sorted(batch.group.tolist()) == [0, 1]  # one row in each of two groups
    assert "MeanOfTheBatch() breaks the law 'locality' (A group's credit is the same" in str(caught.value)


def test_what_only_drawn_batches_show_is_found_and_shrunk() -> None:
    class Rare(Plain):
        """Wrong only where an episode has a reward that the battery lacks."""

        def relative(self, x: Any, batch: StepBatch) -> Any:
            rare = np.isin(batch.episode, batch.episode[batch.reward == 10 * 0.95**30])
            return super().relative(x, batch) + rare * (len(batch) > 3)

    check_algorithm(Rare(), laws=["zero-sum"], max_examples=0)
    with pytest.raises(LawBroken, match="on a drawn batch") as caught:
        check_algorithm(Rare(), laws=["zero-sum"], max_examples=200)
    assert caught.value.batch is not None
    assert len(caught.value.batch) <= 6


class Partial(GRPO):
    laws: ClassVar[frozenset[str]] = GRPO.laws - {"shift"}


class Both(GRPO):
    laws: ClassVar[frozenset[str]] = ALL


class Silent(GRPO):
    exemptions: ClassVar[Mapping[str, str]] = {"truncation": " "}


class Invented(GRPO):
    laws: ClassVar[frozenset[str]] = GRPO.laws | {"gravity"}


@pytest.mark.parametrize(
    ("kind", "law", "message"),
    [
        (Partial, "shift", "neither promises the law 'shift' in 'laws' nor says in 'exemptions'"),
        (Both, "truncation", "both promises the law 'truncation' and is exempt"),
        (Silent, "truncation", "exempt from the law 'truncation' without a reason"),
        (Invented, "gravity", "names a law 'gravity' that there is not; the laws are zero-sum, "),
    ],
)
def test_a_class_that_does_not_name_every_law_once_is_refused(kind: Any, law: str, message: str) -> None:
    with pytest.raises(LawBroken, match=message) as caught:
        check_algorithm(kind(), max_examples=0)
    assert caught.value.law == law


def test_exempt_laws_are_skipped_and_unknown_ones_refused() -> None:
    class Exempt(groups.MeanOfTheBatch):
        laws: ClassVar[frozenset[str]] = frozenset({"permutation", "ties"})
        exemptions: ClassVar[Mapping[str, str]] = dict.fromkeys(ALL - {"permutation", "ties"}, "for this test")

    check_algorithm(Exempt(), laws=["locality", "permutation"], max_examples=0)
    with pytest.raises(ConfigError, match=r"unknown law 'localty'\. Did you mean 'locality'"):
        check_algorithm(Exempt(), laws=["localty"])


def test_a_method_that_refuses_most_batches_is_not_called_lawful() -> None:
    class Picky(Plain):
        def credit(self, batch: StepBatch) -> Credit:
            if len(batch) > 10:
                raise AlgorithmError("too many rows")
            return super().credit(batch)

    with pytest.raises(LawBroken, match=r"refuses 2\d of 22 legal batches, so the law 'answers' cannot be checked"):
        check_algorithm(Picky(), max_examples=0)


def test_a_method_that_refuses_some_batches_is_checked_on_the_others() -> None:
    class NeedsTokens(Plain):
        def credit(self, batch: StepBatch) -> Credit:
            if np.any(np.diff(batch.token_offsets) == 0):
                raise AlgorithmError("a row has no tokens")
            return super().credit(batch)

    check_algorithm(NeedsTokens(), max_examples=0)
