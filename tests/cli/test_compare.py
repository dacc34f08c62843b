"""The command ``compare``: two real runs in processes of their own, cut off between them and begun again."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentgym import cli
from agentgym.algos import list_algorithms
from agentgym.cli import CompareSettings

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("--data", "builtin", "--cpu", "--seeds", "1", "--methods", "grpo,no_std"),
    *("--set", 'method_options={"no_std": {"algo": "gigpo", "std": null, "train": {"epochs": 2, "minibatches": 1}}}'),
    *("--groups", "1", "--group-size", "2", "--max-generated-tokens", "1", "--eval-episodes", "2"),
    *(
        "--set",
        "warm_start.steps=1",
        "--set",
        "warm_start.demonstrations=4",
        "--set",
        "env_options.max_episode_steps=20",
    ),
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agentgym", "compare", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


def test_a_comparison_that_is_cut_off_goes_on_with_the_cells_that_are_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["agentgym.cli.compare"]
    plain: Any = module._teller  # type: ignore[attr-defined]

    def teller(cells: Any) -> Callable[[Any, str], None]:
        tell = plain(cells)

        def knock(cell: Any, event: str) -> None:
            tell(cell, event)
            if event == "done":
                os.kill(os.getpid(), signal.SIGINT)

        return knock

    with monkeypatch.context() as patch:
        patch.setattr(module, "_teller", teller)
        status, out, err = run(*TINY, "--output", "out")
    log = tmp_path / "out" / "cells" / "grpo" / "seed-0" / "log.txt"
    assert status == 130, out + err + (log.read_text() if log.exists() else "")
    first, second = (tmp_path / "out" / "cells" / name / "seed-0" / "result.json" for name in ("grpo", "no_std"))
    assert "the same command goes on from here" in out
    assert first.exists()
    assert not second.parent.joinpath("log.txt").exists()
    kept = first.stat().st_mtime_ns

    status, out, _ = run(*TINY, "--output", "out")
    assert status == 0, out
    assert "1 of 2 runs are done already" in out
    assert first.stat().st_mtime_ns == kept
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [r["method"] for r in data["runs"]] == data["methods"] == ["grpo", "no_std"]
    assert data["rules"]["start"] == data["start"]["digest"]
    assert data["rules"]["methods"]["no_std"]["algo_settings"]["std"] is None
    assert data["rules"]["methods"]["no_std"]["train"] == {"epochs": 2}, "what all have is no setting of its own"
    assert "train" not in data["rules"]["methods"]["grpo"]
    assert data["costs"]["no_std"]["updates"] == 2 * data["costs"]["grpo"]["updates"]
    assert data["costs"]["grpo"].keys() >= {"episodes", "unique_states", "unique_observations"}
    assert data["explored"]["rollouts"]["states"].keys() == {"grpo", "no_std"}
    report = (tmp_path / "out" / "comparison.md").read_text()
    assert "- no_std trains with settings of its own: epochs 2 (others 1)" in report
    results = [json.loads(path.read_text()) for path in (first, second)]
    for result in results:
        assert result["stopped"] == "token budget"
        assert result["costs"]["generated_tokens"] >= 1
        assert len(result["evaluations"]["greedy"]["outcomes"]) == 2
    # Paired: the same start and seed play the same first batch.
    assert results[0]["curve"][0] == results[1]["curve"][0]
    assert (tmp_path / "out" / "learning_curves.png").stat().st_size > 0

    status, _, err = run(*TINY, "--output", "out", "--groups", "3")
    assert status == 2
    assert "settings.groups is 3, was 1" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output names the folder"),
        (["--output", "out", "--methods", "grpo,gigp"], "Did you mean 'gigpo'"),
        (["--output", "out", "--methods", "../grpo"], "it names a folder"),
        (["--output", "out", "--iterations", "3"], "'iterations' has no place in a comparison"),
        (["--output", "out", "--set", "method_options.gigpoo.omega=1"], "method_options has gigpoo"),
        (["--output", "out", "--set", "method_options.gigpo.omga=1"], "Did you mean 'omega'"),
        (
            ["--output", "out", "--set", "method_options.gigpo.train.epoch=2"],
            "train: unknown setting 'epoch'. Did you mean",
        ),
        (["--output", "out", "--set", "method_options.gigpo.train.epochs=0"], "'epochs' is 0"),
        (["--output", "out", "--set", "method_options.gigpo.train.seed=3"], "holds 'seed' equal for all methods"),
        (["--output", "out", "--set", "method_options.gigpo.train=3"], "must hold training settings by name"),
        (["--output", "out", "--max-generated-tokens", "none"], "'max_generated_tokens'"),
        (["--output", "out", "--env", "ALFWord-v0"], "Did you mean 'ALFWorld-v0'"),
    ],
)
def test_what_is_wrong_is_refused_before_any_work(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err
    assert not list(tmp_path.iterdir())


def test_all_names_every_algorithm() -> None:
    assert CompareSettings(methods="all").methods == list_algorithms()
    assert CompareSettings(methods="grpo, gigpo").methods == ("grpo", "gigpo")
