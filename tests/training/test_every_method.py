"""Every method trains by its name: its collector plays, its learners bring what it reads, its loss is finite."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest

from agentgym import training
from agentgym.algos import ALGORITHMS, get_algorithm
from agentgym.training import Trainer
from agentgym.training.callbacks import Callback
from tests.training.small import make_corridor, small_config, small_policy

# Few and small steps of critics that train by themselves: here it counts that they can.
CRITICS = {"steps": 2, "minibatch": 8}
SETTINGS = {"archer": CRITICS, "archer_offline": CRITICS}


class Metrics(Callback):
    """Keeps the metrics of the iterations."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_iteration(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        self.seen.append(metrics)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_iteration(tmp_path: Path, name: str) -> None:
    metrics = Metrics()
    config = small_config(tmp_path / "run", iterations=1, save_every=0, group_size=4)  # 4: two trees of two paths
    policy = small_policy(constrain="admissible")
    algorithm = get_algorithm(name, **SETTINGS.get(name, {}))
    Trainer(make_corridor, policy, algorithm, config, callbacks=[metrics], display=False).train()
    (seen,) = metrics.seen
    assert math.isfinite(seen["loss"])
    assert math.isfinite(seen["grad_norm"])
    assert seen["updates"] == get_algorithm(name).collector().options.get("waves", 1)
    assert seen["skipped_updates"] == 0


def test_training_names_no_method() -> None:
    """Its code knows methods by what they declare; what the trainer takes for want of another is all that it names."""
    names = {*ALGORITHMS, *(entry.split(":")[1] for entry in ALGORITHMS.values())}
    found = []
    for path in sorted(Path(training.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = [getattr(node, field, None) for field in ("id", "attr", "name", "value")]
            found += [(path.name, name) for name in said if isinstance(name, str) and name in names]
    assert found == [("trainer.py", "gigpo")]
