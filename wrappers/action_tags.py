"""From what a policy wrote to the action it meant."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym

from agentgym.errors import ConfigError

from ._base import TextWrapper
from .rewards import InvalidActionPenalty

__all__ = ["ActionTags"]

_OPEN, _CLOSE = "<action>", "</action>"
_CJK = re.compile("[\u4e00-\u9fff]")


class ActionTags(TextWrapper):
    """Send on the text between the first ``<action>`` and the first ``</action>`` of what the policy wrote.

    The defaults are the rules of the verl-agent family: the response is lowercased; where a tag is missing the last
    ``fallback_chars`` characters are sent; a bad form is flagged, never withheld. The form is good when both tags are
    there, the response holds ``<think>`` and ``</think>`` and no Chinese character. Whether the action is one the world
    knows is another matter (``info["valid"]``, ``info["admissible"]``).

    ``info`` gains ``format_ok``, ``parsed_action`` (what was sent on) and ``response_text`` (what the policy wrote).

    Args:
        env: Any text environment.
        require_think: Whether a good form needs ``<think>`` and ``</think>``.
        allow_cjk: Whether characters U+4E00 to U+9FFF are allowed in a good form.
        lowercase: Whether the action is lowercased.
        fallback_chars: How many characters at the end of an untagged response are sent, at least 1.

    Raises:
        ConfigError: If ``fallback_chars`` is below 1, or a penalty on the format stands inside and would never see the
            flag.

    >>> import agentgym, gymnasium
    >>> env = ActionTags(gymnasium.make("ALFWorld-v0"))
    >>> _ = env.reset(seed=0)
    >>> info = env.step("<think>Where am I?</think><action>Look</action>")[4]
    >>> info["parsed_action"], info["format_ok"]
    ('look', True)
    """

    def __init__(
        self,
        env: gym.Env[str, str],
        require_think: bool = True,
        allow_cjk: bool = False,
        lowercase: bool = True,
        fallback_chars: int = 30,
    ) -> None:
        super().__init__(
            env, require_think=require_think, allow_cjk=allow_cjk, lowercase=lowercase, fallback_chars=fallback_chars
        )
        if fallback_chars < 1:
            raise ConfigError(f"ActionTags fallback_chars must be at least 1, not {fallback_chars}")
        layer = env
        while isinstance(layer, gym.Wrapper):
            if isinstance(layer, InvalidActionPenalty) and layer.on == "format":
                raise ConfigError(
                    "InvalidActionPenalty(on='format') inside ActionTags never sees the format flag; "
                    "write InvalidActionPenalty(ActionTags(env))"
                )
            layer = layer.env
        self._require_think = require_think
        self._allow_cjk = allow_cjk
        self._lowercase = lowercase
        self._fallback_chars = fallback_chars

    def parse(self, response: str) -> tuple[str, bool]:
        """Return (action, whether the form is good) of a response."""
        lowered = response.lower()
        text = lowered if self._lowercase else response
        # lower() can change the length of a text, and then its positions are not those of the original.
        tags = lowered if len(lowered) == len(text) else text
        start, end = tags.find(_OPEN), tags.find(_CLOSE)
        if start == -1 or end == -1:
            return text[-self._fallback_chars :], False
        action = text[
            start + len(_OPEN) : end
        ].strip()  # tags in the wrong order give the empty action, as in the reference
        good = not self._require_think or ("<think>" in response and "</think>" in response)
        return action, good and (self._allow_cjk or _CJK.search(response) is None)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Parse the policy's text and step with the action it holds.

        Raises:
            TypeError: If ``action`` is not a string.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action must be a string, not {type(action).__name__}: {action!r}")
        parsed, good = self.parse(action)
        observation, reward, terminated, truncated, info = self.env.step(parsed)
        info = {**info, "format_ok": good, "parsed_action": parsed, "response_text": action}
        return observation, float(reward), terminated, truncated, info
