"""ALFWorld-v0 through gym.make: contracts, seeds, tasks, snapshots, vectors, the original engine."""

from __future__ import annotations

import functools
import os
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import agentgym
from agentgym.envs.alfworld import env as alfworld
from agentgym.errors import ConfigError, EnvironmentFault, MissingExtraError, SnapshotError, TaskNotFoundError
from agentgym.identity import text_hash
from agentgym.testing import check_text_env

Env = gym.Env[str, str]


def make(**options: Any) -> Env:
    return gym.make("ALFWorld-v0", **{"data": "builtin", **options})


def walk(env: Env, seed: int, steps: int = 30) -> list[Any]:
    rng = random.Random(seed)
    observation, info = env.reset(seed=seed)
    seen: list[Any] = [(observation, info)]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(rng.choice(info["admissible"]))
        seen.append((observation, reward, terminated, truncated, info))
        if terminated or truncated:
            break
    return seen


@pytest.mark.parametrize("split", ["train", "valid_seen", "valid_unseen", "valid_train"])
def test_keeps_the_contract(split: str) -> None:
    check_text_env(functools.partial(make, split=split))


def test_keeps_the_contract_on_real_games(agentgym_data: Path) -> None:
    check_text_env(functools.partial(make, split="valid_seen", data=str(agentgym_data)))


def test_info_and_reward() -> None:
    env = make(split="valid_seen", difficulty="easy")
    observation, info = env.reset(seed=3)
    assert info["task_id"].startswith("builtin/valid_seen/easy/")
    assert info["goal"] in observation
    assert observation.endswith("Your task is to: " + info["goal"])
    assert info["obs_hash"] == text_hash(observation)
    assert (info["valid"], info["won"], info["score"]) == (True, False, 0.0)
    observation, reward, terminated, _, info = env.step("dance")
    assert (observation, reward, terminated, info["valid"]) == ("Nothing happens.", 0.0, False, False)
    game = env.unwrapped.game  # type: ignore[attr-defined]
    for command in game.walkthrough:
        _, reward, terminated, truncated, info = env.step(command)
    assert (reward, terminated, truncated, info["won"], info["score"]) == (1.0, True, False, True, 1.0)
    with pytest.raises(EnvironmentFault, match="call reset"):
        env.unwrapped.step("look")


@pytest.mark.parametrize("action", [None, 3, b"look", ["look"], np.str_])
def test_non_strings_are_type_errors(action: Any) -> None:
    env = make().unwrapped
    env.reset(seed=0)
    with pytest.raises(TypeError, match="must be a string"):
        env.step(action)


def test_equal_seeds_give_equal_play() -> None:
    assert walk(make(), 5) == walk(make(), 5)
    assert len({walk(make(), seed, 0)[0][1]["task_id"] for seed in range(6)}) == 6


def test_seeds_decide_real_games_too(agentgym_data: Path) -> None:
    options = {"data": str(agentgym_data), "split": "valid_seen"}
    assert walk(make(**options), 5) == walk(make(**options), 5)
    env = make(**options)
    assert len({env.reset(seed=seed)[1]["task_id"] for seed in range(20)}) > 15
    types = {env.reset()[1]["task_type"] for _ in range(60)}
    assert len(types) == 6


def test_tasks_by_name(agentgym_data: Path) -> None:
    env = make(data=str(agentgym_data), split="valid_seen")
    tasks = env.unwrapped.tasks  # type: ignore[attr-defined]
    assert len(tasks) == 140
    assert env.reset(options={"task": tasks[7]})[1]["task_id"] == tasks[7]
    with pytest.raises(TaskNotFoundError, match=f"Did you mean '{tasks[7]}'"):
        env.reset(options={"task": tasks[7][:-1]})
    assert make().unwrapped.tasks is None  # type: ignore[attr-defined]


