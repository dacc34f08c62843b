"""The one table of environment ids.

Entry points are strings, so that nothing is imported before it is made. Each environment registers under its bare id
and under the alias ``agentgym/<id>``; a bare id that another package has taken is left alone with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

__all__ = ["ENVIRONMENTS", "register_environments"]

ENVIRONMENTS: Mapping[str, Mapping[str, Any]] = {
    "ALFWorld-v0": {"entry_point": "agentgym.envs.alfworld.env:ALFWorldEnv", "max_episode_steps": 50},
    "AdvertisingBudget-v0": {
        "entry_point": "agentgym.envs.bandit.budget:AdvertisingBudgetEnv",
        "max_episode_steps": 40,
    },
    "AliasedCorridor-v0": {"entry_point": "agentgym.envs.finite.worlds:AliasedCorridorEnv", "max_episode_steps": 20},
    "Chain-v0": {"entry_point": "agentgym.envs.finite.worlds:ChainEnv", "max_episode_steps": 20},
    "DistractorShop-v0": {"entry_point": "agentgym.envs.finite.worlds:DistractorShopEnv", "max_episode_steps": 20},
    "FourRooms-v0": {"entry_point": "agentgym.envs.finite.design_worlds:FourRoomsEnv", "max_episode_steps": 30},
    "DynamicalLinearBandit-v0": {
        "entry_point": "agentgym.envs.bandit.env:DynamicalLinearBanditEnv",
        "max_episode_steps": 1000,
    },
    "GuessMyCity-v0": {"entry_point": "agentgym.envs.guessing.env:GuessMyCityEnv", "max_episode_steps": 20},
    "KeyRoom-v0": {"entry_point": "agentgym.envs.finite.worlds:KeyRoomEnv", "max_episode_steps": 20},
    "LineKey-v0": {"entry_point": "agentgym.envs.finite.design_worlds:LineKeyEnv", "max_episode_steps": 30},
    "LongChain-v0": {"entry_point": "agentgym.envs.finite.design_worlds:LongChainEnv", "max_episode_steps": 40},
    "MiniHousehold-v0": {"entry_point": "agentgym.envs.finite.worlds:MiniHouseholdEnv", "max_episode_steps": 20},
    "TwentyQuestions-v0": {"entry_point": "agentgym.envs.guessing.env:TwentyQuestionsEnv", "max_episode_steps": 20},
    "WebShop-v0": {"entry_point": "agentgym.envs.webshop.env:WebShopEnv", "max_episode_steps": 15},
}
"""Environment id to the keyword arguments of ``gymnasium.register``."""


def register_environments() -> None:
    """Register every environment of the table; calling it again changes nothing."""
    for name, spec in ENVIRONMENTS.items():
        for env_id in (name, f"agentgym/{name}"):
            taken = gym.registry.get(env_id)
            if taken is None:
                gym.register(env_id, **spec)
            elif taken.entry_point != spec["entry_point"]:
                warnings.warn(
                    f"the environment id {env_id!r} is taken by {taken.entry_point}; use 'agentgym/{name}' for ours",
                    stacklevel=2,
                )
