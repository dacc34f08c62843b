"""Measures WebShop-v0 on the actions of the recorded sessions: steps a second by kind and by player, and memory.

Needs the development data (AGENTGYM_DATA). Prints a table and writes benchmarks/results/webshop_engine.json. Run:

    python benchmarks/webshop_engine.py

Steps a second come from CPU seconds of this process, so that a busy machine disturbs them less; microseconds are
medians of single steps on the wall clock. Environments go through gym.make with its usual wrappers and hold texts,
admissible actions, both hashes and the score. "First visit" meets a shop just opened, so that every search and every
page is made; "again" meets pages that are made already, as most steps of training do. The original's figures were taken
apart from these, on one core of a similar machine, and are repeated for comparison; its recorded sessions say what it
answered, not how long it took.
"""

from __future__ import annotations

import argparse
import gc
import json
import lzma
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
from rich.console import Console
from rich.table import Table

import agentgym
from agentgym.envs.webshop import sources
from agentgym.envs.webshop.generator import PRESETS
from agentgym.envs.webshop.goals import SPLIT_RULES, SPLITS
from agentgym.envs.webshop.indexing import build_index
from agentgym.errors import ConfigError

RESULT = Path(__file__).parent / "results" / "webshop_engine.json"
ORIGINAL: dict[str, Any] = {
    "steps a second": 65.0,
    "reset, ms": 2.9,
    "search, ms": 22.0,
    "click, ms": 14.0,
    "MB": [470, 730],
}
"""The original on 1,000 products: one core, text mode, Lucene through a JVM; memory of one process. A measurement apart
from this one."""

FILES = ("items_shuffle_1000.json", "items_ins_v2_1000.json", "items_human_ins_1k.json", "title_nouns_1k_spacy3.8.json")
Session = dict[str, Any]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds that ``work`` takes, and what it returns."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def recorded(data: Path) -> list[Session]:
    """Return the recorded sessions with the split that holds their goal."""
    with lzma.open(data / "golden" / "webshop_sessions.jsonl.xz", "rt", encoding="utf-8") as lines:
        sessions = [json.loads(line) for line in lines]
    for session in sessions:
        number = session["goal_index"]
        session["split"] = "test" if number < 500 else "validation" if number < 1500 else "train"
        session["task"] = f"small/{session['split']}-original/{number}"
    return sessions


def kind_of(action: str) -> str:
    """Return what an action is."""
    return "buy" if action == "click[buy now]" else action.partition("[")[0]


def open_envs(data: Path | str, **options: Any) -> dict[str, gym.Env[str, str]]:
    """Return an environment for each split."""
    splits = ("train", "validation", "test")
    return {
        name: gym.make("WebShop-v0", split=name, split_rule="original", data=str(data), **options) for name in splits
    }


def forget() -> None:
    """Drop every shop of this process, so that the next environment opens it afresh."""
    for cached in (sources._shop, sources._catalogue, sources._real_goals, sources._all_goals):
        cached.cache_clear()


def play(envs: dict[str, gym.Env[str, str]], sessions: list[Session]) -> dict[str, list[float]]:
    """Play every session; return the seconds of each reset and step on the wall clock, which is cheap to read."""
    spent: dict[str, list[float]] = defaultdict(list)
    clock = time.perf_counter
    for session in sessions:
        env, options = envs[session["split"]], {"task": session["task"]}
        started = clock()
        env.reset(options=options)
        spent["reset"].append(clock() - started)
        for step in session["steps"]:
            action = step["action"]
            started = clock()
            env.step(action)
            spent[kind_of(action)].append(clock() - started)
    return spent


def start(envs: dict[str, gym.Env[str, str]], sessions: list[Session]) -> None:
    """Reset to every session."""
    for session in sessions:
        envs[session["split"]].reset(options={"task": session["task"]})


def cost(envs: dict[str, gym.Env[str, str]], sessions: list[Session]) -> float:
    """Return the CPU seconds of a step of these sessions, resets taken off."""
    whole, _ = timed(lambda: play(envs, sessions))
    resets, _ = timed(lambda: start(envs, sessions))
    return (whole - resets) / sum(len(session["steps"]) for session in sessions)


def opened(data: Path) -> tuple[float, dict[str, gym.Env[str, str]]]:
    """Open a shop afresh, its index of words included; return the CPU seconds and the environments."""
    forget()

    def work() -> dict[str, gym.Env[str, str]]:
        envs = open_envs(data)
        envs["test"].reset(seed=0)
        envs["test"].step("search[a]")  # the index of words is made at the first search
        return envs

    return timed(work)


