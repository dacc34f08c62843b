"""What the page says of the learning curves is what the recorded run found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads((ROOT / "benchmarks" / "results" / "reward_design.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "reward_design.md").read_text(encoding="utf-8")
HEADS = {
    "exprd": ["original", "potential", "EXPRD", "EXPRD, corner"],
    "expadard": ["original", "invariance", "EXPRD", "EXPADARD"],
    "explors": ["original", "bonus", "learned", "EXPLORS"],
}


def cell(curve: dict[str, Any]) -> str:
    reached = "never" if curve["reached"] is None else f"{curve['reached']:,}"
    return f"{reached} ({curve['mean'][-1]:.2f})"


@pytest.mark.parametrize("group", HEADS)
def test_the_tables_say_what_was_measured(group: str) -> None:
    curves = RECORD[group]["curves"]
    for setting in dict.fromkeys(curve["setting"] for curve in curves):
        of_teacher = {curve["teacher"]: curve for curve in curves if curve["setting"] == setting}
        assert list(of_teacher) == HEADS[group]
        best, episodes = of_teacher["original"]["best"], of_teacher["original"]["episodes"][-1]
        cells = [setting.removeprefix(f"{group} "), f"{episodes:,}", f"{best:.2f}", *map(cell, of_teacher.values())]
        assert f"| {' | '.join(cells)} |\n" in PAGE


@pytest.mark.parametrize("group", HEADS)
def test_curves_are_whole(group: str) -> None:
    assert RECORD[group]["runs"] >= 10
    for curve in RECORD[group]["curves"]:
        assert len(curve["episodes"]) == len(curve["mean"]) == len(curve["lowest"]) == len(curve["highest"])
        for low, mean, high in zip(curve["lowest"], curve["mean"], curve["highest"], strict=True):
            assert low <= mean + 1e-4
            assert mean <= high + 1e-4
