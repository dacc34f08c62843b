"""A sample of what the world says and understands, for building tokenizers."""

from __future__ import annotations

from agentgym.envs.alfworld.engine import NOTHING_HAPPENS, Play, World
from agentgym.envs.alfworld.expert import SearchingExpert
from agentgym.envs.alfworld.generator import BuiltinGames
from agentgym.envs.stream import Stream

__all__ = ["world_texts"]

_MOST_STEPS = 50


def world_texts(games: int = 200, noise: float = 0.3) -> list[str]:
    """Return observations and commands of built-in training games that the searching expert plays.

    Args:
        games: Number of games.
        noise: Share of steps at which a random admissible command is played instead, so that every kind of text occurs.
    """
    source = BuiltinGames("train")
    expert = SearchingExpert()
    stream = Stream("corpus")
    texts = [NOTHING_HAPPENS]
    for task in source.ids(games):
        play = Play(World(source.load(task)))
        observation = play.intro()
        texts += [observation, *play.admissible]
        for _ in range(_MOST_STEPS):
            command = expert.act(play, observation)
            if stream.chance(noise):
                command = stream.pick(play.admissible)
            observation, _ = play.act(command)
            texts += [observation, NOTHING_HAPPENS, *play.admissible]
            if play.won:
                break
    return texts
