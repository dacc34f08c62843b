"""The command line, as a person and a script meet it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest
import typer

from agentgym import cli
from agentgym.algos import ALGORITHMS, PRESETS
from agentgym.registration import ENVIRONMENTS
from agentgym.storage import read_groups
from tests.worlds import Corridor

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line here: arguments and input to status, output and errors."""

    def call(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agentgym", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def corridor() -> str:
    if "Corridor-v0" not in gym.registry:
        gym.register("Corridor-v0", Corridor, max_episode_steps=20)
    return "Corridor-v0"


def test_envs_lists_every_environment(run: Run) -> None:
    status, out, _ = run("envs")
    assert status == 0
    assert all(name in out for name in ENVIRONMENTS)


def test_algos_lists_every_algorithm_and_preset_with_its_source(run: Run) -> None:
    status, out, _ = run("algos")
    assert status == 0
    assert all(name in out for name in (*ALGORITHMS, *PRESETS))
    assert all(preset.source in " ".join(out.split()) for preset in PRESETS.values())


def test_play_to_the_end(run: Run, corridor: str) -> None:
    typed = "/goal\n/actions\n\ndance\nleft\ntake key\nright\nright\nopen door\n"
    status, out, err = run("play", corridor, "--task", "corridor/3", typed=typed)
    assert (status, err) == (0, "")
    assert "open the door" in out
    assert "left\nright" in out
    assert "Nothing happens." in out
    assert "Solved after 6 steps, score 1." in out


def test_play_says_when_the_step_limit_ends_it(run: Run, corridor: str) -> None:
    status, out, _ = run("play", corridor, "--seed", "0", typed="dance\n" * 30)
    assert status == 0
    assert "Over after 20 steps, score 0." in out


@pytest.mark.parametrize("typed", ["left\n", "left\n/quit\nright\n"])
def test_play_can_be_left(run: Run, corridor: str, typed: str) -> None:
    status, out, _ = run("play", corridor, "--seed", "0", typed=typed)
    assert status == 0
    assert "You left after 1 steps" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["play", "ALFWord-v0"], 2, "Did you mean 'ALFWorld-v0'"),
        (["play", "Corridor-v0", "--task", "corridor/7"], 1, "no task 'corridor/7' here"),
        (["play", "Corridor-v0", "--split", "train"], 2, "split"),
        (["trian"], 2, "trian"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    run: Run, corridor: str, arguments: list[str], status: int, message: str
) -> None:
    code, _, err = run(*arguments)
    assert code == status
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--group-size", "0"], "setting 'group_size' is '0'"),
        (["train", "--set", "goup_size=2"], "Did you mean 'group_size'"),
        (["train", "--set", "warm_start.stps=2"], "Did you mean 'steps'"),
        (["train", "--set", "group_size"], "key=value"),
        (["train", "--algo", "gigp"], "Did you mean 'gigpo'"),
        (["train", "--set", "algo_options.omga=1"], "Did you mean 'omega'"),
        (["train", "--env", "ALFWord-v0"], "Did you mean 'ALFWorld-v0'"),
        (["train", "--set", "env_options.difculty=easy"], "difculty"),
        (["train", "--context", "windows"], "window:K"),
        (["train", "--config", "absent.yaml"], "absent.yaml"),
        (["eval"], "setting 'model' is missing"),
        (["rollout", "--model", "random", "--output", "here.csv"], "here.csv"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.yaml", "iteratons: 3", "Did you mean 'iterations'"),
        ("run.toml", "iterations = -3", "setting 'iterations' is -3"),
        ("run.yaml", "- iterations", "must hold settings by name"),
        ("run.yaml", "{", "not valid YAML"),
        ("run.ini", "", "must end in .yaml"),
    ],
)
def test_a_wrong_file_is_refused(run: Run, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    status, _, err = run("train", "--config", str(tmp_path / name))
    assert status == 2
    assert message in err


def test_flags_win_over_the_file(run: Run, corridor: str, tmp_path: Path) -> None:
    file = tmp_path / "eval.toml"
    file.write_text(f'env = "{corridor}"\nmodel = "random"\nepisodes = 3\nseed = 1\n', encoding="utf-8")
    status, out, _ = run("eval", "--config", str(file), "--output", str(tmp_path / "all.json"))
    assert (status, "random on games of corridor" in out) == (0, True)
    run("eval", "--config", str(file), "--episodes", "1", "--output", str(tmp_path / "one.json"))
    counts = [len(json.loads((tmp_path / name).read_text())["outcomes"]) for name in ("all.json", "one.json")]
    assert counts == [3, 1]


def test_every_setting_is_a_flag_or_nested() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    for name, model in {
        "train": cli.TrainSettings,
        "sft": cli.SFTSettings,
        "eval": cli.EvalSettings,
        "rollout": cli.RolloutSettings,
    }.items():
        flags = {parameter.name for parameter in commands[name].params}
        nested = {field for field in model.model_fields if field.endswith("_options") or field == "warm_start"}
        assert set(model.model_fields) - nested <= flags
        assert not nested & flags


def test_rollout_records_what_was_played(run: Run, corridor: str, tmp_path: Path) -> None:
    file = tmp_path / "groups.jsonl.gz"
    arguments = ["--env", corridor, "--model", "random", "--groups", "2", "--group-size", "3", "--output", str(file)]
    status, out, _ = run("rollout", *arguments)
    assert status == 0
    groups = read_groups(file)
    assert [len(group) for group in groups] == [3, 3]
    assert f"2 groups, 6 episodes, {sum(e.won for g in groups for e in g.episodes)} won" in out


def test_a_world_without_an_expert_says_so(run: Run, corridor: str, tmp_path: Path) -> None:
    status, _, err = run("rollout", "--env", corridor, "--model", "expert", "--output", str(tmp_path / "x.jsonl"))
    assert status == 1
    assert "has no expert to ask" in err


def test_module_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "agentgym", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "100"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().count(".") == 2
