"""Presets give the values worked out by hand from the published formulas, on two episodes of one group.

The first visits s0, s1, s2 and succeeds, the second s0, s1, s1, s3 and fails; γ = 0.95.
"""

from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos import get_algorithm
from agentgym.batch import StepBatch
from agentgym.testing import make_batch

OBSERVATIONS = ("s0", "s1", "s2", "s0", "s1", "s1", "s3")
BATCH: StepBatch = make_batch(
    group=[0] * 7,
    episode=[0, 0, 0, 1, 1, 1, 1],
    t=[0, 1, 2, 0, 1, 2, 3],
    reward=[0, 0, 1, 0, 0, 0, 0],
    anchor=[0, 1, 2, 0, 1, 1, 3],
    terminated=[False, False, True, False, False, False, True],
    won=[True] * 3 + [False] * 4,
    observations=OBSERVATIONS,
    actions=("go",) * 7,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grpo_verl_agent", [1.0690] * 3 + [-0.8018] * 4),
        ("gigpo_alfworld", [1.7762, 2.2237, 1.0690, -1.5089, -1.3791, -1.3791, -0.8018]),
        # Without standard deviation: 4/7 and -3/7, and the step returns 0.9025, 0.95 and 0 less their anchors' means.
        ("gigpo_webshop", [1.0227, 1.2048, 0.5714, -0.8798, -0.7452, -0.7452, -0.4286]),
        ("hgpo_paper", [1.0, 1.1381, 0.0, -1.0, -0.9024, -0.7071, 0.0]),
        ("hgpo_code", [1.0, 1.1657, 0.0, -1.0, -0.8828, -0.7071, 0.0]),
        ("rloo_verl_agent", [4 / 6] * 3 + [-3 / 6] * 4),
        ("drgrpo_paper", [0.5] * 3 + [-0.5] * 4),
        ("gspo_verl_agent", [1.0690] * 3 + [-0.8018] * 4),
        ("dapo_paper", [0.7071] * 3 + [-0.7071] * 4),
        ("entropy_arpo_paper", [0.7071] * 3 + [-0.7071] * 4),
        ("tree_grpo_paper", [0.7071] * 3 + [-0.7071] * 4),  # each episode is a tree of its own
    ],
)
def test_a_preset_gives_the_worked_values(name: str, expected: list[float]) -> None:
    assert np.asarray(get_algorithm(name).credit(BATCH).advantage) == pytest.approx(expected, abs=1e-3)
