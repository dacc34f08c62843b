"""``agentgym credit``, as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentgym import cli
from agentgym.episodes import Group
from agentgym.storage import write_groups
from tests.evaluation.test_credit_replay import episode


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    groups = [Group("g", (episode(0, [("a", "x"), ("b", "y")], 1.0), episode(1, [("a", "x"), ("c", "y")], 0.0)))]
    write_groups(tmp_path / "run" / "rollouts" / "train-000001.jsonl.gz", groups)
    write_groups(tmp_path / "run" / "rollouts" / "eval-000001.jsonl", [Group("e", groups[0].episodes[:1])])
    return tmp_path / "run"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["agentgym", "credit", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_a_run_is_scored(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "credit.jsonl"
    names = "grpo,gigpo:omega=0.5,scpo,remax"
    assert call(monkeypatch, str(run_dir), "--algos", names, "--output", str(output)) == 0
    out = capsys.readouterr().out
    assert "1 groups, 2 episodes, 4 steps, 1 won" in out
    assert "1 recordings of training" in out
    assert "remax is left out" in out
    assert "100.0%" in out  # the one pair of near-identical steps conflicts under GRPO
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 4
    assert rows[0]["gigpo:omega=0.5"] > rows[0]["gigpo:omega=0.5/episode"] > 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--algos", "grpo,gigp"], 2, "Did you mean 'gigpo'"),
        (["--algos", "gigpo:omga=1"], 2, "Did you mean 'omega'"),
        (["--algos", "gigpo:omega"], 2, "key=value"),
        (["--algos", ","], 2, "no method"),
        (["--similarity", "2"], 2, "similarity"),
        (["--output", "credit.csv"], 2, ".parquet or .jsonl"),
    ],
)
def test_what_is_wrong_is_said(
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    assert call(monkeypatch, str(run_dir), *arguments) == status
    assert message in capsys.readouterr().err


def test_it_loads_no_torch(run_dir: Path) -> None:
    code = (
        "import sys; from agentgym.cli import app; "
        "app(sys.argv[1:], standalone_mode=False); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "credit", str(run_dir)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False False"
