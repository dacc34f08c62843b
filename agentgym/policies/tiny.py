"""The built-in policy ``tiny``: a Llama of under a million parameters with a tokenizer that knows the world's words.

Generation decides how fast a laptop trains, so sequences are short: a name ("cabinet 4"), a kind ("cabinet"), a number
and each stock phrase of the world between names are one token each. Any other text is spelled in bytes, so nothing is
ever unknown.

There is one tokenizer for each world of `WORLDS`; every other world gets that of ``ALFWorld-v0``. The shop reads
actions in lower case, so its tokenizer reads pages in lower case too: what is to be clicked is then the same tokens as
on the page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, cast

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agentgym.policies.contexts import Transcript

__all__ = ["WORLDS", "build", "build_tokenizer", "defaults_of"]

_END = "<|end|>"
_ACT = "<|act|>"
_EMBEDDING_STD = 0.3  # by the loss at which a warm start ends: 0.05 is worse, 0.1 to 0.6 differ little
# Where a name must be found on a page of many and copied, few wide heads with keys of their own learn it much sooner.
_HEADS: Final = {"WebShop-v0": (2, 2)}  # heads, and those of keys and values
_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] + '<|end|>' }}"
    "{% else %}{{ message['content'] + '<|act|>' }}{% endif %}{% endfor %}"
)


def build_tokenizer(
    texts: Iterable[str], *, phrases: int = 400, numbers: int = 40, names: Iterable[str] | None = None
) -> PreTrainedTokenizerFast:
    """Build a tokenizer that knows the names, kinds, numbers and stock phrases of ``texts``, and bytes for the rest.

    Args:
        texts: Observations and actions of the world; a name is a word followed by a number somewhere in them.
        phrases: Largest number of phrases kept, the most frequent first.
        numbers: Largest number that is one token.
        names: The names themselves, lower case, where they have no numbers: any text is then read in lower case, and
            there are no tokens for kinds and numbers.
    """
    corpus = list(texts)
    if names is None:
        found = sorted({name for text in corpus for name in re.findall(r"\b[a-z]+ \d+\b", text)})
        kinds = sorted({name.split()[0] for name in found})
        splitter = re.compile(rf"\b(?:{'|'.join(kinds)})\b(?: \d+\b)?") if kinds else re.compile(r"$^")
        known = [*found, *kinds, *(f" {n}" for n in range(1, numbers + 1))]
    else:
        corpus = [text.lower() for text in corpus]
        known = sorted(names)
        longest_first = sorted(known, key=lambda name: (-len(name), name))
        # Names may follow each other without a space, as the halves of an identifier do.
        splitter = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})+(?!\w)")
    counts = Counter(piece for text in corpus for piece in splitter.split(text) if len(piece) > 1)
    common = [piece for piece, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n > 1][:phrases]
    return _assemble([*known, *common], lower=names is not None)


def _assemble(words: Iterable[str], lower: bool) -> PreTrainedTokenizerFast:
    """Return a tokenizer of these words and bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    if lower:
        core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(word, normalized=lower) for word in dict.fromkeys(words)])
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        eos_token=_END,
        pad_token="<|pad|>",
        additional_special_tokens=[_ACT],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _household() -> PreTrainedTokenizerFast:
    from agentgym.envs.alfworld.corpus import world_texts

    return build_tokenizer(world_texts())


def _shop() -> PreTrainedTokenizerFast:
    from agentgym.envs.webshop.corpus import world_names, world_texts

    return build_tokenizer(world_texts(), names=world_names())


def _guessing(world: str) -> PreTrainedTokenizerFast:
    from agentgym.envs.guessing.corpus import world_names, world_texts

    return build_tokenizer(world_texts(world), names=world_names(world))


WORLDS: Final[dict[str, Callable[[], PreTrainedTokenizerFast]]] = {
    "ALFWorld-v0": _household,
    "GuessMyCity-v0": partial(_guessing, "GuessMyCity-v0"),
    "TwentyQuestions-v0": partial(_guessing, "TwentyQuestions-v0"),
    "WebShop-v0": _shop,
}
"""For each environment that has words of its own, what builds its tokenizer."""


def build(
    world: str = "ALFWorld-v0", *, hidden: int = 128, layers: int = 2, seed: int = 0
) -> tuple[Any, Any, dict[str, Any]]:
    """Build the model with random weights; it needs a warm start before reinforcement learning.

    Args:
        world: Environment id whose words the tokenizer knows; any that `WORLDS` does not name gets ALFWorld's.
        hidden: Width.
        layers: Number of layers.
        seed: Seed of the weights.

    Returns:
        Model, tokenizer, and the arguments that ``HFPolicy`` should be made with.
    """
    world = world.removeprefix("agentgym/")
    tokenizer = WORLDS.get(world, _household)()
    heads, of_keys = _HEADS.get(world, (4, 1))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=of_keys,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # The caller's generator is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        _initialise(model)
    _compose_names(model, tokenizer)
    return model, tokenizer, {**defaults_of(tokenizer), "needs_warm_start": True}


def _initialise(model: LlamaForCausalLM) -> None:
    """Draw weights on a scale that suits so narrow a model: the library's is meant for a width of thousands."""
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        for weight in model.parameters():
            if weight is embeddings:
                weight.normal_(std=_EMBEDDING_STD)
            elif weight.ndim == 2:
                weight.normal_(std=weight.shape[1] ** -0.5)


def _compose_names(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start each name as the sum of its parts, so that "apple 2" is an apple before anything is learned."""
    vocabulary = tokenizer.get_vocab()
    weight = cast("torch.Tensor", model.get_input_embeddings().weight)
    with torch.no_grad():
        for word, token in vocabulary.items():
            parts = re.fullmatch(r"([a-z]+)( \d+)", word)
            if parts and parts[1] in vocabulary and parts[2] in vocabulary:
                weight[token] = weight[vocabulary[parts[1]]] + weight[vocabulary[parts[2]]]


def defaults_of(tokenizer: Any) -> dict[str, Any]:
    """Return the arguments a policy with this tokenizer should be made with: none unless it is a tiny one's."""
    if tokenizer.chat_template == _TEMPLATE:
        shop = tokenizer.backend_tokenizer.normalizer is not None  # a search has more words than a household command
        return {"context": Transcript(instruction=None), "max_new_tokens": 24 if shop else 6}
    return {}
