from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import GiGPO
from agentgym.batch import StepBatch, encode
from agentgym.errors import AlgorithmError
from agentgym.testing import make_batch
from agentgym.testing.strategies import EIGHTHS, step_batches
from tests import reference

NON_DYADIC = st.integers(0, 40).map(lambda k: 10 * 0.95**k)
ROWS: dict[str, Any] = {
    "group": [0] * 7,
    "episode": [0] * 3 + [1] * 4,
    "t": [0, 1, 2, 0, 1, 2, 3],
    "anchor": [0, 1, 2, 0, 1, 1, 3],
    "reward": [0, 0, 10, 0, 0, 0, 0],
}


@pytest.mark.parametrize(
    ("std", "step"),
    [
        ("sample", [0.7071, 1.1547, 0, -0.7071, -0.5774, -0.5774, 0]),
        (None, [4.5125, 6.3333, 0, -4.5125, -3.1667, -3.1667, 0]),
    ],
)
def test_worked_vector_of_the_step_advantage(std: Any, step: list[float]) -> None:
    np.testing.assert_allclose(GiGPO(std=std).credit(make_batch(**ROWS)).components["step"], step, atol=5e-5)


def test_worked_vector_of_the_whole() -> None:
    credit = GiGPO(base="rows").credit(make_batch(**ROWS))
    whole = [1.7762, 2.2237, 1.0690, -1.5089, -1.3791, -1.3791, -0.8018]
    np.testing.assert_allclose(credit.advantage, whole, atol=5e-5)
    assert (credit.components["episode"] + credit.components["step"]).tolist() == credit.advantage.tolist()


def test_a_penalty_lowers_only_the_step_it_falls_on() -> None:
    """It comes after discounting: the steps before the malformed one keep their return."""
    format_ok = [True, True, True, True, True, False, True]
    batch = make_batch(**ROWS, format_ok=format_ok)
    step = GiGPO(base="rows", std=None, format_penalty=0.3).credit(batch).components["step"]
    np.testing.assert_allclose(step, [4.5125, 9.5 - 9.2 / 3, 0, -4.5125, -9.2 / 3, -9.2 / 3 - 0.3, 0], atol=1e-6)


def test_anchors_by_state_tell_apart_what_looks_the_same() -> None:
    batch = make_batch(**ROWS, state=[0, 1, 2, 0, 4, 1, 3])
    step = GiGPO(anchor="state", std=None).credit(batch).components["step"]
    np.testing.assert_allclose(step, [4.5125, 4.75, 0, -4.5125, 0, -4.75, 0], atol=1e-6)


def test_anchors_by_state_need_states() -> None:
    batch = make_batch(**ROWS, state=[0, 1, 2, 0, -1, 1, 3])
    with pytest.raises(AlgorithmError, match=r"anchor='state' needs a code on every row, but row 4 has none"):
        GiGPO(anchor="state").credit(batch)


def test_equal_observations_of_different_groups_are_not_compared() -> None:
    batch = make_batch(group=[0, 1], episode=[0, 1], t=[0, 0], anchor=[5, 5], reward=[0, 1])
    assert GiGPO().credit(batch).advantage.tolist() == [0.0, 0.0]


def test_diagnostics() -> None:
    diagnostics = GiGPO().credit(make_batch(**ROWS)).diagnostics
    assert diagnostics["lone_anchor_share"] == pytest.approx(2 / 7)
    assert diagnostics["mean_anchor_size"] == pytest.approx(7 / 4)
    assert diagnostics["credited_row_share"] == 1.0


