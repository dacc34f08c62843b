"""What saving and restoring an environment costs: by itself, by a deep copy, and by replaying what was done.

Usage: ``python benchmarks/snapshot_cost.py``. Prints a table and writes ``results/snapshot_cost.json`` beside it. For
each registered environment, and the real ALFWorld games if ``AGENTGYM_DATA`` names them, a few episodes are played to
each depth; there the ways are timed in turn, round after round, and figures are medians over all rounds and episodes.
The unit is one step of the same environment at the same depth, timed in the same rounds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

import agentgym
from agentgym.registration import ENVIRONMENTS
from agentgym.wrappers import CopySnapshot, ReplaySnapshot

RESULT = Path(__file__).parent / "results" / "snapshot_cost.json"
DEPTHS = (1, 10, 20)
EPISODES, ROUNDS = 8, 25
Env = gym.Env[str, str]

# What never changes in a world, whatever is played; by the module of its class.
CONSTANT = {
    "agentgym.envs.alfworld": ["_games"],
    "agentgym.envs.finite": ["mdp", "_hashes", "_admissible"],
    "agentgym.envs.guessing": ["_game", "_tasks", "_admissible"],
}


def constants(env: Env) -> list[str]:
    """Return the attributes of a world that need not be copied."""
    module = type(env.unwrapped).__module__
    return next((names for folder, names in CONSTANT.items() if module.startswith(folder)), [])


WAYS: dict[str, Callable[[Env], Env]] = {
    "native": lambda env: env,
    "copy": CopySnapshot,
    "copy, constants kept": lambda env: CopySnapshot(env, constant=constants(env)),
    "replay": ReplaySnapshot,
}


def worlds() -> Iterator[tuple[str, Callable[[], Env]]]:
    """Yield each environment's name and what makes it; no step limit comes before the largest depth."""
    longer = max(DEPTHS) + 2
    for name in ENVIRONMENTS:
        if not issubclass(load_env_creator(str(gym.spec(name).entry_point)), agentgym.TextEnv):  # type: ignore[arg-type]
            continue
        data = {"data": "builtin"} if name in ("ALFWorld-v0", "WebShop-v0") else {}
        yield name, partial(gym.make, name, max_episode_steps=longer, disable_env_checker=True, **data)
    if os.environ.get("AGENTGYM_DATA"):
        real = partial(gym.make, "ALFWorld-v0", max_episode_steps=longer, disable_env_checker=True)
        yield "ALFWorld-v0, real games", real


def script(make: Callable[[], Env], seed: int, depth: int) -> tuple[int, list[str]]:
    """Return a seed and actions, one more than ``depth``, after which the episode still goes on."""
    rng = np.random.default_rng(seed)
    probe = make()
    for attempt in range(seed, 10_000 * EPISODES, EPISODES):
        _, info = probe.reset(seed=attempt)
        actions: list[str] = []
        while len(actions) <= depth:
            listed = info["admissible"] or ("look",)
            actions.append(listed[int(rng.integers(len(listed)))])
            *_, terminated, truncated, info = probe.step(actions[-1])
            if terminated or truncated:
                break
        else:
            return attempt, actions
    raise LookupError(f"no episode of {probe} lasts {depth} steps")


def timed(do: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``do`` returns, and the microseconds it took."""
    began = time.perf_counter_ns()
    result = do()
    return result, (time.perf_counter_ns() - began) / 1e3


def measure(make: Callable[[], Env], depth: int) -> dict[str, Any]:
    """Return the median microseconds of a step, and of saving and restoring each way, at one depth."""
    times: dict[str, list[float]] = {"step": []}
    times |= {f"{what} {way}": [] for way in WAYS for what in ("save", "restore")}
    for episode in range(EPISODES):
        seed, actions = script(make, episode, depth)
        envs = {way: wrap(make()) for way, wrap in WAYS.items()}
        expected: Any = None
        for env in envs.values():
            env.reset(seed=seed)
            for action in actions[:-1]:
                env.step(action)
        for _ in range(ROUNDS):
            for way, env in envs.items():
                snap, save = timed(partial(agentgym.snapshot, env))
                answer, step = timed(partial(env.step, actions[-1]))
                _, restore = timed(partial(agentgym.restore, env, snap))
                times[f"save {way}"].append(save)
                times[f"restore {way}"].append(restore)
                if way == "native":
                    times["step"].append(step)
                    expected = answer
                assert answer[:4] == expected[:4], "every way goes on from the same moment"
    return {name: statistics.median(values) for name, values in times.items()}


def row(name: str, depth: int, median: dict[str, float]) -> dict[str, Any]:
    """Return one line of the table, with ratios to a step and to the native snapshot."""
    step = median["step"]
    found: dict[str, Any] = {"environment": name, "depth": depth, "step_us": round(step, 2)}
    for way in WAYS:
        save, restore = median[f"save {way}"], median[f"restore {way}"]
        native = median["save native"] + median["restore native"]
        found[way] = {
            "save_us": round(save, 2),
            "restore_us": round(restore, 2),
            "save_steps": round(save / step, 2),
            "restore_steps": round(restore / step, 2),
            "against_native": round((save + restore) / native, 1),
        }
    return found


def main() -> None:
    """Measure, print and write."""
    rows = []
    print("in steps of the same environment: save + restore\n")
    print(f"{'environment':24} {'depth':>5} {'step, µs':>9}" + "".join(f"{way:>22}" for way in WAYS))
    for name, make in worlds():
        for depth in DEPTHS:
            try:
                found = row(name, depth, measure(make, depth))
            except LookupError as error:
                print(error)
                continue
            rows.append(found)
            cells = "".join(f"{found[w]['save_steps']:>12.2f} + {found[w]['restore_steps']:>7.2f}" for w in WAYS)
            print(f"{name:24} {depth:5} {found['step_us']:9.1f}{cells}")
    record = {
        "what": "medians of microseconds; *_steps in steps of the same environment at that depth; against_native is "
        "save and restore together, over the native two",
        "episodes": EPISODES,
        "rounds": ROUNDS,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {"agentgym": agentgym.__version__, "gymnasium": gym.__version__, "numpy": np.__version__},
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
