from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos import VinePPO, get_algorithm
from agentgym.algos.functional.statistics import whiten
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError
from agentgym.testing import check_algorithm, make_batch


def valued() -> StepBatch:
    """One episode that ended after three steps, one that a limit cut off after two."""
    batch = make_batch(
        group=[0] * 5,
        episode=[0, 0, 0, 1, 1],
        t=[0, 1, 2, 0, 1],
        reward=[0, 0.25, 1, 0, 0],
        terminated=[False, False, True, False, False],
        truncated=[False, False, False, False, True],
    )
    # What stands behind the end of the task is of no account.
    return batch.with_columns(
        mc_value=np.array([0.5, 0.75, 0.5, 0.5, 0.25]), mc_next_value=np.array([0.75, 0.5, 9.0, 0.25, 0.125])
    )


def test_each_row_gets_what_it_earned_and_changed() -> None:
    credit = VinePPO(whiten=False).credit(valued())
    assert credit.advantage.tolist() == [0.25, 0.0, 0.5, -0.25, -0.125]
    assert credit.diagnostics == {"mc_value_mean": 0.5, "credited_row_share": 0.8}
    assert credit.level == "row"


def test_along_an_episode_the_values_cancel() -> None:
    batch = valued()
    advantage = VinePPO(whiten=False).credit(batch).advantage
    assert advantage[:3].sum() == batch.reward[:3].sum() - 0.5
    assert advantage[3:].sum() == 0.125 - 0.5


def test_exact_values_leave_nothing_in_expectation() -> None:
    """From the start a coin decides: V = 1/2, and what it shows moves V to 1 or 0."""
    batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0], terminated=[True, True])
    batch = batch.with_columns(mc_value=np.array([0.5, 0.5]), mc_next_value=np.zeros(2))
    assert VinePPO(whiten=False).credit(batch).advantage.mean() == 0


def test_whitened_over_the_rows_of_the_batch() -> None:
    batch = valued()
    plain = VinePPO(whiten=False).credit(batch).advantage.astype(np.float64)
    assert VinePPO().credit(batch).advantage.tolist() == whiten(plain).astype(np.float32).tolist()


def test_without_the_values_it_says_who_brings_them() -> None:
    with pytest.raises(AlgorithmError, match=r"'mc_value'.*collector 'vine'"):
        VinePPO().credit(make_batch(group=[0], episode=[0], t=[0], reward=[1]))


def test_asks_for_forks() -> None:
    spec = get_algorithm("vineppo_released", every=2, forking={"max_nodes": 99}).collector()
    assert (spec.name, spec.options) == ("vine", {"forks": 9, "every": 2, "max_nodes": 99})


def test_a_batch_without_rows_has_no_credit() -> None:
    batch = make_batch(group=[], episode=[], t=[], reward=[])
    batch = batch.with_columns(mc_value=np.zeros(0), mc_next_value=np.zeros(0))
    assert VinePPO().credit(batch).advantage.shape == (0,)


def test_unwhitened_it_keeps_its_laws() -> None:
    check_algorithm(VinePPO(whiten=False), max_examples=0)