@given(
    step_batches(st.one_of(EIGHTHS, NON_DYADIC)),
    st.sampled_from([None, "sample", "population"]),
    st.sampled_from(["obs", "state"]),
    st.sampled_from([0.5, 1.0]),
)
def test_equals_the_loop(batch: StepBatch, std: str | None, anchor: str, gamma: float) -> None:
    penalty = (0.125 * ~batch.format_ok + 0.5 * ~batch.valid).tolist()
    algorithm = GiGPO(
        base="rows", std=std, eps=1e-3, format_penalty=0.125, invalid_penalty=0.5, omega=0.7, gamma=gamma, anchor=anchor
    )
    components = algorithm.credit(batch).components
    of_episode = reference.grpo(batch, "rows", std, 1e-3, "zero", penalty)
    codes = (batch.anchor if anchor == "obs" else batch.state).tolist()
    of_step = reference.step_advantage(batch, codes, gamma, std, 1e-3, penalty)
    np.testing.assert_allclose(components["episode"], of_episode, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(components["step"], 0.7 * np.array(of_step), rtol=1e-5, atol=1e-6)


def test_a_batch_without_rows_has_no_credit() -> None:
    credit = GiGPO().credit(make_batch(group=[], episode=[], t=[], reward=[]))
    assert credit.advantage.shape == (0,)
    assert credit.diagnostics == {}


def look_alikes(texts: list[str], order: list[int]) -> StepBatch:
    """Return one-group rows in the given order: row k of episode k, but 2 and 3 are steps of one episode."""
    batch = make_batch(
        group=[0] * 4,
        episode=[0, 1, 2, 2],
        t=[0, 0, 0, 1],
        anchor=[0, 1, 2, 3],
        reward=[8.0, 0.0, 0.0, 4.0],
        observations=tuple(texts),
        actions=("",) * 4,
    )
    return batch.take(np.array(order))


CHAIN = ["aaaaaaaaaa", "aaaaaaaabb", "aaaaaabbbb", "cccccccccc"]  # each alike to the next, the first not to the third


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 3, 1, 0], [1, 0, 3, 2]])
def test_similar_anchors_do_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    batch = look_alikes(CHAIN, order)
    step = GiGPO(anchor="similar", similarity=0.8, std=None, gamma=1.0).credit(batch).components["step"]
    # First texts of clusters: "aaaaaaaaaa" takes "aaaaaaaabb"; the next is alike to the second only.
    assert step[np.argsort(order)].tolist() == [4.0, -4.0, 0.0, 0.0]


def test_texts_that_come_earlier_in_an_episode_open_the_anchors() -> None:
    texts = ["aaaaaabbbb", "aaaaaaaabb", "dddddddddd", "aaaaaaaaaa"]
    step = GiGPO(anchor="similar", similarity=0.8, std=None, gamma=1.0).credit(look_alikes(texts, [3, 2, 1, 0]))
    # At step 0 "aaaaaaaabb" opens an anchor before "aaaaaabbbb", by the alphabet, and takes it and the late text.
    assert step.components["step"][::-1].tolist() == [4.0, -4.0, 0.0, 0.0]
    assert step.diagnostics["lone_anchor_share"] == 0.25


def test_similar_texts_of_different_groups_are_not_compared() -> None:
    batch = make_batch(
        group=[0, 1], episode=[0, 1], t=[0, 0], reward=[0, 1], observations=("same", "same"), actions=("", "")
    )
    assert GiGPO(anchor="similar").credit(batch).advantage.tolist() == [0.0, 0.0]


def test_similar_anchors_need_texts() -> None:
    with pytest.raises(AlgorithmError, match="compares observations, but this batch dropped its texts"):
        GiGPO(anchor="similar").credit(make_batch(**ROWS))


@given(step_batches(st.one_of(EIGHTHS, NON_DYADIC)))
def test_with_a_similarity_of_1_anchors_are_those_of_equal_texts(batch: StepBatch) -> None:
    similar = GiGPO(anchor="similar", similarity=1.0).credit(batch)
    codes = encode(batch.observations)  # type: ignore[arg-type]
    assert similar.advantage.tolist() == GiGPO().credit(replace(batch, anchor=codes)).advantage.tolist()
