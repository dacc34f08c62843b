"""The finite worlds keep the contract of text environments, and play the process that their arrays describe."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import agentgym
from agentgym.envs.finite import FiniteMDP, FiniteTextEnv, Outcome, Rules, build
from agentgym.envs.finite.worlds import AliasedCorridor, Chain, DistractorShop, KeyRoom, MiniHousehold
from agentgym.errors import ConfigError
from agentgym.testing import check_text_env

IDS = (
    "AliasedCorridor-v0",
    "Chain-v0",
    "DistractorShop-v0",
    "FourRooms-v0",
    "KeyRoom-v0",
    "LineKey-v0",
    "LongChain-v0",
    "MiniHousehold-v0",
)
SMALL: dict[str, dict[str, Any]] = {
    "AliasedCorridor-v0": {"length": 5, "slip": 0.2},
    "Chain-v0": {"length": 2, "slip": 0.0},
    "DistractorShop-v0": {"items": 2, "sparse": 0.0},
    "FourRooms-v0": {"size": 5, "slip": 0.0, "distractor": 0.125, "repeat": True},
    "KeyRoom-v0": {"rooms": 1, "jam": 0.0},
    "LineKey-v0": {"length": 4, "slip": 0.0, "decoy": True, "distractor": 0.125, "repeat": True},
    "LongChain-v0": {"ahead": 2, "behind": 2, "slip": 0.0, "distractor": 0.125, "distractor_at": 1, "repeat": True},
    "MiniHousehold-v0": {"fumble": 0.0},
}


def mdp_of(env: gym.Env[str, str]) -> FiniteMDP:
    world = env.unwrapped
    assert isinstance(world, FiniteTextEnv)
    return world.mdp


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_checks_it_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(name).unwrapped)


@pytest.mark.parametrize("name", IDS)
def test_text_environment_is_conformant(name: str) -> None:
    check_text_env(lambda: gym.make(name))
    check_text_env(lambda: gym.make(name, max_episode_steps=5, **SMALL[name]))


@pytest.mark.parametrize("name", IDS)
def test_arrays_are_a_process(name: str) -> None:
    mdp = mdp_of(gym.make(name))
    legal = mdp.legal[mdp.observation]
    assert np.allclose(mdp.probability.sum(-1), legal)
    assert np.array_equal(legal.any(1), ~mdp.terminal)
    assert ((mdp.reward >= 0) & (mdp.reward <= 1)).all()
    ends = mdp.terminal[mdp.successor] & (mdp.probability > 0)
    assert np.array_equal(mdp.reward[ends], mdp.score[mdp.successor[ends]]), "the reward of an end is its score"
    assert not mdp.reward[~ends].any()
    assert not mdp.terminal[mdp.start].any()
    assert len(set(mdp.states)) == len(mdp.states)
    assert mdp.aliased == (name == "AliasedCorridor-v0")
    assert np.allclose(mdp.uniform().sum(1), mdp.legal.any(1))


def test_some_worlds_are_stochastic_and_one_is_graded() -> None:
    random = [name for name in IDS if (mdp_of(gym.make(name)).probability % 1).any()]
    assert len(random) == 7
    scores = build(DistractorShop()).score
    assert len(np.unique(scores[scores > 0])) == 8
    assert build(DistractorShop()).won.sum() == 2


@pytest.mark.parametrize("name", IDS)
def test_environment_plays_the_arrays(name: str) -> None:
    """Each answer is the outcome that the generator's next number picks, with its text, reward, end and hash."""
    env = gym.make(name)
    world, mdp = env.unwrapped, mdp_of(env)
    rng = np.random.default_rng(1)
    for seed in range(10):
        text, info = env.reset(seed=seed)
        twin = np.random.Generator(np.random.PCG64(seed))
        twin.integers(len(mdp.tasks))
        s = int(mdp.start[mdp.tasks.index(info["task_id"])])
        over = False
        while not over:
            assert text == mdp.texts[mdp.observation[s]]
            assert info["admissible"] == tuple(np.array(mdp.actions)[mdp.legal[mdp.observation[s]]])
            a = int(rng.choice(np.flatnonzero(mdp.legal[mdp.observation[s]])))
            k = int(np.searchsorted(np.cumsum(mdp.probability[s, a]), twin.random(), side="right"))
            text, reward, terminated, truncated, info = env.step(mdp.actions[a])
            assert reward == mdp.reward[s, a, k]
            s = int(mdp.successor[s, a, k])
            assert (terminated, info["score"], info["won"]) == (mdp.terminal[s], mdp.score[s], mdp.won[s])
            assert isinstance(world, agentgym.TextEnv)
            assert world.state_text() == mdp.states[s]
            over = terminated or truncated


def test_what_is_not_legal_is_refused_and_changes_nothing() -> None:
    env = gym.make("KeyRoom-v0")
    _, before = env.reset(seed=0, options={"task": "builtin/key-room/2"})
    text, reward, terminated, _, info = env.step("take key")
    assert (text, reward, terminated, info["valid"]) == ("Nothing happens.", 0.0, False, False)
    assert info["state_hash"] == before["state_hash"]


def test_look_alike_places_differ_in_state_alone() -> None:
    env = gym.make("AliasedCorridor-v0")
    _, first = env.reset(seed=0)
    _, _, _, _, second = env.step("left")
    assert first["obs_hash"] == second["obs_hash"]
    assert first["state_hash"] != second["state_hash"]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Chain(length=1), "length=1"),
        (lambda: Chain(slip=1.0), "slip=1.0"),
        (lambda: KeyRoom(rooms=10), "rooms=10"),
        (lambda: KeyRoom(jam=-0.1), "jam=-0.1"),
        (lambda: AliasedCorridor(length=2), "length=2"),
        (lambda: MiniHousehold(fumble=1.5), "fumble=1.5"),
        (lambda: DistractorShop(items=1), "items=1"),
        (lambda: DistractorShop(sparse=1.0), "sparse=1.0"),
    ],
)
def test_sizes_out_of_range_are_refused_by_name(make: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        make()


class Broken(Rules[tuple[int]]):
    family = "broken"

    def __init__(self, probability: float, texts: tuple[str, str]) -> None:
        self.probability, self.texts = probability, texts

    def tasks(self) -> dict[str, tuple[str, tuple[int]]]:
        return {"broken": ("end", (0,))}

    def actions(self, state: tuple[int]) -> tuple[str, ...]:
        return ("go",) if state == (0,) else ()

    def outcomes(self, state: tuple[int], action: str) -> list[Outcome]:
        return [Outcome(self.probability, (1,))]

    def observe(self, state: tuple[int]) -> str:
        return self.texts[state[0]]

    def score(self, state: tuple[int]) -> float:
        return float(state[0])


def test_rules_that_make_no_process_are_refused() -> None:
    with pytest.raises(ConfigError, match="probabilities"):
        build(Broken(0.9, ("a", "b")))
    with pytest.raises(ConfigError, match="look alike"):
        build(Broken(1.0, ("a", "a")))
    assert build(Broken(1.0, ("a", "b"))).actions == ("go",)
