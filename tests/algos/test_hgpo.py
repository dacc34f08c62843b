from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import GRPO, HGPO, GiGPO, get_algorithm
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError
from agentgym.testing import make_batch
from agentgym.testing.strategies import EIGHTHS, step_batches
from tests import reference
from tests.algos.test_gigpo import NON_DYADIC, ROWS


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("paper", [1.0, 1.1381, 0, -1.0, -0.9024, -0.7071, 0]),
        ("code", [1.0, 1.1657, 0, -1.0, -0.8828, -0.7071, 0]),
    ],
)
def test_worked_example(weights: Any, expected: list[float]) -> None:
    np.testing.assert_allclose(HGPO(weights=weights).credit(make_batch(**ROWS)).advantage, expected, atol=5e-5)


def test_the_presets_are_the_two_readings() -> None:
    batch = make_batch(**ROWS)
    paper, code = (get_algorithm(name).credit(batch).advantage for name in ("hgpo_paper", "hgpo_code"))
    assert paper[1] == pytest.approx(1.1381, abs=5e-5)
    assert code[1] == pytest.approx(1.1657, abs=5e-5)


@given(
    step_batches(st.one_of(EIGHTHS, NON_DYADIC), max_steps=6, states=3),
    st.sampled_from([None, "sample", "population"]),
    st.sampled_from([(0, "paper", 1.0), (1, "code", 2.0), (2, "paper", 1.0), (3, "code", 0.0)]),
    st.booleans(),
)
def test_equals_the_loop(batch: StepBatch, std: str | None, depth: tuple[int, str, float], drop: bool) -> None:
    history, weights, alpha = depth
    algorithm = HGPO(
        base="rows", std=std, eps=1e-3, format_penalty=0.125, history=history, weights=weights, alpha=alpha,
        drop_zero=drop, zero_tolerance=1e-7,
    )  # fmt: skip
    expected = reference.hgpo(
        batch,
        batch.anchor.tolist(),
        0.95,
        (0.125 * ~batch.format_ok).tolist(),
        history=history,
        weight=lambda k: float(k + (1 if weights == "paper" else 2)) ** alpha,
        std=std,
        eps=1e-3,
        dropped=1e-7 if drop else -1.0,
    )
    np.testing.assert_allclose(algorithm.credit(batch).advantage, expected, rtol=1e-5, atol=1e-5)


def repeated(seed: int) -> StepBatch:
    """Return two groups of episodes over few states, with returns that seldom tie."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 7, size=9)
    episode = np.repeat(np.arange(9), lengths)
    t = np.concatenate([np.arange(n) for n in lengths])
    rows = len(t)
    return make_batch(
        group=episode // 5, episode=episode, t=t, anchor=rng.integers(3, size=rows), reward=rng.normal(size=rows)
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weight_eps", [0.0, 0.25])
def test_depth_0_is_the_step_advantage_of_gigpo_up_to_the_deviation(seed: int, weight_eps: float) -> None:
    """The ratio is √(n / (n - 1)) in an anchor of n, and 1 / (1 + ε) by the sum of the weights."""
    batch = repeated(seed)
    step = GiGPO(eps=1e-12).credit(batch).components["step"].astype(np.float64)
    ours = HGPO(eps=1e-12, history=0, weight_eps=weight_eps).credit(batch).advantage
    _, place, sizes = np.unique(batch.group * 3 + batch.anchor, return_inverse=True, return_counts=True)
    n = sizes[place]
    expected = step * np.sqrt(n / np.maximum(n - 1, 1)) / (1 + weight_eps)
    assert (step != 0).any()
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    without = HGPO(std=None, history=0).credit(batch).advantage
    np.testing.assert_array_equal(without, GiGPO(std=None).credit(batch).components["step"])


@pytest.mark.parametrize("item", [0.0, 1e-12, 1e-3])
def test_dropping_items_of_zero_makes_the_credit_jump(item: float) -> None:
    """A row of item 1 at depth 0 and almost 0 at depth 1: 1 / 3 of it, or all of it where the zero is dropped."""
    rows: dict[str, Any] = {
        "group": [0] * 8,
        "episode": [0, 0, 1, 1, 2, 2, 3, 3],
        "t": [0, 1] * 4,
        "anchor": [0, 2, 0, 2, 1, 2, 1, 2],
        "reward": [0, 1 + item, 0, 1 - item, 0, -1, 0, -1],
    }
    kept = HGPO(history=1, std=None, gamma=1.0).credit(make_batch(**rows)).advantage[1]
    dropped = HGPO(history=1, std=None, gamma=1.0, drop_zero=True).credit(make_batch(**rows)).advantage[1]
    assert kept == pytest.approx((1 + item + 2 * item) / 3, rel=1e-6)
    assert dropped == pytest.approx(kept if item > 1e-9 else 1.0, rel=1e-6)


def test_the_base_group_is_one_more_item_of_weight_1() -> None:
    batch = make_batch(**ROWS)
    credit = HGPO(base_group=True, weights="code").credit(batch)
    of_episode = GRPO(std="population").credit(batch).advantage
    np.testing.assert_allclose(credit.components["episode"][1], of_episode[1] / 6, rtol=1e-6)
    np.testing.assert_allclose(credit.advantage[1], (of_episode[1] + 2 * 2**0.5 + 3) / 6, rtol=1e-5)
    # Without peers in any state only the base group is left.
    np.testing.assert_allclose(credit.advantage[[2, 6]], of_episode[[2, 6]], rtol=1e-6)
    total = credit.components["episode"] + credit.components["step"]
    assert total.tolist() == credit.advantage.tolist()


def test_a_row_without_peers_gets_nothing() -> None:
    batch = replace(repeated(0), anchor=np.arange(len(repeated(0))))
    credit = HGPO().credit(batch)
    assert not credit.advantage.any()
    assert credit.diagnostics["lone_anchor_share"] == 1.0


def test_diagnostics_and_an_empty_batch() -> None:
    diagnostics = HGPO().credit(make_batch(**ROWS)).diagnostics
    assert diagnostics["peer_share_depth_0"] == pytest.approx(5 / 7)
    assert diagnostics["peer_share_depth_1"] == pytest.approx(2 / 7)
    assert diagnostics["peer_share_depth_2"] == 0.0
    empty = HGPO(base_group=True).credit(make_batch(group=[], episode=[], t=[], reward=[]))
    assert empty.advantage.shape == (0,)
    assert empty.diagnostics == {}


def test_lone_episodes_are_refused_where_asked() -> None:
    batch = make_batch(group=[0, 1, 1], episode=[0, 1, 2], t=[0, 0, 0], reward=[1, 0, 1])
    with pytest.raises(AlgorithmError, match="single member"):
        HGPO(lone="raise").credit(batch)