def test_running_out_of_steps_is_truncation() -> None:
    env = make()
    env.reset(seed=0)
    ends = [env.step("look")[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def test_snapshots_through_the_wrapper_stack() -> None:
    env = gym.wrappers.RecordEpisodeStatistics(make())
    walk(env, 1, 10)
    snap = agentgym.snapshot(env)
    frozen = pickle.dumps(snap)

    def rest() -> list[Any]:
        rng = random.Random(0)
        admissible = env.step("look")[4]["admissible"]
        seen = []
        while True:
            observation, _, terminated, truncated, info = env.step(rng.choice(admissible))
            admissible = info["admissible"]
            seen.append((observation, info["state_hash"], terminated, truncated))
            if terminated or truncated:
                return [*seen, env.reset()[0]]

    first = rest()
    for state in (snap, pickle.loads(frozen)):
        agentgym.restore(env, state)
        assert rest() == first
    other = gym.wrappers.RecordEpisodeStatistics(make(split="valid_seen"))
    other.reset(seed=99)
    agentgym.restore(other, pickle.loads(frozen))
    mine, theirs = _restored(env, snap), other.unwrapped
    assert isinstance(theirs, alfworld.ALFWorldEnv)
    assert (theirs.state_text(), theirs.game) == (mine.state_text(), mine.game)


def test_there_is_no_state_before_the_first_reset() -> None:
    with pytest.raises(EnvironmentFault, match="before the first reset"):
        make().unwrapped.state_text()  # type: ignore[attr-defined]


def _restored(env: Env, snap: agentgym.Snapshot) -> Any:
    agentgym.restore(env, snap)
    return env.unwrapped


def test_copies_share_the_world() -> None:
    one, other = make().unwrapped, make().unwrapped
    for env in (one, other):
        env.reset(seed=4)
    assert one._play.world is other._play.world  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors(mode: str) -> None:
    envs = gym.make_vec("ALFWorld-v0", num_envs=2, vectorization_mode=mode, data="builtin")
    try:
        observations, infos = envs.reset(seed=[1, 2])
        single = [make().reset(seed=seed) for seed in (1, 2)]
        assert list(observations) == [observation for observation, _ in single]
        assert list(infos["task_id"]) == [info["task_id"] for _, info in single]
        for _ in range(60):
            observations, rewards, *_ = envs.step(["look", "inventory"])
        assert rewards.shape == (2,)
        assert len(observations) == 2
    finally:
        envs.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tw"}, "unknown backend 'tw'"),
        ({"backend": "textworld"}, "plays real games only"),
        ({"split": "test"}, "unknown split 'test'"),
        ({"data": "/no/such/folder"}, "does not exist"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_a_missing_original_engine_names_the_command(agentgym_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'agentgym-sdk\[alfworld\]'"):
        make(data=str(agentgym_data), split="valid_seen", backend="textworld")


@pytest.mark.textworld
@pytest.mark.filterwarnings("ignore")
def test_the_original_engine_behind_the_same_interface(agentgym_data: Path) -> None:
    pytest.importorskip("textworld")
    pytest.importorskip("alfworld")
    arguments, folder = list(sys.argv), os.environ.get("ALFWORLD_DATA")
    options = {"data": str(agentgym_data), "split": "valid_seen"}
    ours, theirs = make(**options), make(**options, backend="textworld")
    assert isinstance(theirs.unwrapped, alfworld.ALFWorldEnv)
    task = theirs.unwrapped.tasks[0]  # type: ignore[index]
    left, right = (env.reset(seed=0, options={"task": task}) for env in (ours, theirs))
    for command in ("", "xyzzy", "look", *ours.unwrapped.game.walkthrough):  # type: ignore[attr-defined]
        assert left[0] == right[0]
        for key in set(left[-1]) - {"state_hash"}:
            assert left[-1][key] == right[-1][key]
        left, right = (env.step(command) for env in (ours, theirs))
    assert left[1:4] == right[1:4] == (1.0, True, False)
    assert (sys.argv, os.environ.get("ALFWORLD_DATA")) == (arguments, folder)
    with pytest.raises(SnapshotError, match="ReplaySnapshot"):
        agentgym.snapshot(theirs)
