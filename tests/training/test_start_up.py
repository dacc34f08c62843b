"""What happens before the first iteration: processes, directories, environments."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import pytest
from accelerate.utils import DistributedType

from agentgym.errors import ConfigError
from agentgym.training import processes
from agentgym.training.environments import resolve_environments
from agentgym.training.loggers import MetricsFile
from agentgym.training.processes import choose_run_dir, make_accelerator
from tests.training.small import make_corridor, small_config


def test_a_run_without_a_place_gets_one_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = choose_run_dir(small_config(tmp_path, output_dir=None), None, "a name/with: signs")
    assert chosen.parent == Path("runs")
    assert chosen.name.startswith("a_name_with_signs-20")


def test_a_run_goes_on_where_its_checkpoint_lies_unless_told_otherwise(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "iteration-000001"
    assert choose_run_dir(small_config(tmp_path, output_dir=None), checkpoint, "") == tmp_path / "run"
    assert choose_run_dir(small_config(tmp_path / "elsewhere"), checkpoint, "") == tmp_path / "elsewhere"


def test_a_directory_with_a_run_is_refused_but_a_failed_start_is_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    assert choose_run_dir(small_config(tmp_path), None, "") == tmp_path
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="holds a run already"):
        choose_run_dir(small_config(tmp_path), None, "")


def test_sharded_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharded = SimpleNamespace(distributed_type=DistributedType.FSDP)
    monkeypatch.setattr(processes, "Accelerator", lambda **options: sharded)
    with pytest.raises(ConfigError, match="FSDP: every process generates with the whole model"):
        make_accelerator(small_config(tmp_path), tmp_path, 0)


def test_metrics_go_on_after_the_checkpoint_and_drop_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n{"iterat')
    file = MetricsFile(path, resume_after=2)
    file.write(3, {"loss": 0.5})
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3, "loss": 0.5}\n'
    file.close()


class TestEnvironments:
    def test_an_environment_names_its_held_out_games(self) -> None:
        found = resolve_environments("ALFWorld-v0", {"data": "builtin"})
        assert found.train["example_task"].startswith("builtin/train/")
        assert found.evaluation["example_task"].startswith("builtin/valid_unseen/")
        assert found.make_eval().reset(seed=0)[1]["task_id"] == found.evaluation["example_task"]

    def test_what_is_asked_for_wins(self) -> None:
        found = resolve_environments("ALFWorld-v0", {"data": "builtin"}, eval_kwargs={"split": "valid_seen"})
        assert found.evaluation["arguments"] == {"data": "builtin", "split": "valid_seen"}

    def test_functions_are_environments_too(self) -> None:
        found = resolve_environments(make_corridor)
        assert found.name == "make_corridor"
        assert found.make_eval is make_corridor
        other = resolve_environments("ALFWorld-v0", {"data": "builtin"}, eval_env=make_corridor)
        assert other.evaluation["tasks"] == 4

    def test_making_environments_leaves_the_checker_off(self) -> None:
        env = resolve_environments("ALFWorld-v0", {"data": "builtin"}).make_train()
        layers = []
        while isinstance(env, gym.Wrapper):
            layers.append(type(env))
            env = env.env
        assert gym.wrappers.PassiveEnvChecker not in layers