def measure_speed(data: Path, sessions: list[Session], repeats: int) -> dict[str, Any]:
    """Return seconds and steps a second: the least of some repeats, or the median of single steps."""
    groups = {"every step": sessions}
    groups |= {mode: [session for session in sessions if session["mode"] == mode] for mode in ("oracle", "random")}
    rates: dict[str, dict[str, float]] = {}
    opening = []
    for name, group in groups.items():
        first, again = [], []
        for _ in range(repeats):
            took, envs = opened(data)
            opening.append(took)
            first.append(cost(envs, group))
            again.append(cost(envs, group))
        rates[name] = {"first visit": 1 / min(first), "again": 1 / min(again)}
    _, envs = opened(data)
    visits = {"first visit": play(envs, sessions), "again": play(envs, sessions)}
    env = envs["test"]
    env.reset(seed=0)
    saved, snap = timed(lambda: [agentgym.snapshot(env) for _ in range(1000)][-1])
    restored, _ = timed(lambda: [agentgym.restore(env, snap) for _ in range(1000)])  # type: ignore[func-returns-value]
    return {
        "open three splits of the small catalogue, s": min(opening),
        "steps a second": rates,
        "microseconds, median": {
            kind: {visit: 1e6 * statistics.median(found[kind]) for visit, found in visits.items()}
            for kind in ("reset", "search", "click", "buy")
        },
        "snapshot, microseconds": 1e3 * saved,
        "restore, microseconds": 1e3 * restored,
    }


# Memory ---------------------------------------------------------------------------------------------------------------


def memory() -> dict[str, float]:
    """Return this process's memory in MB: its share of pages that others use too (PSS), and what no file backs."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value, *_ = line.split()
        fields[name.rstrip(":")] = int(value) * 1024 / 1e6
    return {"RSS": fields["Rss"], "PSS": fields["Pss"], "without a file": fields["Anonymous"]}


def measure_environments(data: Path, sessions: list[Session], count: int) -> dict[str, float]:
    """Return what one more environment takes, as Python counts it, while it plays."""
    forget()
    test = [session for session in sessions if session["split"] == "test"]
    envs = open_envs(data)
    play(envs, test)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    more = [gym.make("WebShop-v0", split="test", split_rule="original", data=str(data)) for _ in range(count)]
    for number, env in enumerate(more):
        session = test[number % len(test)]
        env.reset(options={"task": session["task"]})
        for step in session["steps"][:-1]:
            env.step(step["action"])
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "one more environment, KB": (after - before) / count / 1e3,
        f"{count} environments, MB": (after - before) / 1e6,
    }


def work(place: str, sessions: list[Session], ready: Any, results: Any) -> None:
    """Play in a worker process, wait until all workers have played, and say how much memory it takes."""
    before = memory()
    envs = open_envs(place)
    play(envs, sessions)
    gc.collect()
    ready.wait()
    results.put((before, memory()))
    ready.wait()


def measure_workers(place: Path, sessions: list[Session], workers: int) -> dict[str, Any]:
    """Return the memory of each of some fresh processes that play on the same catalogue."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=work, args=(str(place), sessions, ready, results)) for _ in range(workers)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    names = ("RSS", "PSS", "without a file")
    return {
        "imports alone, MB": {name: statistics.mean(before[name] for before, _ in found) for name in names},
        "playing, MB": {name: statistics.mean(after[name] for _, after in found) for name in names},
    }


def beside(data: Path, folder: Path) -> Path:
    """Index the small catalogue in ``folder``; return the index."""
    for name in FILES:
        (folder / name).symlink_to(data / "webshop" / name)
    return build_index(folder)


# Splits ---------------------------------------------------------------------------------------------------------------


def measure_splits(data: Path) -> dict[str, Any]:
    """Return how many goals each rule puts into each split, and what training and test share."""
    place = sources.find_data(data)

    def goals(split: str, **options: Any) -> list[Any]:
        found = sources.open_goals(place, split, **options)
        return [found.load(task) for task in found.tasks or ()]

    record: dict[str, Any] = {}
    for rule in SPLIT_RULES:
        found = {split: goals(split, split_rule=rule) for split in SPLITS}
        trained = {goal.asin for goal in found["train"]}
        record[rule] = {
            "goals": {split: len(each) for split, each in found.items()},
            "products": {split: len({goal.asin for goal in each}) for split, each in found.items()},
            "share of test goals whose product is asked for in training": statistics.mean(
                goal.asin in trained for goal in found["test"]
            ),
        }
    test = {(goal.asin, goal.options) for goal in goals("test", split_rule="verl_agent")}
    seen: set[Any] = set()
    shares = {}
    for worker in range(1, 4):
        seen |= {(goal.asin, goal.options) for goal in goals("train", split_rule="verl_agent", worker_seed=worker)}
        shares[f"{worker} other workers"] = len(test & seen) / len(test)
    record["verl_agent"]["share of a worker's test goals that other workers train on"] = shares
    return record


