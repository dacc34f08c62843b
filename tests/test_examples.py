"""Every example runs, with its budget cut where it trains, and is short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from agentgym import cli

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHOWN = {
    "own_environment.py": "won: True",
    "wrappers_by_hand.py": "the decisions on which they differ most",
}
LINES = 80


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < LINES


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.name in SHOWN], ids=lambda path: path.name)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", str(path)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert SHOWN[path.name] in run.stdout


def test_the_shop_trains_with_the_words_of_the_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "cache"))
    cuts = "--iterations 1 --minibatches 1 --groups 1 --group-size 2 --eval-episodes 2 --report-to none"
    warm = "--set warm_start.steps=1 --set warm_start.demonstrations=4"
    command = f"train --config {ROOT / 'examples' / 'webshop.yaml'} --output {tmp_path / 'run'} {cuts} {warm}"
    cli.app(command.split(), standalone_mode=False)
    run = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    environments = run["environment"]
    assert environments["train"]["example_task"].startswith("builtin/train/mall/")
    assert environments["evaluation"]["example_task"].startswith("builtin/validation/mall/")
    [model] = (tmp_path / "run" / "checkpoints").glob("*/model")
    assert "hiking boots" in AutoTokenizer.from_pretrained(model).get_vocab()
