"""What a batch costs whose episodes fork, and how full the policy's batches are while it is played.

Usage: ``python benchmarks/branching_cost.py``. Prints a table and writes ``results/branching_cost.json`` beside it. The
tiny policy, after the warm start of ``examples/alfworld.yaml``, plays one iteration of the built-in ALFWorld games for
each method, 12 tasks of 8 paths (VinePPO: 2, for its forks), with the same seed. Counts do not depend on the machine;
no time is recorded.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

import agentgym
from agentgym.algos import get_algorithm
from agentgym.policies import HFPolicy, Turn
from agentgym.policies.base import Decision, Session
from agentgym.rollouts import build_collector
from agentgym.training import TrainConfig, Trainer

RESULT = Path(__file__).parent / "results" / "branching_cost.json"
GROUPS, SEED = 12, 0
METHODS = {
    "grpo": 8,
    "tree_grpo": 8,
    "tree_grpo:trees=4": 8,
    "entropy_arpo": 8,
    "entropy_arpo:rule=chance": 8,
    "aepo:rule=chance": 8,
    "vineppo:forks=4": 2,
    "vineppo:forks=4+every=5": 2,
}
COUNTS = ("fresh_paths", "forks", "env_steps", "generated_tokens", "restored_steps", "lost_branches")
ENV: dict[str, Any] = {"max_episode_steps": 20, "data": "builtin"}


def warm_policy() -> HFPolicy:
    """Return the tiny policy after its warm start, which is kept in the cache for the next time."""
    start: Any = {"steps": 900, "demonstrations": 6000, "noise": 0, "dawdle": 0.4}
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(iterations=0, eval_episodes=0, cpu=True, warm_start=start, output_dir=Path(folder) / "run")
        trainer = Trainer("ALFWorld-v0", "tiny", "grpo", config, env_kwargs=ENV)
        trainer.train()
    return trainer.policy


class Counted:
    """A policy that notes how many episodes each of its answers served."""

    def __init__(self, policy: HFPolicy) -> None:
        self._policy = policy
        self.name = policy.name
        self.context_kind = policy.context_kind
        self.sizes: list[int] = []

    def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
        """Open a session whose turns are counted."""
        session = self._policy.session(greedy=greedy, entropies=entropies)
        act = session.act

        def counted(turns: Sequence[Turn]) -> list[Decision]:
            self.sizes.append(len(turns))
            return act(turns)

        session.act = counted  # type: ignore[method-assign]
        return session


def measure(policy: HFPolicy, method: str, group_size: int) -> dict[str, Any]:
    """Return what one iteration of a method's collector cost."""
    counted = Counted(policy)
    make = partial(gym.make, "ALFWorld-v0", disable_env_checker=True, **ENV)
    spec = get_algorithm(method).collector()
    rollout = build_collector(spec, make, counted, groups=GROUPS, group_size=group_size, seed=SEED).collect(0)
    stats, rows = rollout.stats, len(rollout.batch())
    return {
        "method": method,
        "trained_paths": sum(map(len, rollout.groups)),
        "trained_rows": rows,
        **{name: int(stats.get(name, 0)) for name in COUNTS},
        "steps_for_each_trained_row": round(stats["env_steps"] / rows, 3),
        "policy_calls": len(counted.sizes),
        "mean_batch": round(sum(counted.sizes) / len(counted.sizes), 1),
        "largest_batch": max(counted.sizes),
    }


def main() -> None:
    """Measure, print and write."""
    policy = warm_policy()
    rows = []
    names = ("trained_rows", "forks", "env_steps", "generated_tokens", "policy_calls", "mean_batch", "largest_batch")
    print(f"{'method':28}" + "".join(f"{name:>17}" for name in names))
    for method, group_size in METHODS.items():
        found = measure(policy, method, group_size)
        rows.append(found)
        print(f"{method:28}" + "".join(f"{found[name]:>17}" for name in names))
    record = {
        "what": f"one iteration of {GROUPS} tasks each; counts take a shared decision once, and forks that are not "
        "trained on; mean_batch is of episodes that the policy answers at once",
        "seed": SEED,
        "python": platform.python_version(),
        "agentgym": agentgym.__version__,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
