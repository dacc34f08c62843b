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
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_resume import metrics, weights


def launch(folder: Path, *words: str, **settings: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.training.run_small", str(folder), json.dumps(settings), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_make_the_losses_of_one(tmp_path: Path) -> None:
    settings = {"iterations": 4, "groups": 4, "eval_episodes": 4, "tokens_per_microbatch": 200, "save_every": 2}
    launch(tmp_path / "two", **settings)
    assert json.loads((tmp_path / "two" / "outcome.json").read_text())["processes"] == 2
    config = small_config(tmp_path / "one", **settings)
    trainer = Trainer(make_corridor, small_policy(constrain="admissible"), GiGPO(), config, display=False)
    trainer.train()
    assert trainer.accelerator.num_processes == 1
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [set(row) for row in one] == [set(row) for row in two]
    for a, b in zip(one, two, strict=True):
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=2e-3, abs=2e-5), (a["iteration"], name)
    assert any(row.get("grad_norm", 0) > 0 for row in one)
    for name, tensor in weights(tmp_path / "one", 4).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two", 4)[name], rtol=1e-3, atol=1e-4)
    # The run of two goes on as two, from where the second iteration left it.
    launch(tmp_path / "two", "resume", **{**settings, "iterations": 5})
    assert [row["iteration"] for row in metrics(tmp_path / "two") if "loss" in row] == [1, 2, 3, 4, 5]


def test_groups_must_be_shared_out_evenly() -> None:
    from agentgym.rollouts import GroupCollector

    with pytest.raises(ConfigError, match="multiple of the number of processes"):
        GroupCollector(make_corridor, small_policy(), groups=3, group_size=2, world_size=2)
