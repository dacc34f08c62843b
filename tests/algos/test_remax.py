from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos import ReMax
from agentgym.errors import AlgorithmError
from agentgym.testing import make_batch


def test_every_row_gets_its_episode_less_the_greedy_one_of_its_task() -> None:
    batch = make_batch(
        group=[0, 0, 0, 1], episode=[0, 0, 1, 2], t=[0, 1, 0, 0], reward=[0.25, 0.5, 0.0, 1.0]
    ).with_columns(baseline=np.array([0.5, 0.5, 0.5, 1.0], np.float32))
    credit = ReMax().credit(batch)
    assert credit.advantage.tolist() == [0.25, 0.25, -0.5, 0.0]
    assert credit.components["return"].tolist() == [0.75, 0.75, 0.0, 1.0]
    assert credit.components["baseline"].tolist() == [-0.5, -0.5, -0.5, -1.0]
    assert credit.diagnostics == {"credited_row_share": 0.75}


def test_without_the_greedy_return_it_says_who_brings_it() -> None:
    with pytest.raises(AlgorithmError, match=r"'baseline'.*'greedy_baseline'"):
        ReMax().credit(make_batch(group=[0], episode=[0], t=[0], reward=[1]))


def test_asks_for_the_collector_that_plays_greedily() -> None:
    assert ReMax().collector().name == "greedy_baseline"


def test_a_batch_without_rows_has_no_credit() -> None:
    batch = make_batch(group=[], episode=[], t=[], reward=[]).with_columns(baseline=np.zeros(0))
    assert ReMax().credit(batch).advantage.shape == (0,)
