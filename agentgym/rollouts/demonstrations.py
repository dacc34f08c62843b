"""Demonstrations by a script, ready for supervised learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agentgym.episodes import Episode
from agentgym.policies.base import Turn
from agentgym.policies.demonstrator import Demonstrator
from agentgym.rollouts.runner import MakeEnv, Start, run_episodes

if TYPE_CHECKING:
    from agentgym.policies.hf import HFPolicy

__all__ = ["demonstrate"]


def demonstrate(
    make_env: MakeEnv,
    policy: HFPolicy,
    script: Callable[[Turn], str],
    episodes: int,
    *,
    seed: int = 0,
    noise: float = 0.0,
    dawdle: float = 0.0,
    keep_failures: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> list[Episode]:
    """Record episodes that ``script`` plays, in the tokens and context of ``policy``.

    Args:
        make_env: Makes an environment.
        policy: Whose tokenizer, template and context are used.
        script: Returns the action of each turn.
        episodes: Number of episodes played.
        seed: Seeds the tasks and the chance of script and noise.
        noise: Share of turns at which a random command is played instead, seen but not learned; see ``Demonstrator``.
        dawdle: Share of turns at which any admissible command is played instead, and learned; see ``Demonstrator``.
        keep_failures: Whether to keep episodes that were not won.
        rank: Number of this process, which plays every ``world_size``-th episode.
        world_size: Number of processes.
    """
    mine = range(rank, episodes, world_size)
    starts = [Start(f"demonstration/{i}", seed=_seed(seed, i), noise=(seed, i)) for i in mine]
    played = run_episodes(make_env, Demonstrator(policy, script, noise, dawdle), starts)
    return [episode for episode in played if keep_failures or episode.won]


def _seed(seed: int, episode: int) -> int:
    return (seed * 1_000_003 + episode) % 2**31
