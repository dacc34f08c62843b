from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

from agentgym.batch import StepBatch
from agentgym.errors import AlgorithmError
from agentgym.testing import make_batch
from agentgym.testing.strategies import step_batches


@given(step_batches(min_groups=2, max_groups=2, max_episodes=3, max_steps=4, states=4))
@settings(max_examples=20)
def test_batches_keep_to_their_limits_and_are_legal(batch: StepBatch) -> None:
    assert np.unique(batch.group).tolist() == [0, 1]
    assert batch.t.max() < 4
    assert np.unique(batch.state).size <= 4
    assert np.unique(batch.anchor[batch.t == 0]).size == 1
    for episode in np.unique(batch.episode):
        rows = batch.episode == episode
        assert np.unique(batch.group[rows]).size == 1
        assert (batch.terminated | batch.truncated)[rows].sum() == 1


def test_a_hand_made_batch_takes_columns_and_refuses_wrong_lengths() -> None:
    batch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[0, 1], valid=[True, False])
    assert batch.valid.tolist() == [True, False]
    assert batch.env_reward.tolist() == [0.0, 1.0]
    with pytest.raises(AlgorithmError, match="column 't' has shape"):
        make_batch(group=[0, 0], episode=[0, 1], t=[0], reward=[0, 1])


def test_strategies_without_hypothesis_name_the_extra() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try: import agentgym.testing.strategies\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "agentgym.testing.strategies needs the package 'hypothesis': pip install" in run.stdout
