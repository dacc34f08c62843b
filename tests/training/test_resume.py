"""Runs that are cut off and go on: bit for bit the run that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agentgym.algos import GRPO, GiGPO
from agentgym.errors import TrainingError
from agentgym.training import Callback, Trainer
from agentgym.training.checkpoint import checkpoints_in, read_checkpoint, write_checkpoint
from tests.training.small import make_corridor, make_graded, small_config, small_policy
from tests.worlds import Corridor

SETTINGS: dict[str, Any] = {"iterations": 4, "eval_every": 2, "eval_episodes": 4, "save_every": 1}
_TIMES = ("seconds", "time/", "tokens_per_second", "memory/")


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return the metrics of a run, without what the clock and the memory say."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not any(part in k for part in _TIMES)} for line in lines]


def weights(folder: Path, iteration: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"iteration-{iteration:06d}" / "model" / "model.safetensors")


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    for name, tensor in weights(one, 4).items():
        assert torch.equal(tensor, weights(other, 4)[name]), name


def train(
    folder: Path,
    resume: bool = False,
    callbacks: Any = (),
    algorithm: Any = None,
    free: bool = False,
    **settings: Any,
) -> Trainer:
    trainer = Trainer(
        make_graded if free else make_corridor,
        small_policy(constrain="none" if free else "admissible"),
        algorithm or GiGPO(),
        small_config(folder, **{**SETTINGS, **settings}),
        callbacks=callbacks,
        display=False,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing cut off."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    train(folder)
    return folder


def start(folder: Path, *words: str, **settings: Any) -> subprocess.Popen[bytes]:
    values = json.dumps({**SETTINGS, **settings})
    return subprocess.Popen([sys.executable, "-m", "tests.training.run_small", str(folder), values, *words])


def wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    for _ in range(12_000):
        if condition():
            return
        assert process.poll() is None, "the run ended before it was cut off"
        time.sleep(0.01)
    pytest.fail("nothing happened in two minutes")


def test_a_killed_run_goes_on_bit_for_bit(straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    try:
        wait_for(lambda: (folder / "checkpoints" / "iteration-000002").exists(), process)
    finally:
        process.kill()
        process.wait()
    survivors = [path.name for path in checkpoints_in(folder / "checkpoints")]
    assert "iteration-000002" in survivors
    for path in checkpoints_in(folder / "checkpoints"):
        read_checkpoint(path)
    train(folder, resume=True)
    assert_same_run(straight, folder)


def test_sigterm_in_a_process_writes_a_checkpoint_and_ends_cleanly(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, iterations=10**6, save_every=0, eval_episodes=0)
    try:
        wait_for(lambda: (folder / "metrics.jsonl").exists() and metrics(folder), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert json.loads((folder / "outcome.json").read_text())["stopped"] == "interrupted"
    (checkpoint,) = checkpoints_in(folder / "checkpoints")
    assert read_checkpoint(checkpoint)["iteration"] == metrics(folder)[-1]["iteration"]


class Knock(Callback):
    """Sends this process a signal after one iteration."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration

    def on_iteration(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        if trainer.iteration == self._iteration:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_between_iterations_goes_on_bit_for_bit(straight: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    stopped = train(tmp_path / "run", callbacks=[Knock(3)], save_every=0)
    assert (stopped.iteration, stopped.finished) == (3, True)
    assert signal.getsignal(signal.SIGINT) is before
    train(tmp_path / "run", resume=True)
    assert_same_run(straight, tmp_path / "run")


class Interrupting(Corridor):
    """A corridor in which somebody presses Ctrl-C, in the middle of collecting."""

    resets = 0

    def _begin(self, task: str | None) -> str:
        Interrupting.resets += 1
        if Interrupting.resets == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return super()._begin(task)


def test_ctrl_c_while_collecting_keeps_the_last_whole_iteration(tmp_path: Path) -> None:
    Interrupting.resets = 0
    config = small_config(tmp_path / "run", iterations=5, save_every=0)
    trainer = Trainer(
        lambda: _limited(Interrupting()), small_policy(constrain="admissible"), GRPO(), config, display=False
    )
    result = trainer.train()
    assert (result.stopped, result.iterations) == ("interrupted", 1)
    assert result.checkpoint is not None
    assert read_checkpoint(result.checkpoint)["iteration"] == 1
    assert [row["iteration"] for row in metrics(tmp_path / "run")] == [1]


def _limited(env: Any) -> Any:
    import gymnasium as gym

    return gym.wrappers.TimeLimit(env, 5)


def test_a_run_with_a_reference_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.01}
    train(tmp_path / "straight", algorithm=GRPO(kl_coef=0.1), **settings)
    train(tmp_path / "cut", algorithm=GRPO(kl_coef=0.1), callbacks=[Knock(2)], **settings)
    train(tmp_path / "cut", algorithm=GRPO(kl_coef=0.1), resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")
    assert metrics(tmp_path / "cut")[-1]["kl"] > 0


class TestForeignCheckpoints:
    def test_a_changed_file_is_named(self, straight: Path, tmp_path: Path) -> None:
        good = straight / "checkpoints" / "iteration-000004"
        for name in ("model/model.safetensors", "state.safetensors", "state.json", "model/config.json"):
            bad = tmp_path / name.replace("/", "-") / "iteration-000004"
            _copy(good, bad)
            content = (bad / name).read_bytes()
            (bad / name).write_bytes(content[:-7])
            with pytest.raises(TrainingError, match=f"damaged: {name} is missing, truncated or changed"):
                train(tmp_path / "run", resume=bad)  # type: ignore[arg-type]
            (bad / name).unlink()
            with pytest.raises(TrainingError, match="damaged"):
                read_checkpoint(bad)
        assert not (tmp_path / "run").exists()

    def test_what_is_no_checkpoint_is_refused(self, straight: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="no checkpoint at"):
            train(tmp_path / "run", resume=True)
        bad = tmp_path / "iteration-000004"
        _copy(straight / "checkpoints" / "iteration-000004", bad)
        for text, message in (
            ("{", "is not a checkpoint"),
            ('{"files": {}}', "is not a checkpoint"),
            ('{"format": "agentgym-checkpoint", "version": 99, "files": {}}', "has format .*99"),
        ):
            (bad / "manifest.json").write_text(text)
            with pytest.raises(TrainingError, match=message):
                read_checkpoint(bad)

    def test_another_algorithm_is_refused(self, straight: Path, tmp_path: Path) -> None:
        trainer = Trainer(
            make_corridor, small_policy(), GRPO(), small_config(tmp_path / "run", **SETTINGS), display=False
        )
        with pytest.raises(TrainingError, match=r"written by GiGPO.*of GRPO"):
            trainer.train(resume_from_checkpoint=straight)

    def test_state_that_needs_pickle_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"state\.algorithm\[1\] is a set"):
            write_checkpoint(tmp_path, 1, Path.mkdir, {"algorithm": [1, {2}]}, keep=1)
        assert list(tmp_path.iterdir()) == []


def _copy(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target)
