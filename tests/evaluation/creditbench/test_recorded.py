"""What the page says is what the recorded runs found."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
COLUMNS = (
    *("cosine", "batch_cosine", "bias", "centred_bias", "spread", "centred_correlation", "sign_agreement", "signal"),
)


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))
    return found


def rows(heading: str) -> dict[str, list[float]]:
    """Return the lines of the table under a heading: every method of a line, its numbers."""
    page = (ROOT / "docs" / "creditbench.md").read_text(encoding="utf-8")
    table = page.split(heading)[1].split("\n| --- |")[1].split("\n\n")[0]
    found = {}
    for line in table.splitlines()[1:]:
        names, *numbers = line.strip("|").split("|")
        found.update({name: [float(number) for number in numbers] for name in re.findall("`(.+?)`", names)})
    return found


def test_table_of_methods() -> None:
    run = recorded("creditbench.json")
    table = rows("## What one run found")
    assert set(table) == set(run["summary"])
    for method, numbers in table.items():
        summary = run["summary"][method]
        assert numbers == pytest.approx([summary[name][0] for name in COLUMNS], abs=0.0051), method
        for name in ("cosine", "batch_cosine"):
            value, low, high = summary[name]
            assert max(high - value, value - low) < 0.02, "the page says that intervals are within this"


def test_table_of_large_batches() -> None:
    run, large = recorded("creditbench.json"), recorded("creditbench_large_batches.json")
    records = [dict(zip(run["columns"], row, strict=True)) for row in run["records"]]
    stands_for = {name: names[0] for names in run["same_credit"] for name in names}
    for method, numbers in rows("### When bias begins to matter").items():
        wanted_row = (stands_for.get(method, method), 8, "state")
        eight = [
            record["batch_cosine"]
            for record in records
            if (record["method"], record["group_size"], record["target"]) == wanted_row
        ]
        summary = large["summary"][method]
        wanted = [sum(eight) / len(eight), summary["batch_cosine"][0], summary["cosine"][0]]
        assert numbers == pytest.approx(wanted, abs=0.0051), method
    assert (large["settings"]["groups"], large["settings"]["group_sizes"]) == (64, [8])
