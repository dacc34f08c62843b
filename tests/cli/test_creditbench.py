"""The command ``creditbench``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from agentgym import cli

SMALL = ["--worlds", "Chain-v0", "--batches", "4", "--horizons", "6", "--skills", "0.5", "--group-sizes", "3"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["agentgym", "creditbench", *SMALL, *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_it_prints_a_table_and_writes_json_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "new" / "folder"
    assert run(monkeypatch, "--algos", "oracle, gigpo:gamma=1", "--output", str(folder), "--seed", "3") == 0
    out = capsys.readouterr().out
    assert "gigpo:gamma=1" in out
    assert "centred bias" in out
    data = json.loads((folder / "creditbench.json").read_text(encoding="utf-8"))
    assert data["settings"]["algos"] == ["oracle", "gigpo:gamma=1"]
    assert (data["settings"]["seed"], data["settings"]["group_sizes"], data["settings"]["skills"]) == (3, [3], [0.5])
    assert len(data["records"]) == 2
    assert (folder / "creditbench.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_picture_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(monkeypatch, "--algos", "grpo", "--output", str(tmp_path)) == 0
    assert "pip install" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["creditbench.json"]


def test_what_cannot_be_measured_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, named in (
        (["--algos", "gropo"], "grpo"),
        (["--batches", "1"], "batches"),
        (["--skills", "high"], "skills"),
        (["--group-sizes", "1"], "group_sizes"),
    ):
        assert run(monkeypatch, *wrong, "--output", str(tmp_path / "none")) == 2
        assert named in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
