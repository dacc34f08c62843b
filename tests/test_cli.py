"""The command line, as a person and a script meet it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest

from agentgym import cli
from agentgym.algos import ALGORITHMS, PRESETS
from agentgym.registration import ENVIRONMENTS
from tests.worlds import Corridor

ROOT = Path(__file__).resolve().parents[1]

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
        (["play", "ALFWord-v0"], 2, "Did you mean 'ALFWorld-v0'?"),
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


def test_module_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "agentgym", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "100"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().count(".") == 2
