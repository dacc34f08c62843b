"""Two processes make the run of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agentgym.algos import GiGPO
from agentgym.errors import ConfigError
from agentgym.training import Trainer
from tests.training.small import corridor_expert, make_corridor, small_config, small_policy
from tests.training.test_resume import metrics, weights

WARM_START = {"steps": 10, "demonstrations": 8, "learning_rate": 0.01, "warmup": 2}


def launch(folder: Path, *words: str, **settings: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.training.run_small", str(folder), json.dumps(settings), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AGENTGYM_CACHE": str(folder.with_name("cache of two"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_make_the_losses_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTGYM_CACHE", str(tmp_path / "cache of one"))
    settings: dict[str, object] = {
        "iterations": 3,
        "groups": 4,
        "eval_episodes": 4,
        "tokens_per_microbatch": 200,
        "save_every": 2,
    }
    settings["warm_start"] = WARM_START
    launch(tmp_path / "two", **settings)
    assert json.loads((tmp_path / "two" / "outcome.json").read_text())["processes"] == 2
    config = small_config(tmp_path / "one", **settings)
    policy = small_policy(constrain="admissible", needs_warm_start=True)
    trainer = Trainer(make_corridor, policy, GiGPO(), config, expert=corridor_expert, display=False)
    trainer.train()
    # The warm start is the same to the last bit, so one cache serves any number of processes.
    started = {
        file.relative_to(tmp_path).parts[1:]: file.read_bytes() for file in _warm_starts(tmp_path / "cache of one")
    }
    assert started == {
        f.relative_to(tmp_path).parts[1:]: f.read_bytes() for f in _warm_starts(tmp_path / "cache of two")
    }
    assert len(started) == 1
    assert trainer.accelerator.num_processes == 1
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [set(row) for row in one] == [set(row) for row in two]
    for a, b in zip(one, two, strict=True):
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=2e-3, abs=2e-5), (a["iteration"], name)
    assert any(row.get("grad_norm", 0) > 0 for row in one)
    for name, tensor in weights(tmp_path / "one", 3).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two", 3)[name], rtol=1e-3, atol=1e-4)
    # The run of two goes on as two.
    launch(tmp_path / "two", "resume", **{**settings, "iterations": 4})
    assert [row["iteration"] for row in metrics(tmp_path / "two") if "loss" in row] == [1, 2, 3, 4]


def _warm_starts(cache: Path) -> list[Path]:
    return sorted(cache.rglob("model.safetensors"))


def test_groups_must_be_shared_out_evenly() -> None:
    from agentgym.rollouts import GroupCollector

    with pytest.raises(ConfigError, match="multiple of the number of processes"):
        GroupCollector(make_corridor, small_policy(), groups=3, group_size=2, world_size=2)
