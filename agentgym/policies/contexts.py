"""How a prompt is built from the past: ``Transcript`` (the growing chat) or ``Window`` (a fresh prompt each turn).

The chat template comes from the tokenizer. For a transcript it is used once, to learn the text that stands between a
response and the next one; each turn then appends tokens and nothing is tokenised twice. A template that rewrites
earlier turns cannot be used that way and is refused.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from agentgym.errors import ConfigError, PolicyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["INSTRUCTION", "ChatFormat", "Transcript", "Window", "make_context"]

INSTRUCTION = "You act in a text world. Answer every message with exactly one command, and nothing else."
"""System message given to models that were not built for the world."""

_MARKS = ("⟦first⟧", "⟦reply⟧", "⟦second⟧")
_CACHE_SIZE = 100_000


def _listing(info: Mapping[str, Any]) -> str:
    return "\nPossible commands: " + "; ".join(info.get("admissible") or ())


@dataclass(frozen=True, slots=True)
class Transcript:
    """The growing chat: each turn appends tokens, so the KV cache is kept and an episode trains as one sequence.

    Attributes:
        instruction: System message, or None for none.
        show_admissible: Whether each message lists the admissible commands.
    """

    instruction: str | None = INSTRUCTION
    show_admissible: bool = False
    kind: Literal["transcript"] = field(default="transcript", init=False)

    def message(self, observation: str, info: Mapping[str, Any]) -> str:
        """Return the user message of one turn."""
        return observation + _listing(info) if self.show_admissible else observation


@dataclass(frozen=True, slots=True)
class Window:
    """A fresh prompt each turn with the goal, the last ``k`` turns and the present observation, as in verl-agent.

    Attributes:
        k: Number of past turns shown, at least 0.
        instruction: System message, or None for none.
        show_admissible: Whether the prompt lists the admissible commands.
    """

    k: int = 2
    instruction: str | None = INSTRUCTION
    show_admissible: bool = True
    kind: Literal["window"] = field(default="window", init=False)

    def __post_init__(self) -> None:
        if self.k < 0:
            raise ConfigError(f"Window(k={self.k}): k must be at least 0")

    def message(self, past: Sequence[tuple[str, str]], steps: int, observation: str, info: Mapping[str, Any]) -> str:
        """Return the user message: goal, the last ``k`` (observation, action) pairs, then what is seen now."""
        lines = [f"Goal: {info.get('goal', '')}"]
        first = steps - len(past) + 1
        lines += [f"[{first + i}] {seen}\n> {action}" for i, (seen, action) in enumerate(past)]
        lines.append(f"[{steps + 1}] {observation}")
        return "\n".join(lines) + (_listing(info) if self.show_admissible else "")

    def memory(self) -> deque[tuple[str, str]]:
        """Return an empty memory of the last ``k`` turns."""
        return deque(maxlen=self.k)


def make_context(name: str) -> Transcript | Window:
    """Return the context named ``transcript``, ``window`` or ``window:K``.

    Raises:
        ConfigError: For any other name.
    """
    kind, _, k = name.partition(":")
    if kind == "transcript" and not k:
        return Transcript()
    if kind == "window" and (not k or k.isdigit()):
        return Window(int(k)) if k else Window()
    raise ConfigError(f"unknown context {name!r}; allowed: 'transcript', 'window', 'window:K' with a number K")


class ChatFormat:
    """The pieces of text a chat template puts around messages, found once and checked to be prefix-stable.

    A special token within a message, which only a world's text can have put there, is broken by a space: it is read as
    the text that it is.

    Args:
        tokenizer: A tokenizer with a chat template.
        instruction: System message, or None.

    Raises:
        PolicyError: If there is no template, or it rewrites earlier turns.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, instruction: str | None) -> None:
        if tokenizer.chat_template is None:
            raise PolicyError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; set tokenizer.chat_template first"
            )
        self._tokenizer = tokenizer
        self._system = [] if instruction is None else [{"role": "system", "content": instruction}]
        first, reply = {"role": "user", "content": _MARKS[0]}, {"role": "assistant", "content": _MARKS[1]}
        second = {"role": "user", "content": _MARKS[2]}
        opening = self._render([first], True)
        closed = self._render([first, reply], False)
        longer = self._render([first, reply, second], True)
        if not closed.startswith(opening) or not longer.startswith(closed) or any(longer.count(m) != 1 for m in _MARKS):
            raise PolicyError(
                f"the chat template of {tokenizer.name_or_path!r} is not prefix-stable: a later turn rewrites an "
                "earlier one. Use a Window context, or give the tokenizer a template that only appends."
            )
        self._opening = tuple(opening.split(_MARKS[0]))
        _, after_reply = longer.split(_MARKS[1])
        self._between = tuple(after_reply.split(_MARKS[2]))
        padded = self._render([{"role": "user", "content": f" {_MARKS[0]} "}], True)
        self._strips = f" {_MARKS[0]} " not in padded
        self.end_ids = self._find_end_ids()
        added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
        special = sorted({*tokenizer.all_special_tokens, *added}, key=len, reverse=True)
        # A token of one character cannot be broken; a tokenizer without any leaves a pattern that never matches.
        self._special = re.compile("|".join(re.escape(token) for token in special if len(token) > 1) or "(?!)")
        self._cache: dict[str, list[int]] = {}
        self._texts: dict[tuple[int, ...], str] = {}

    def _render(self, messages: list[dict[str, str]], generate: bool) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                [*self._system, *messages], tokenize=False, add_generation_prompt=generate
            )
        except Exception as error:
            raise PolicyError(f"the chat template of {self._tokenizer.name_or_path!r} failed: {error}") from error
        return str(text)

    def _find_end_ids(self) -> tuple[int, ...]:
        """Return the tokens that end a response, the one this template writes after a response first."""
        ends: dict[int, None] = {}
        tail = self._tokenizer(self._between[0], add_special_tokens=False)["input_ids"]
        if tail and tail[0] in self._tokenizer.all_special_ids:
            ends[tail[0]] = None
        if self._tokenizer.eos_token_id is not None:
            ends[self._tokenizer.eos_token_id] = None
        if not ends:
            raise PolicyError(
                f"the tokenizer of {self._tokenizer.name_or_path!r} has no end token: set tokenizer.eos_token, or use "
                "a chat template that writes a special token after each response"
            )
        return tuple(ends)

    def opening(self, messages: Sequence[str]) -> list[list[int]]:
        """Return for each message the tokens from the start of a chat to the place of the first response."""
        head, tail = self._opening
        return self.encode([head + self._content(message) + tail for message in messages])

    def following(self, messages: Sequence[str], last_tokens: Sequence[int]) -> list[list[int]]:
        """Return for each message the tokens between a response that ended in ``last_tokens`` and the next response."""
        head, tail = self._between
        ends = {token: str(self._tokenizer.decode([token])) for token in self.end_ids}
        # A response that ended by itself holds its end token already; one cut off at the limit does not.
        heads = [head.removeprefix(ends[last]) if last in ends else head for last in last_tokens]
        return self.encode([h + self._content(m) + tail for h, m in zip(heads, messages, strict=True)])

    def _content(self, message: str) -> str:
        # What a page says is data: a special token that stands on it must not end the turn, nor begin another.
        message = self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", message)
        return message.strip() if self._strips else message

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a response without its end token, remembering."""
        key = tuple(ids)
        if key not in self._texts:
            if len(self._texts) >= _CACHE_SIZE:
                self._texts.clear()
            self._texts[key] = str(self._tokenizer.decode(list(key), skip_special_tokens=True))
        return self._texts[key]

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Tokenise without special tokens, remembering: siblings of a group see the same texts again and again."""
        missing = sorted({text for text in texts if text not in self._cache})
        if len(self._cache) + len(missing) > _CACHE_SIZE:
            self._cache.clear()
            missing = sorted(set(texts))
        if missing:
            # Half of a surrogate pair, which scraped pages may hold, is no text to a tokenizer.
            readable = [text.encode("utf-8", "replace").decode("utf-8") for text in missing]
            encoded = self._tokenizer(readable, add_special_tokens=False)["input_ids"]
            self._cache.update(zip(missing, encoded, strict=True))
        return [self._cache[text] for text in texts]
