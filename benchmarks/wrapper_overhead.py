"""What a step costs under each wrapper, above the bare environment, measured in one run.

Usage: ``python benchmarks/wrapper_overhead.py``. Prints a table and writes ``results/wrapper_overhead.json`` beside it.
The bare environment and every wrapper are timed in turn, round after round, in processor time, so that a busy machine
disturbs all of them alike and little; each figure is the best of its rounds.
Targets: below 20 µs a step for a wrapper, below 50 µs for the recorder.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym

import agentgym
from agentgym.identity import text_hash
from agentgym.text_env import Status, TextEnv
from agentgym.wrappers import (
    ActionTags,
    GroupRecorder,
    History,
    InvalidActionPenalty,
    ReplaySnapshot,
    ScaleReward,
    StateHash,
)

RESULT = Path(__file__).parent / "results" / "wrapper_overhead.json"
EPISODES, STEPS, ROUNDS = 20, 50, 15
RESPONSE = "<think>The shelf may hold it.</think><action>go to shelf 1</action>"
TARGET_US = {"GroupRecorder": 50.0, "GroupRecorder, with token data": 50.0}
Env = gym.Env[str, str]


class Room(TextEnv):
    """A world of ordinary text sizes: observations of about 150 characters and 20 admissible commands."""

    def _begin(self, task: str | None) -> str:
        self.task_id, self.task_type, self.goal = "bench/1", "bench", "put a mug on the shelf"
        self._step = 0
        return self._look()

    def _look(self) -> str:
        return (
            f"You arrive at shelf {self._step % 8}. On it you see " + ", ".join(f"a mug {i}" for i in range(15)) + "."
        )

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        self._step += 1
        return self._look(), 0.0, False, True

    def state_text(self) -> str:
        """Describe the state in full."""
        return str(self._step)

    def _status(self) -> Status:
        return Status(tuple(f"go to shelf {i}" for i in range(20)), False, 0.0, text_hash(self.state_text()))


def annotated(env: GroupRecorder, action: str) -> Any:
    """Step as a policy does, with the token data of a short response."""
    env.annotate(response=RESPONSE, prompt_ids=range(40), response_ids=range(16), logprobs=[-0.5] * 16)
    return env.step(action)


CASES: dict[str, Callable[[Env], Env]] = {
    "bare": lambda env: env,
    "StateHash": StateHash,
    "StateHash, whitespace and state": lambda env: StateHash(env, obs="whitespace", state="auto"),
    "ActionTags": ActionTags,
    "InvalidActionPenalty": lambda env: InvalidActionPenalty(env, on="admissible"),
    "ScaleReward": lambda env: ScaleReward(env, 10.0),
    "History": lambda env: History(env, k=2),
    "ReplaySnapshot": ReplaySnapshot,
    "GroupRecorder": lambda env: GroupRecorder(env, group_size=8, context="window"),
    "GroupRecorder, with token data": lambda env: GroupRecorder(env, group_size=8, context="window"),
}


def microseconds_a_step(env: Env, tokens: bool) -> float:
    """Return the mean time of a step; resets are not counted."""
    total = 0.0
    for episode in range(EPISODES):
        env.reset(seed=episode)
        start = time.process_time()
        if tokens and isinstance(env, GroupRecorder):
            for _ in range(STEPS):
                annotated(env, RESPONSE)
        else:
            for _ in range(STEPS):
                env.step(RESPONSE)
        total += time.process_time() - start
    return total / (EPISODES * STEPS) * 1e6


def main() -> None:
    """Measure, print and write."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, wrap in CASES.items():
            times[name].append(microseconds_a_step(wrap(Room()), tokens="token" in name))
    rows = []
    print(f"{'wrapper':34} {'µs a step':>10} {'above bare':>11} {'ratio':>7} {'target':>7}")
    for name, values in times.items():
        target = None if name == "bare" else TARGET_US.get(name, 20.0)
        step, bare = min(values), min(times["bare"])
        rows.append(
            {"wrapper": name, "us": step, "us_above_bare": step - bare, "ratio": step / bare, "target_us": target}
        )
        print(f"{name:34} {step:10.2f} {step - bare:11.2f} {step / bare:7.2f} {'' if target is None else target:>7}")
    record = {
        "what": "microseconds of processor time a step, best of the rounds",
        "episodes": EPISODES,
        "steps": STEPS,
        "rounds": ROUNDS,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {"agentgym": agentgym.__version__, "gymnasium": gym.__version__},
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
