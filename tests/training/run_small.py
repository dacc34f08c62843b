"""Trains the small policy as a program: ``python -m tests.training.run_small FOLDER SETTINGS_AS_JSON [resume]``.

Beside the settings of a run the JSON may name an algorithm, ``algo``, and let the policy say what it likes, ``free``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agentgym.algos import get_algorithm
from agentgym.training import Trainer
from tests.training.small import corridor_expert, make_corridor, make_graded, small_config, small_policy


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    algorithm = get_algorithm(settings.pop("algo", "gigpo"))
    free = settings.pop("free", False)
    config = small_config(folder, **settings)
    policy = small_policy(constrain="none" if free else "admissible", needs_warm_start="warm_start" in settings)
    trainer = Trainer(make_graded if free else make_corridor, policy, algorithm, config, expert=corridor_expert)
    result = trainer.train(resume_from_checkpoint=folder if "resume" in sys.argv else None)
    if trainer.accelerator.is_main_process:
        outcome = {"stopped": result.stopped, "processes": trainer.accelerator.num_processes}
        (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
