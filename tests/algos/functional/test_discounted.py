"""Exact discounted values, against iteration and brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos.functional.discounted import (
    Process,
    greedy_actions,
    one_hot_policy,
    optimal_values,
    policy_values,
    visitation,
)
from agentgym.errors import AlgorithmError
from tests.algos.functional.processes import PROCESSES, drawn_process, some_policy


@given(process=PROCESSES, seed=st.integers(0, 9))
def test_values_of_a_policy_are_the_limit_of_its_recursion(process: Process, seed: int) -> None:
    policy = some_policy(process, seed)
    q = np.zeros(process.legal.shape)
    for _ in range(600):
        v = (policy * q).sum(1)
        q = np.where(process.legal, process.reward + process.gamma * process.transition @ v, 0.0)
    assert np.allclose(policy_values(process, process.reward, policy), q, atol=1e-9)


@given(process=st.builds(drawn_process, st.integers(0, 99), states=st.just(4), actions=st.just(2)))
def test_optimal_values_are_those_of_the_best_policy(process: Process) -> None:
    options = [np.flatnonzero(row) if row.any() else [0] for row in process.legal]
    every = [
        policy_values(process, process.reward, one_hot_policy(np.array(choice), process.legal))
        for choice in itertools.product(*options)
    ]
    assert np.allclose(optimal_values(process, process.reward), np.max(every, axis=0), atol=1e-9)


@given(process=PROCESSES, seed=st.integers(0, 9))
def test_visits_are_the_discounted_sum_over_steps(process: Process, seed: int) -> None:
    policy = some_policy(process, seed)
    here, total = process.start, np.zeros(len(process.start))
    for t in range(600):
        total += process.gamma**t * here
        here = np.einsum("s,sa,sat->t", here, policy, process.transition)
    total[process.ends] = 0.0
    assert np.allclose(visitation(process, policy), total / total.sum(), atol=1e-9)


def test_equally_good_actions_are_all_greedy() -> None:
    q = np.array([[1.0, 1.0 - 1e-12, 0.5], [0.0, 9.0, -1.0], [0.0, 0.0, 0.0]])
    legal = np.array([[True, True, True], [True, False, True], [False, False, False]])
    assert greedy_actions(q, legal).tolist() == [[True, True, False], [True, False, False], [False] * 3]


def test_what_is_no_process_is_refused() -> None:
    process = drawn_process(0)
    with pytest.raises(AlgorithmError, match=r"gamma=1\.0"):
        replace(process, gamma=1.0)
    with pytest.raises(AlgorithmError, match="probabilities that sum to"):
        replace(process, transition=process.transition * 0.5)
    with pytest.raises(AlgorithmError, match="not finite"):
        optimal_values(process, np.full(process.legal.shape, np.nan))
    with pytest.raises(AlgorithmError, match="starts in an end"):
        visitation(replace(process, start=process.ends / process.ends.sum()), some_policy(process))
