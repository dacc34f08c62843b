"""Reductions between methods: where GiGPO is GRPO.

That every method keeps the laws it promises is in ``test_every_algorithm.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentgym.algos import Algorithm, get_algorithm
from agentgym.batch import StepBatch
from agentgym.testing.strategies import EIGHTHS, step_batches

NON_DYADIC = st.integers(0, 60).map(lambda k: 10 * 0.95**k)
REWARDS = st.one_of(EIGHTHS, NON_DYADIC)
STDS: tuple[str | None, ...] = (None, "sample", "population")
MODES = st.tuples(st.sampled_from(["episodes", "rows"]), st.sampled_from(STDS))


def build(name: str, mode: tuple[str, str | None], **settings: Any) -> Algorithm[Any]:
    base, std = mode
    return get_algorithm(name, base=base, std=std, **settings)


@given(mode=MODES, batch=step_batches(REWARDS))
def test_gigpo_without_step_weight_is_grpo(mode: Any, batch: StepBatch) -> None:
    gigpo = build("gigpo", mode, omega=0.0).credit(batch)
    assert gigpo.advantage.tolist() == build("grpo", mode).credit(batch).advantage.tolist()


@given(mode=MODES, batch=step_batches(REWARDS))
def test_gigpo_where_no_state_repeats_is_grpo(mode: Any, batch: StepBatch) -> None:
    gigpo = build("gigpo", mode).credit(replace(batch, anchor=np.arange(len(batch))))
    assert gigpo.advantage.tolist() == build("grpo", mode).credit(batch).advantage.tolist()


@given(batch=step_batches(REWARDS))
def test_gigpo_where_only_the_start_repeats_differs_at_the_start_alone(batch: StepBatch) -> None:
    legal = replace(batch, anchor=np.where(batch.t == 0, 0, 1 + np.arange(len(batch))))
    assume(np.unique(batch.episode).size > np.unique(batch.group).size)
    gigpo, grpo = get_algorithm("gigpo").credit(legal), get_algorithm("grpo").credit(legal)
    later = batch.t > 0
    assert gigpo.advantage[later].tolist() == grpo.advantage[later].tolist()
    assert (gigpo.advantage - gigpo.components["step"])[~later] == pytest.approx(grpo.advantage[~later], abs=1e-5)
