"""The laws of credit, for every algorithm and every way it can normalise.

The laws of masks and micro-batches concern the loss: they are in tests/algos/functional/test_losses.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agentgym.algos import ALGORITHMS, Algorithm, get_algorithm
from agentgym.batch import Credit, StepBatch
from agentgym.testing import make_batch
from agentgym.testing.strategies import EIGHTHS, step_batches

NON_DYADIC = st.integers(0, 60).map(lambda k: 10 * 0.95**k)
EXTREME = st.floats(-(2.0**100), 2.0**100, width=32)
REWARDS = st.one_of(EIGHTHS, NON_DYADIC)

STDS: tuple[str | None, ...] = (None, "sample", "population")
MODES = st.tuples(st.sampled_from(["episodes", "rows"]), st.sampled_from(STDS))


def promising(law: str) -> Any:
    """Run a test on every algorithm that promises a law."""
    names = [name for name in ALGORITHMS if law in get_algorithm(name).laws]
    assert names
    return pytest.mark.parametrize("name", names)


def build(name: str, mode: tuple[str, str | None], **settings: Any) -> Algorithm[Any]:
    base, std = mode
    return get_algorithm(name, base=base, std=std, **settings)


def equal(first: Credit, second: Credit, rows: npt.NDArray[Any] | slice = slice(None)) -> None:
    """Assert that the second credit is the first's on the given rows, to the last bit."""
    assert first.components.keys() == second.components.keys()
    assert first.advantage[rows].tolist() == second.advantage.tolist()
    for part, component in first.components.items():
        assert component[rows].tolist() == second.components[part].tolist()


def with_reward(batch: StepBatch, reward: npt.NDArray[np.float64]) -> StepBatch:
    return replace(batch, reward=reward)


def last_rows(batch: StepBatch) -> npt.NDArray[np.bool_]:
    lengths = np.bincount(batch.episode)
    return np.asarray(batch.t == lengths[batch.episode] - 1)


def units(batch: StepBatch, component: str, base: str) -> list[npt.NDArray[np.intp]]:
    """Return for each sum that must vanish the rows that stand for its units."""
    if component == "step":
        pairs = sorted(set(zip(batch.group.tolist(), batch.anchor.tolist(), strict=True)))
        return [np.flatnonzero((batch.group == g) & (batch.anchor == a)) for g, a in pairs]
    one_each = (batch.t == 0) if base == "episodes" else np.full(len(batch), True)
    return [np.flatnonzero((batch.group == g) & one_each) for g in np.unique(batch.group)]


@promising("zero-sum")
@given(mode=MODES, batch=step_batches(st.one_of(REWARDS, EXTREME)))
def test_zero_sum(name: str, mode: Any, batch: StepBatch) -> None:
    """Centred credit sums to zero over the units of its base, within the rounding of float32."""
    credit = build(name, mode, eps=1e-3).credit(batch)
    largest = 5 * float(np.abs(batch.reward).max())
    for part, component in credit.components.items():
        for rows in units(batch, part, mode[0]):
            values = component[rows].astype(np.float64)
            # Values this large lose their low bits in float32 and, before the division by the deviation, in float64.
            tolerance = len(rows) * (np.abs(values).max() * 2.0**-23 + largest * 2.0**-50 / 1e-3)
            assert abs(values.sum()) <= tolerance


@promising("ties")
@given(mode=MODES, rewards=st.lists(REWARDS, min_size=1, max_size=6), size=st.integers(2, 9))
@example(mode=("rows", "sample"), rewards=[10 * 0.95**7], size=3)
@example(mode=("rows", "sample"), rewards=[0.1, 0.2, 0.3], size=7)
def test_ties(name: str, mode: Any, rewards: list[float], size: int) -> None:
    """Episodes that went the same way get literally nothing."""
    steps = len(rewards)
    batch = make_batch(
        group=np.zeros(steps * size),
        episode=np.repeat(np.arange(size), steps),
        t=np.tile(np.arange(steps), size),
        anchor=np.tile(np.arange(steps), size),
        reward=np.tile(rewards, size),
    )
    # In base "rows" too: rows of one episode share its return.
    credit = build(name, mode, eps=1e-12).credit(batch)
    assert credit.advantage.tolist() == [0.0] * len(batch)


