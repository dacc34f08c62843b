from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import GRPO
from agentgym.algos.grpo import penalties
from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import make_batch
from agentgym.testing.strategies import EIGHTHS, step_batches
from tests import reference

NON_DYADIC = st.integers(0, 40).map(lambda k: 10 * 0.95**k)


def two_episodes() -> StepBatch:
    """Episode 0: three steps and a success worth 10. Episode 1: four steps and nothing."""
    return make_batch(group=[0] * 7, episode=[0] * 3 + [1] * 4, t=[0, 1, 2, 0, 1, 2, 3], reward=[0, 0, 10, 0, 0, 0, 0])


@pytest.mark.parametrize(("base", "won", "lost"), [("rows", 1.0690, -0.8018), ("episodes", 0.7071, -0.7071)])
def test_worked_vector(base: Any, won: float, lost: float) -> None:
    credit = GRPO(base=base).credit(two_episodes())
    np.testing.assert_allclose(credit.advantage, [won] * 3 + [lost] * 4, atol=5e-5)
    assert credit.advantage.dtype == np.float32
    assert credit.components["episode"].tolist() == credit.advantage.tolist()


@pytest.mark.parametrize(("std", "bad", "good"), [("sample", -9.90, 0.10), (None, -0.099, 0.001)])
def test_one_malformed_row_among_a_hundred_failures(std: Any, bad: float, good: float) -> None:
    """The penalty is the row's own: its siblings keep their score, and the deviation is tiny."""
    format_ok = np.arange(100) != 7
    columns = {"group": [0] * 100, "episode": np.arange(100) // 10, "t": np.arange(100) % 10, "reward": [0] * 100}
    batch = make_batch(**columns, format_ok=format_ok)
    advantage = GRPO(base="rows", std=std, format_penalty=0.1).credit(batch).advantage
    np.testing.assert_allclose(advantage[~format_ok], bad, rtol=2e-3)
    np.testing.assert_allclose(advantage[format_ok], good, rtol=1.1e-2)


def test_penalties_add_up() -> None:
    both = penalties(np.array([True, False, True, False]), np.array([True, True, False, False]), 0.5, 0.25)
    assert both.tolist() == [0.0, 0.5, 0.25, 0.75]


@pytest.mark.parametrize("name", ["format_penalty", "invalid_penalty"])
def test_penalties_of_single_rows_need_rows(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}=0\.1 .*base='rows'"):
        GRPO(**{name: 0.1})


@given(
    step_batches(st.one_of(EIGHTHS, NON_DYADIC)),
    st.sampled_from(["episodes", "rows"]),
    st.sampled_from([None, "sample", "population"]),
    st.sampled_from(["zero", "raw"]),
)
def test_equals_the_loop(batch: StepBatch, base: str, std: str | None, lone: str) -> None:
    penal = {"format_penalty": 0.125, "invalid_penalty": 0.5} if base == "rows" else {}
    penalty = (0.125 * ~batch.format_ok + 0.5 * ~batch.valid).tolist() if penal else [0.0] * len(batch)
    fast = GRPO(base=base, std=std, lone=lone, eps=1e-3, **penal).credit(batch).advantage
    np.testing.assert_allclose(fast, reference.grpo(batch, base, std, 1e-3, lone, penalty), rtol=1e-5, atol=1e-6)


def test_lone_episode_per_base() -> None:
    """In base "rows" an episode of several steps is not alone: its rows tie."""
    batch = make_batch(group=[0, 1, 1], episode=[0, 1, 1], t=[0, 0, 1], reward=[4, 0, 6])
    assert GRPO(std=None).credit(batch).advantage.tolist() == [0, 0, 0]
    assert GRPO(std=None, lone="raw").credit(batch).advantage.tolist() == [4, 6, 6]
    assert GRPO(std=None, lone="raw", base="rows").credit(batch).advantage.tolist() == [4, 0, 0]
    with pytest.raises(AlgorithmError, match="2 of 2 groups have a single member"):
        GRPO(lone="raise").credit(batch)


def test_diagnostics() -> None:
    batch = make_batch(group=[0, 1, 1, 2, 2, 3, 3], episode=range(7), t=[0] * 7, reward=[4, 0, 1, 2, 2, 5, 5])
    assert GRPO().credit(batch).diagnostics == {
        "lone_group_share": 0.25,
        "zero_variance_group_share": 0.75,
        "credited_row_share": pytest.approx(2 / 7),
    }


def test_a_batch_without_rows_has_no_credit() -> None:
    credit = GRPO().credit(make_batch(group=[], episode=[], t=[], reward=[]))
    assert credit.advantage.shape == (0,)
    assert credit.diagnostics == {}
