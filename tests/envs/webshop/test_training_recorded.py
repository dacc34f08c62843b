"""The page on the shop says of training what the record holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
RECORD = json.loads((ROOT / "benchmarks" / "results" / "train_webshop_builtin.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "environments" / "webshop.md").read_text(encoding="utf-8")


def points(gain: dict[str, Any]) -> str:
    low, high = gain["interval"]
    return f"{gain['mean']:+.1f} [{low:+.1f}, {high:+.1f}]"


def row(run: dict[str, Any]) -> str:
    before, after, gain = run["before"], run["after"], run["gain_points"]
    cells = [
        f"{before['success']:.1%}",
        f"{after['success']:.1%}",
        points(gain["success"]),
        f"{before['score']:.2f}",
        f"{after['score']:.2f}",
        points(gain["score"]),
    ]
    return f"| {run['seed']} | {' | '.join(cells)} |"


@pytest.mark.parametrize("run", RECORD["runs"], ids=lambda run: f"seed {run['seed']}")
def test_the_page_has_each_run(run: dict[str, Any]) -> None:
    assert row(run) in PAGE


def test_success_and_score_rise_with_every_seed() -> None:
    assert len(RECORD["runs"]) >= 3
    assert all(gain["interval"][0] > 0 for run in RECORD["runs"] for gain in run["gain_points"].values())
