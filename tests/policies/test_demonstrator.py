"""Demonstrations: what is played, what is seen and what is learned."""

from __future__ import annotations

import numpy as np
import pytest

from agentgym.episodes import Episode
from agentgym.errors import ConfigError
from agentgym.policies import Turn
from agentgym.policies.demonstrator import Demonstrator
from agentgym.rollouts import demonstrate
from tests.training.small import make_corridor, small_policy


def always_left(turn: Turn) -> str:
    return "left"


def record(**shares: float) -> list[Episode]:
    return demonstrate(make_corridor, small_policy(), always_left, 40, keep_failures=True, **shares)


def strayed(episodes: list[Episode]) -> float:
    return float(np.mean([step.action != "left" for episode in episodes for step in episode.steps]))


def learned(episodes: list[Episode]) -> float:
    return float(np.mean([bool(step.response_ids) for episode in episodes for step in episode.steps]))


def test_the_script_alone_is_played_and_learned() -> None:
    assert strayed(record()) == 0
    assert learned(record()) == 1


def test_a_slip_is_seen_and_not_learned() -> None:
    episodes = record(noise=0.4)
    assert 0.2 < 1 - learned(episodes) < 0.6
    assert strayed(episodes) > 0.1


def test_dawdling_is_learned() -> None:
    episodes = record(dawdle=0.6)
    assert learned(episodes) == 1
    assert 0.2 < strayed(episodes) < 0.6  # some of the legal moves are the script's own


@pytest.mark.parametrize("name", ["noise", "dawdle"])
@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_its_range_is_refused(name: str, share: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be in"):
        Demonstrator(small_policy(), always_left, **{name: share})
