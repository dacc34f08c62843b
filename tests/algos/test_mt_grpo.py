from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentgym.algos import GRPO, MTGRPO
from agentgym.algos.mt_grpo import final_rows
from agentgym.batch import StepBatch
from agentgym.testing import make_batch
from tests import reference
from tests.drawn import drawn_batch


def one_by_one(batch: StepBatch, std: str | None, turn_weight: float, outcome_weight: float) -> list[float]:
    """Episode base, with the slow normalisation of the reference twins."""
    last = {e: max(batch.t[batch.episode == e].tolist()) for e in set(batch.episode.tolist())}
    final = [int(t) == last[int(e)] for e, t in zip(batch.episode, batch.t, strict=True)]
    ends = [row for row in range(len(batch)) if final[row]]
    groups = batch.group.tolist()
    relative = reference.normalise(batch.reward[ends].tolist(), [groups[row] for row in ends], std, 1e-3, "zero")
    outcome = {int(batch.episode[row]): value for row, value in zip(ends, relative, strict=True)}
    on_the_way = [row for row in range(len(batch)) if not final[row]]
    keys = [(groups[row], int(batch.t[row])) for row in on_the_way]
    turns = reference.normalise(batch.reward[on_the_way].tolist(), keys, std, 1e-3, "zero") if on_the_way else []
    turn = dict(zip(on_the_way, turns, strict=True))
    return [
        outcome[int(batch.episode[row])]
        if final[row]
        else turn_weight * turn[row] + outcome_weight * outcome[int(batch.episode[row])]
        for row in range(len(batch))
    ]


@pytest.mark.parametrize("std", [None, "sample", "population"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_loop(seed: int, std: Any) -> None:
    batch = drawn_batch(seed)
    ours = MTGRPO(std=std, eps=1e-3, turn_weight=0.5, outcome_weight=0.25).credit(batch).advantage
    np.testing.assert_allclose(ours, one_by_one(batch, std, 0.5, 0.25), rtol=1e-5, atol=2e-6)


def two_turns() -> StepBatch:
    """A tool call that worked and a wrong answer; one that failed and a right one; a right answer without a call."""
    return make_batch(group=[0] * 5, episode=[0, 0, 1, 1, 2], t=[0, 1, 0, 1, 0], reward=[0.5, 0, 0, 1, 1])


def test_the_two_turns_of_the_paper() -> None:
    """Outcomes 0, 1, 1 less 2/3; tool calls 0.5 and 0 less 0.25, the third episode having none."""
    credit = MTGRPO(std=None, turn_weight=2.0, outcome_weight=0.5).credit(two_turns())
    np.testing.assert_allclose(credit.components["turn"], [0.5, 0, -0.5, 0, 0], atol=1e-7)
    np.testing.assert_allclose(credit.components["episode"], [-1 / 3, -2 / 3, 1 / 6, 1 / 3, 1 / 3], rtol=1e-6)
    assert credit.advantage.tolist() == (credit.components["turn"] + credit.components["episode"]).tolist()


@pytest.mark.parametrize("base", ["episodes", "rows"])
@pytest.mark.parametrize("seed", [0, 3, 6])
def test_without_rewards_on_the_way_it_is_grpo(seed: int, base: Any) -> None:
    batch = drawn_batch(seed)
    expected = GRPO(base=base).credit(batch).advantage.tolist()
    assert MTGRPO(base=base).credit(batch).advantage.tolist() == expected


def test_a_turn_that_no_sibling_reaches_has_no_credit_of_its_own() -> None:
    batch = make_batch(group=[0] * 4, episode=[0, 0, 0, 1], t=[0, 1, 2, 0], reward=[3, 4, 0, 0])
    assert MTGRPO().credit(batch).components["turn"].tolist() == [0.0] * 4


@pytest.mark.parametrize(("base", "outcome_weight"), [("episodes", 0.5), ("rows", 1.0)])
@pytest.mark.parametrize("seed", range(4))
def test_the_units_it_names_sum_to_zero(seed: int, base: Any, outcome_weight: float) -> None:
    batch = drawn_batch(seed)
    algorithm = MTGRPO(base=base, std=None, outcome_weight=outcome_weight)
    components = algorithm.credit(batch).components
    units = algorithm.zero_sum_units(batch)
    assert units.keys() == components.keys()
    assert (units["episode"] >= 0).any()
    for name, codes in units.items():
        for code in set(codes.tolist()) - {-1}:
            assert math.fsum(components[name][codes == code].tolist()) == pytest.approx(0, abs=1e-4)


def test_in_base_rows_a_weighted_outcome_does_not_sum_to_zero_and_says_so() -> None:
    assert set(MTGRPO(base="rows", outcome_weight=0.5).zero_sum_units(two_turns())["episode"].tolist()) == {-1}


def test_a_penalty_lowers_the_outcome_of_its_row() -> None:
    batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 1], format_ok=[True, False])
    assert MTGRPO(base="rows", std=None, format_penalty=0.5).credit(batch).advantage.tolist() == [0.25, -0.25]


def test_final_rows() -> None:
    assert final_rows(np.array([4, 1, 4, 4])).tolist() == [2, 0, 2, 2]
