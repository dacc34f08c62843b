"""Measures the native ALFWorld engine beside the original: the same games, the same commands, one run, one process.

Needs the real games (AGENTGYM_DATA or ALFWORLD_DATA) and the original engine: pip install 'agentgym-sdk[alfworld]'.
Prints a table and writes benchmarks/results/alfworld_engine.json. Run: python benchmarks/alfworld_engine.py

Times are CPU seconds of this process, so that a busy machine disturbs them less. Ours go through gym.make with its
usual wrappers, and hold texts, admissible commands, both hashes and the score; the original's hold texts, admissible
commands and won. "First visit" plays every game in a world compiled afresh; "again" meets texts and command sets
already made.
"""

import argparse
import gc
import json
import os
import platform
import random
import resource
import time
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import gymnasium as gym
from rich.console import Console
from rich.table import Table

import agentgym
from agentgym.envs.alfworld import sources
from agentgym.envs.alfworld.engine import Play
from agentgym.envs.alfworld.sources import RealGames, open_games, world_of
from agentgym.envs.alfworld.textworld_backend import OriginalEngine
from agentgym.errors import ConfigError

RESULT = Path(__file__).parent / "results" / "alfworld_engine.json"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds that ``work`` takes, and what it returns."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def random_commands(games: RealGames, task_id: str, steps: int) -> list[str]:
    """Return commands of a random walk that does not win."""
    rng = random.Random(task_id)
    play = Play(world_of(games, task_id))
    commands: list[str] = []
    while len(commands) < steps:
        before = play.save()
        command = rng.choice(play.admissible)
        play.act(command)
        if play.won:
            play.load(before)
        else:
            commands.append(command)
    return commands


def measure_original(games: RealGames, scripts: dict[str, list[str]]) -> dict[str, float]:
    """Return mean seconds of the original's load, reset and step."""
    engine = OriginalEngine(games)
    load, reset, step = [], [], []
    for task_id, commands in scripts.items():
        game = games.load(task_id)
        both, _ = timed(lambda game=game: engine.start(game))  # type: ignore[misc]
        again, play = timed(lambda game=game: engine.start(game))  # type: ignore[misc]
        load.append(both - again)
        reset.append(again)
        for command in commands:
            step.append(timed(lambda play=play, command=command: play.act(command))[0])  # type: ignore[misc]
    return {"load": mean(load), "reset": mean(reset), "load and reset": mean(load) + mean(reset), "step": mean(step)}


def play_all(env: gym.Env[str, str], scripts: dict[str, list[str]]) -> float:
    """Play every script; return the CPU seconds of the steps."""
    total = 0.0
    for task_id, commands in scripts.items():
        env.reset(options={"task": task_id})
        started = time.process_time()
        for command in commands:
            env.step(command)
        total += time.process_time() - started
    return total


def measure_ours(env: gym.Env[str, str], games: RealGames, scripts: dict[str, list[str]]) -> dict[str, float]:
    """Return mean seconds of our load, reset, step, snapshot and restore."""
    repeats, steps = 20, sum(map(len, scripts.values()))

    def load() -> None:
        world_of.cache_clear()
        for task_id in scripts:
            world_of(games, task_id)

    def reset() -> None:
        for task_id in scripts:
            env.reset(options={"task": task_id})

    parse = mean(timed(lambda: [games.load(task_id) for task_id in scripts])[0] for _ in range(repeats)) / len(scripts)
    loads = mean(timed(load)[0] for _ in range(repeats)) / len(scripts)
    resets = mean(timed(reset)[0] for _ in range(10 * repeats)) / len(scripts)
    first = []
    for _ in range(repeats):
        world_of.cache_clear()
        first.append(play_all(env, scripts))
    again = [play_all(env, scripts) for _ in range(repeats)]
    saved, snap = timed(lambda: [agentgym.snapshot(env) for _ in range(1000)][-1])
    restored = mean(timed(lambda: agentgym.restore(env, snap))[0] for _ in range(1000))
    play = env.unwrapped._play  # type: ignore[attr-defined]
    bare, state = timed(lambda: [play.save() for _ in range(1000)][-1])
    back, _ = timed(lambda: [play.load(state) for _ in range(1000)])
    return {
        "read and parse": parse,
        "load": loads,
        "reset": resets,
        "load and reset": loads + resets,
        "step": mean(first) / steps,
        "step again": mean(again) / steps,
        "snapshot of the wrapper stack": saved / 1000,
        "restore of the wrapper stack": restored,
        "snapshot of the world": bare / 1000,
        "restore of the world": back / 1000,
    }


