"""What the page says snapshots cost is what the recorded run found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agentgym.registration import ENVIRONMENTS

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "benchmarks" / "results" / "snapshot_cost.json").read_text(encoding="utf-8"))["rows"]
NAMES = {"`ALFWorld-v0`, built-in games": "ALFWorld-v0", "`ALFWorld-v0`, real games": "ALFWorld-v0, real games"}


def test_every_environment_is_measured_at_every_depth_and_in_its_own_steps() -> None:
    measured = [(row["environment"], row["depth"]) for row in ROWS]
    names = list(dict.fromkeys(name for name, _ in measured))
    # The budget of an advertiser is spent after fewer than twenty steps.
    depths = {name: (1, 10) if name == "AdvertisingBudget-v0" else (1, 10, 20) for name in names}
    assert measured == [(name, depth) for name in names for depth in depths[name]]
    assert set(names) - set(NAMES.values()) <= set(ENVIRONMENTS)
    for row in ROWS:
        assert row["native"]["against_native"] == 1
        for way in ("native", "copy", "replay"):
            assert row[way]["save_steps"] == pytest.approx(row[way]["save_us"] / row["step_us"], rel=0.01, abs=0.01)


def test_the_table_says_what_was_measured() -> None:
    page = (ROOT / "docs" / "branching.md").read_text(encoding="utf-8")
    table = page.split("### What saving costs")[1].split("| ---: |\n")[1].split("\n\n")[0]
    deep = {row["environment"]: row for row in ROWS if row["depth"] == 20}
    for line in table.splitlines():
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        row = deep[NAMES.get(name, name.strip("`"))]
        for way, cell in zip(("native", "copy", "replay"), cells, strict=True):
            save, restore = (float(number) for number in re.sub(",", "", cell).split(" + "))
            assert [save, restore] == pytest.approx(
                [row[way]["save_steps"], row[way]["restore_steps"]], rel=0.05, abs=0.06
            )
