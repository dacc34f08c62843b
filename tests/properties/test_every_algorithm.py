"""Every registered method and preset keeps the laws it promises, with its important settings."""

from __future__ import annotations

from typing import Any

import pytest

from agentgym.algos import ALGORITHMS, PRESETS, get_algorithm
from agentgym.testing import check_algorithm

NEEDS_A_MODEL = {name for name, preset in PRESETS.items() if preset.settings.get("matcher") == "cross-encoder"}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {"base": base, "std": std, "lone": lone})
        for name in ("grpo", "gigpo")
        for base, std, lone in (
            ("rows", "sample", "zero"),
            ("rows", "population", "raw"),
            ("rows", None, "raise"),
            ("episodes", "population", "raise"),
            ("episodes", None, "raw"),
        )
    ),
    ("grpo", {"base": "rows", "format_penalty": 0.1, "invalid_penalty": 0.05}),
    ("rloo", {"base": "rows"}),
    ("gigpo", {"anchor": "state"}),
    ("gigpo", {"anchor": "similar"}),
    ("ppo", {"level": "token"}),
    ("ppo", {"level": "token", "scope": "row"}),
    ("ppo", {"gamma": 0.9, "lam": 0.8, "whiten": False}),
    ("archer", {"baseline": True}),
    ("archer", {"whiten": True}),
    ("grpo", {"kl_coef": 0.1, "entropy_coef": 0.01, "dual_clip": 3.0}),
    ("entropy_arpo", {"shared": "hard"}),
    ("entropy_arpo", {"shared": "hard", "base": "rows", "std": None}),
    ("aepo", {"shared": "hard", "entropy_weight": 0.0}),
    *(("grpo", {"aggregation": how}) for how in ("seq-mean-token-sum", "seq-mean-token-mean")),
]


@pytest.mark.parametrize("name", sorted({*ALGORITHMS, *PRESETS} - NEEDS_A_MODEL))
def test_registered_names_keep_their_laws(name: str) -> None:
    check_algorithm(get_algorithm(name), max_examples=5)


@pytest.mark.parametrize(("name", "settings"), OPTIONS, ids=str)
def test_settings_keep_the_laws(name: str, settings: dict[str, Any]) -> None:
    check_algorithm(get_algorithm(name, **settings), max_examples=5)