# Experts --------------------------------------------------------------------------------------------------------------


def measure_experts(data: Path, goals: int) -> dict[str, Any]:
    """Return how often the two experts get all that was asked, and their mean score, on held-out goals."""
    shops: dict[str, dict[str, Any]] = {
        f"built-in, {name}": {"data": "builtin", "difficulty": name} for name in PRESETS
    }
    shops["small catalogue, synthetic goals"] = {"data": str(data)}
    record: dict[str, Any] = {}
    for name, options in shops.items():
        env = gym.make("WebShop-v0", split="test", **options)
        expert = env.unwrapped.expert_action  # type: ignore[attr-defined]
        record[name] = {}
        for reads in (True, False):
            ends = []
            for seed in range(goals):
                env.reset(seed=seed)
                over = False
                while not over:
                    _, _, terminated, truncated, info = env.step(expert(searching=reads))
                    over = terminated or truncated
                ends.append(info)
            record[name]["reads pages" if reads else "knows the product"] = {
                "success": statistics.mean(info["won"] for info in ends),
                "score": statistics.mean(info["score"] for info in ends),
            }
    return {"goals": goals, **record}


# Report ---------------------------------------------------------------------------------------------------------------


def report(record: dict[str, Any]) -> None:
    """Print the record as a table."""
    ours = record["ours"]
    table = Table("what", "original, elsewhere", "first visit", "again", title="WebShop, the actions of 400 sessions")
    for name, row in ours["steps a second"].items():
        base = f"{ORIGINAL['steps a second']:,.0f}" if name == "every step" else ""
        table.add_row(f"steps a second, {name}", base, f"{row['first visit']:,.0f}", f"{row['again']:,.0f}")
    table.add_row("times the original", "1", *(f"{value:,.0f}" for value in record["ratio"].values()))
    for name, row in ours["microseconds, median"].items():
        base = f"{1e3 * ORIGINAL[f'{name}, ms']:,.0f} µs" if f"{name}, ms" in ORIGINAL else ""
        table.add_row(name, base, f"{row['first visit']:,.1f} µs", f"{row['again']:,.1f} µs")
    table.add_row("snapshot", "cannot", "", f"{ours['snapshot, microseconds']:,.1f} µs")
    table.add_row("restore", "cannot", "", f"{ours['restore, microseconds']:,.1f} µs")
    for name, value in record["environments"].items():
        table.add_row(name, "", "", f"{value:,.1f}")
    for name, rows in record["two workers"].items():
        shown = ", ".join(f"{key} {value:,.0f}" for key, value in rows["playing, MB"].items())
        table.add_row(f"each of two workers, {name}", "470-730 MB", "", shown)
    for name, row in record["experts"].items():
        if name != "goals":
            shown = ", ".join(f"{expert} {each['success']:.0%} ({each['score']:.2f})" for expert, each in row.items())
            table.add_row(f"success (score) of experts, {name}", "", "", shown)
    Console().print(table)


def main() -> None:
    """Measure speed and memory."""
    parser = argparse.ArgumentParser(description="Measure WebShop-v0 on recorded sessions.")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    data = Path(os.environ.get("AGENTGYM_DATA", ""))
    if not (data / "golden" / "webshop_sessions.jsonl.xz").is_file():
        raise ConfigError("this benchmark needs the recorded sessions: set AGENTGYM_DATA")
    sessions = recorded(data)
    ours = measure_speed(data, sessions, arguments.repeats)
    speed = ours["steps a second"]["every step"]
    record: dict[str, Any] = {
        "sessions": len(sessions),
        "steps": sum(len(session["steps"]) for session in sessions),
        "original, measured apart": ORIGINAL,
        "ours": ours,
        "ratio": {name: speed[name] / ORIGINAL["steps a second"] for name in speed},
        "environments": measure_environments(data, sessions, 100),
        "splits": measure_splits(data),
        "experts": measure_experts(data, 500),
    }
    with tempfile.TemporaryDirectory() as folder:
        places = {"catalogue in memory": data, "catalogue mapped": beside(data, Path(folder))}
        record["two workers"] = {name: measure_workers(place, sessions, 2) for name, place in places.items()}
    record["machine"] = {"cores": os.cpu_count(), "load average": round(os.getloadavg()[0], 1)}
    record["versions"] = {"python": platform.python_version(), **{n: version(n) for n in ("numpy", "gymnasium")}}
    report(record)
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
