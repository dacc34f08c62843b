"""A sample of what the built-in shop says and understands, and its names for things, for building tokenizers."""

from __future__ import annotations

from agentgym.envs.stream import Stream
from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.generator import asin_pieces, price_of
from agentgym.envs.webshop.vocabulary import BRANDS, KINDS

__all__ = ["world_names", "world_texts"]

_MOST_STEPS = 15
_MOST_PRICE = 46


def world_names() -> list[str]:
    """Return the words that tell products and goals apart, lower case: what a tokenizer should keep whole."""
    names = [piece for pieces in asin_pieces() for piece in pieces]
    for kind in KINDS:
        names += [kind.name, *kind.qualities, *kind.features, *kind.options]
        names += [value for values in kind.options.values() for value in values]
    names += [f"${price_of(steps)}" for steps in range(1, _MOST_PRICE + 1)]
    names += [str(10 * tens) for tens in range(1, _MOST_PRICE // 2 + 3)]
    return sorted({name.lower() for name in (*names, *BRANDS)})


def world_texts(episodes: int = 25, noise: float = 0.3) -> list[str]:
    """Return observations and actions of built-in training goals that the expert plays.

    Args:
        episodes: Number of episodes in each difficulty.
        noise: Share of steps at which a random admissible action is played instead, so that every page occurs.
    """
    texts = []
    for preset in ("default", "easy"):  # together they speak in every wording
        env = WebShopEnv(data="builtin", difficulty=preset)
        stream = Stream("corpus", preset)
        for number in range(episodes):
            label = "" if preset == "default" else f"{preset}/"
            observation, info = env.reset(options={"task": f"builtin/train/{label}{number}"})
            texts += [observation, *info["admissible"]]
            for _ in range(_MOST_STEPS):
                action = env.expert_action()
                if stream.chance(noise):
                    action = stream.pick(info["admissible"])
                observation, _, over, _, info = env.step(action)
                texts += [action, observation, *info["admissible"]]
                if over:
                    break
    return texts
