"""The group methods keep their laws with other settings than their defaults, and with those of their presets."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.algos import PRESETS, get_algorithm
from agentgym.testing import check_algorithm

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("grpo", {"kl_estimator": "abs", "kl_coef": 0.1, "aggregation": "seq-mean-token-sum-norm", "norm_tokens": 7}),
    ("grpo", {"ratio": "sequence", "entropy_coef": 0.1}),
    ("drgrpo", {"base": "rows", "norm_tokens": 7, "kl_coef": 0.1}),
    ("rloo", {"base": "rows"}),
    ("reinforce_pp", {"gamma": 0.9, "scope": "row", "kl_reward_coef": 0.1}),
    ("reinforce_pp_baseline", {"base": "rows"}),
    ("dapo", {"base": "rows", "std": "population"}),
    ("gspo", {"kl_coef": 0.1, "entropy_coef": 0.1}),
    ("empg", {"base": "rows", "k": 2.0, "zeta": 0.5}),
    ("mt_grpo", {"base": "rows", "std": None, "turn_weight": 0.5}),
    ("progress_advantage", {"outcome": False, "reduce": "mean"}),
]
OURS = ("dapo", "drgrpo", "empg", "gspo", "mt_grpo", "progress_advantage", "reinforce_pp", "rloo")


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_other_settings(name: str, settings: dict[str, Any]) -> None:
    check_algorithm(get_algorithm(name, **settings), max_examples=0)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith(OURS)])
def test_presets(name: str) -> None:
    check_algorithm(get_algorithm(name), max_examples=0)