def resident() -> float:
    """Return this process's memory in KiB: now where the system says so, otherwise its peak."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def measure_original_memory(games: RealGames) -> float:
    """Return the KiB that one more environment of the original takes, as the system counts them."""
    engines = []
    before = 0.0
    for number, task_id in enumerate(games.ids[:: len(games.ids) // 5][:5]):
        engine = OriginalEngine(games)
        engines.append((engine, engine.start(games.load(task_id))))
        if number == 0:
            # The first one pays for the imports.
            before = resident()
    return (resident() - before) / (len(engines) - 1)


def measure_memory(split: str, scripts: dict[str, list[str]]) -> tuple[float, float]:
    """Return the KiB of one more environment of ours, and of the static part of a game, as Python counts them."""
    task_id, commands = next(iter(scripts.items()))
    tracemalloc.start()
    world_of.cache_clear()
    env = gym.make("ALFWorld-v0", split=split)
    gc.collect()
    start = tracemalloc.get_traced_memory()[0]
    play_all(env, scripts)
    gc.collect()
    worlds = (tracemalloc.get_traced_memory()[0] - start) / len(scripts) / 1024
    before = tracemalloc.get_traced_memory()[0]
    envs = [gym.make("ALFWorld-v0", split=split) for _ in range(100)]
    for other in envs:
        play_all(other, {task_id: commands})
    gc.collect()
    ours = (tracemalloc.get_traced_memory()[0] - before) / len(envs) / 1024
    tracemalloc.stop()
    return ours, worlds


def report(record: dict[str, Any]) -> None:
    """Print the record as a table."""
    table = Table("what", "original", "agentgym", "ratio", title="ALFWorld engines, the same games and commands")
    for name, row in record["seconds"].items():
        absent = "cannot" if "snapshot" in name or "restore" in name else ""
        shown = [f"{1e3 * row[who]:,.4g} ms" if who in row else absent for who in ("original", "ours")]
        table.add_row(name, *shown, f"{row['ratio']:,.0f}" if "ratio" in row else "")
    for name, row in record["steps a second"].items():
        table.add_row(f"steps a second, {name}", f"{row['original']:,.0f}", f"{row['ours']:,.0f}")
    for name, row in record["KiB"].items():
        shown = [f"{row[who]:,.0f} KiB" if who in row else "" for who in ("original", "ours")]
        table.add_row(f"memory: {name}", *shown)
    Console().print(table)


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure both engines."""
    parser = argparse.ArgumentParser(description="Measure the native ALFWorld engine beside the original.")
    parser.add_argument("--split", default="valid_seen")
    parser.add_argument("--games", type=int, default=12)
    parser.add_argument("--steps", type=int, default=40, help="random commands a game, at most 49")
    arguments = parser.parse_args()
    sources._packed.cache_clear()
    index, games = timed(lambda: open_games(arguments.split))
    if not isinstance(games, RealGames):
        raise ConfigError("this benchmark needs the real games: set AGENTGYM_DATA or ALFWORLD_DATA")
    chosen = random.Random(0).sample(games.ids, arguments.games)
    original_memory = measure_original_memory(games)
    scripts = {task_id: random_commands(games, task_id, arguments.steps) for task_id in chosen}
    env = gym.make("ALFWorld-v0", split=arguments.split)
    ours = measure_ours(env, games, scripts)
    original = measure_original(games, scripts)
    seconds: dict[str, dict[str, float]] = {"index of the split, once a process": {"ours": index}}
    for name, value in ours.items():
        base = original.get("step" if name == "step again" else name)
        seconds[name] = {"ours": value} if base is None else {"original": base, "ours": value, "ratio": base / value}
    our_memory, world_memory = measure_memory(arguments.split, scripts)
    record = {
        "split": arguments.split,
        "games": arguments.games,
        "steps a game": arguments.steps,
        "seconds": seconds,
        "steps a second": {
            "first visit": {"original": 1 / original["step"], "ours": 1 / ours["step"]},
            "again": {"original": 1 / original["step"], "ours": 1 / ours["step again"]},
        },
        "KiB": {
            "one more environment": {"original": original_memory, "ours": our_memory},
            "static part of a game, shared": {"ours": world_memory},
        },
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load average": round(os.getloadavg()[0], 1)},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("alfworld", "textworld", "gymnasium")},
        },
    }
    report(record)
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