@promising("ties")
@given(mode=MODES, batch=step_batches(max_steps=6), value=NON_DYADIC)
def test_equal_returns_at_different_lengths_give_no_episode_credit(
    name: str, mode: Any, batch: StepBatch, value: float
) -> None:
    batch = with_reward(batch, np.where(last_rows(batch), value, 0.0))
    episode = build(name, mode, eps=1e-12).credit(batch).components["episode"]
    assert episode.tolist() == [0.0] * len(batch)


@promising("lone")
@given(mode=MODES, batch=step_batches(REWARDS, max_episodes=1))
def test_lone_episode(name: str, mode: Any, batch: StepBatch) -> None:
    """Without peers there is no episode credit; in base "rows" because all rows of the episode tie."""
    assert build(name, mode).credit(batch).components["episode"].tolist() == [0.0] * len(batch)


@promising("lone")
@given(mode=MODES, batch=step_batches(REWARDS))
def test_lone_anchor(name: str, mode: Any, batch: StepBatch) -> None:
    step = build(name, mode, lone="raw").credit(batch).components.get("step", np.zeros(len(batch)))
    for rows in units(batch, "step", mode[0]):
        assert len(rows) > 1 or step[rows[0]] == 0.0


@promising("shift")
@given(mode=MODES, batch=step_batches(), shift=EIGHTHS)
def test_shift(name: str, mode: Any, batch: StepBatch, shift: float) -> None:
    """A constant on every return of one group changes nothing (γ = 1, so that it reaches every step's return)."""
    settings = {"gamma": 1.0} if name == "gigpo" else {}
    algorithm = build(name, mode, eps=1e-3, **settings)
    moved = with_reward(batch, batch.reward + np.where(last_rows(batch) & (batch.group == 0), shift, 0.0))
    np.testing.assert_allclose(
        algorithm.credit(moved).advantage, algorithm.credit(batch).advantage, rtol=1e-6, atol=1e-6
    )


@promising("scale")
@given(mode=MODES, batch=step_batches(REWARDS), c=st.sampled_from([0.125, 3.0, 10.0]))
def test_scale(name: str, mode: Any, batch: StepBatch, c: float) -> None:
    """Scaling rewards and penalties by c is dividing ε by c; without a deviation it scales the credit."""
    penalty = 0.25 if mode[0] == "rows" else 0.0
    plain = build(name, mode, eps=1e-3 / c, format_penalty=penalty).credit(batch).advantage
    scaled = (
        build(name, mode, eps=1e-3, format_penalty=c * penalty).credit(with_reward(batch, c * batch.reward)).advantage
    )
    np.testing.assert_allclose(scaled, plain * (c if mode[1] is None else 1.0), rtol=1e-5, atol=1e-5)


@promising("permutation")
@given(mode=MODES, batch=step_batches(st.one_of(REWARDS, EXTREME)), data=st.data())
def test_permutation(name: str, mode: Any, batch: StepBatch, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(batch)))))
    algorithm = build(name, mode)
    equal(algorithm.credit(batch), algorithm.credit(batch.take(order)), order)


@promising("permutation")
@given(mode=MODES, batch=step_batches(REWARDS), data=st.data())
def test_relabelling(name: str, mode: Any, batch: StepBatch, data: st.DataObject) -> None:
    """Codes are names: other names for groups, episodes and anchors change nothing."""
    renamed = {}
    for column in ("group", "episode", "anchor"):
        codes = getattr(batch, column)
        renamed[column] = np.array(data.draw(st.permutations(range(int(codes.max()) + 4))))[codes]
    algorithm = build(name, mode)
    equal(algorithm.credit(batch), algorithm.credit(replace(batch, **renamed)))


@promising("locality")
@given(mode=MODES, batch=step_batches(st.one_of(REWARDS, EXTREME), min_groups=2))
def test_locality(name: str, mode: Any, batch: StepBatch) -> None:
    """A group's credit is the same with and without the others."""
    rows = np.flatnonzero(batch.group == 1)
    algorithm = build(name, mode)
    equal(algorithm.credit(batch), algorithm.credit(batch.take(rows)), rows)


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
