"""A sample of what the world says and understands, for building tokenizers."""

from __future__ import annotations

from agentgym.envs.alfworld.engine import Play, World
from agentgym.envs.alfworld.expert import SearchingExpert
from agentgym.envs.alfworld.generator import BuiltinGames

__all__ = ["world_texts"]

_MOST_STEPS = 50


def world_texts(games: int = 400) -> list[str]:
    """Return observations and commands of built-in training games that the searching expert plays."""
    source = BuiltinGames("train")
    expert = SearchingExpert()
    texts: list[str] = []
    for task in source.ids(games):
        play = Play(World(source.load(task)))
        observation = play.intro()
        texts.append(observation)
        for _ in range(_MOST_STEPS):
            command = expert.act(play, observation)
            observation, _ = play.act(command)
            texts += [command, observation]
            if play.won:
                break
    return texts
