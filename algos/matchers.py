"""Matchers: how much alike a step of a failed episode and a step of its successful sibling are, from 0 to 1.

A matcher is called with different texts on either side and answers with a matrix. Each text is an observation, a line
break and the action taken there. ``TokenOverlap`` needs nothing but NumPy; the others run a model of transformers,
loaded at the first call. Each can be named in the settings of ``SCPO``.

Model scores are rounded to four digits: the last bits depend on which texts were padded together, and credit must not.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agentgym.errors import ConfigError, missing_extra, unknown_name

__all__ = ["MATCHERS", "CrossEncoder", "Matcher", "SentenceEncoder", "TokenOverlap", "get_matcher"]

Floats = npt.NDArray[np.float64]

MATCHERS: Mapping[str, str] = {
    "cross-encoder": "agentgym.algos.matchers:CrossEncoder",
    "sentence-encoder": "agentgym.algos.matchers:SentenceEncoder",
    "token-overlap": "agentgym.algos.matchers:TokenOverlap",
}
"""Name of each matcher here to its module and class."""

_DIGITS = 4


class Matcher(Protocol):
    """Says how much alike steps are; a function of the texts alone."""

    def __call__(self, failed: Sequence[str], reference: Sequence[str]) -> Floats:
        """Return the similarity of each failed step and each reference step, [len(failed), len(reference)], in [0, 1].

        Args:
            failed: Different texts of failed steps.
            reference: Different texts of reference steps.
        """
        ...


def get_matcher(name: str, **options: Any) -> Matcher:
    """Build a matcher.

    Args:
        name: A name out of ``MATCHERS``, or "module:Class" of another one.
        options: Arguments of the class.

    Raises:
        ConfigError: If the name is unknown, or the class does not take the options.
    """
    target = MATCHERS.get(name, name)
    module, separator, attribute = target.partition(":")
    if not separator:
        raise unknown_name("matcher", name, [*MATCHERS, "module:Class"])
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"matcher {name!r} cannot be imported: {error}") from error
    try:
        matcher: Matcher = kind(**options)
    except TypeError as error:
        raise ConfigError(f"matcher {name!r} does not take the options {sorted(options)}: {error}") from error
    return matcher


@lru_cache(maxsize=1 << 16)
def _words(text: str) -> frozenset[tuple[str, int]]:
    """Return the words of a text, numbered so that the third "the" of a text meets only a third one."""
    counts: Counter[str] = Counter()
    numbered = []
    for word in re.findall(r"\w+", text.lower()):
        numbered.append((word, counts[word]))
        counts[word] += 1
    return frozenset(numbered)


def _dice(left: Sequence[str], right: Sequence[str]) -> Floats:
    """Return twice the number of shared words over the number of all, 1 for two texts without words."""
    sets = [_words(text) for text in (*left, *right)]
    column: dict[tuple[str, int], int] = {}
    cells = [[column.setdefault(word, len(column)) for word in words] for words in sets]
    present = np.zeros((len(sets), len(column)), np.float32)
    present[np.repeat(np.arange(len(sets)), [len(c) for c in cells]), [w for c in cells for w in c]] = 1.0
    size = present.sum(axis=1, dtype=np.float64)
    shared = (present[: len(left)] @ present[len(left) :].T).astype(np.float64)  # whole numbers, so exact
    total = size[: len(left), None] + size[None, len(left) :]
    dice: Floats = np.divide(2 * shared, total, out=np.ones_like(shared), where=total > 0)
    return dice


class TokenOverlap:
    r"""Shared words: the overlap of the observations times that of the actions.

    The overlap is 2 Σ min / Σ sum of the word counts. The last line of a text is its action, which would otherwise
    drown in a long observation: another action in the same place is another step. Words are compared without case.
    This matcher is ours, for tests and machines without a GPU; it knows no synonyms.

    >>> texts = ["You see a mug.\ntake mug", "You see a mug.\nlook"]
    >>> TokenOverlap()(texts, ["You see a cup.\ntake mug"]).tolist()
    [[0.75], [0.0]]
    """

    def __call__(self, failed: Sequence[str], reference: Sequence[str]) -> Floats:
        """Return the overlaps, see ``Matcher``."""
        left, right = ([text.rpartition("\n") for text in texts] for texts in (failed, reference))
        actions = _dice([part[2] for part in left], [part[2] for part in right])
        return _dice([part[0] for part in left], [part[0] for part in right]) * actions


class _Cache(OrderedDict[bytes, Any]):
    """A mapping that forgets what was used longest ago."""

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"a matcher's cache holds at least 1 entry, not {size}")
        self.size = size

    def recall(self, key: bytes) -> Any:
        """Return the value of a key and mark it as used, or None."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def keep(self, key: bytes, value: Any) -> None:
        self[key] = value
        if len(self) > self.size:
            self.popitem(last=False)


def _digests(texts: Sequence[str]) -> list[bytes]:
    return [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]


class _Model:
    """A model of transformers and its tokenizer, loaded on first use."""

    def __init__(self, model: str, head: str, *, batch_size: int, max_length: int, device: str) -> None:
        self.name, self.head = model, head
        self.batch_size, self.max_length, self.device = batch_size, max_length, device
        self._loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """Return the model, ready to be evaluated, and its tokenizer."""
        if self._loaded is None:
            try:
                import transformers
            except ImportError as error:
                raise missing_extra("transformers", "train", f"the matcher of {self.name!r}") from error
            # The end of an observation says more about the step than its beginning.
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.name, truncation_side="left")
            model = getattr(transformers, self.head).from_pretrained(self.name).eval().to(self.device)
            if tokenizer.pad_token is None:
                tokenizer.pad_token, model.config.pad_token_id = tokenizer.eos_token, tokenizer.eos_token_id
            self._loaded = model, tokenizer
        return self._loaded

    def run(self, texts: Sequence[tuple[str, ...]], answer: Any) -> list[Any]:
        """Return ``answer(model, inputs)`` of single texts or pairs, row by row, similar lengths batched together."""
        import torch

        model, tokenizer = self.load()
        order = sorted(range(len(texts)), key=lambda k: len("".join(texts[k])))
        rows: list[Any] = [None] * len(texts)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            sides = [list(side) for side in zip(*(texts[k] for k in chosen), strict=True)]
            inputs = tokenizer(
                *sides, padding=True, truncation="longest_first", max_length=self.max_length, return_tensors="pt"
            ).to(self.device)
            with torch.inference_mode():
                for k, row in zip(chosen, answer(model, inputs).float().cpu().numpy(), strict=True):
                    rows[k] = row
        return rows


class CrossEncoder:
    """A sequence-classification model that reads both steps at once, such as ``BAAI/bge-reranker-v2-m3``.

    Its score is the sigmoid of the logit where the model has one, the probability of ``label`` where it has several.
    Equal texts score 1 without the model; other pairs are read once while the cache remembers them.

    Args:
        model: Name or folder of the model.
        label: Class whose probability is the score; needed where the model has several.
        symmetric: Whether to average both orders of the pair; else the failed step comes first.
        batch_size: Pairs a forward pass.
        max_length: Longest input in tokens; longer texts lose their beginning.
        device: Where the model runs.
        cache_size: Most scores to remember, about 100 bytes each.
    """

    def __init__(
        self,
        model: str,
        *,
        label: int | None = None,
        symmetric: bool = False,
        batch_size: int = 64,
        max_length: int = 512,
        device: str = "cpu",
        cache_size: int = 1 << 20,
    ) -> None:
        head = "AutoModelForSequenceClassification"
        self._model = _Model(model, head, batch_size=batch_size, max_length=max_length, device=device)
        self._label, self._symmetric = label, symmetric
        self._cache = _Cache(cache_size)

    def _scores(self, model: Any, inputs: Any) -> Any:
        logits = model(**inputs).logits
        if logits.shape[1] == 1:
            return logits[:, 0].sigmoid()
        if self._label is None or not 0 <= self._label < logits.shape[1]:
            raise ConfigError(
                f"{self._model.name!r} tells {logits.shape[1]} classes apart, {model.config.id2label}; say by label= "
                f"which of them means that two steps are alike (label={self._label!r})"
            )
        return logits.softmax(dim=1)[:, self._label]

    def __call__(self, failed: Sequence[str], reference: Sequence[str]) -> Floats:
        """Return the scores, see ``Matcher``."""
        result = np.ones((len(failed), len(reference)))
        cells = []
        columns = list(enumerate(_digests(reference)))
        for i, left in enumerate(_digests(failed)):
            for j, right in columns:
                if left == right:
                    continue
                if (known := self._cache.recall(left + right)) is None:
                    cells.append((i, j, left + right))
                else:
                    result[i, j] = known
        pairs = [(failed[i], reference[j]) for i, j, _ in cells]
        if pairs:
            scores = np.array(self._model.run(pairs, self._scores), np.float64)
            if self._symmetric:
                scores = (scores + self._model.run([(b, a) for a, b in pairs], self._scores)) / 2
            for (i, j, key), score in zip(cells, scores.round(_DIGITS).tolist(), strict=True):
                result[i, j] = score
                self._cache.keep(key, score)
        return result


class SentenceEncoder:
    """A text encoder that reads each step once: the cosine of mean-pooled token vectors, negative ones as 0.

    Equal texts score 1. Vectors, not scores, are remembered, so that each text is read once while the cache holds it.

    Args:
        model: Name or folder of the model.
        batch_size: Texts a forward pass.
        max_length: Longest input in tokens; longer texts lose their beginning.
        device: Where the model runs.
        cache_size: Most vectors to remember.
    """

    def __init__(
        self,
        model: str,
        *,
        batch_size: int = 64,
        max_length: int = 256,
        device: str = "cpu",
        cache_size: int = 1 << 16,
    ) -> None:
        self._model = _Model(model, "AutoModel", batch_size=batch_size, max_length=max_length, device=device)
        self._cache = _Cache(cache_size)

    @staticmethod
    def _vectors(model: Any, inputs: Any) -> Any:
        counted = inputs["attention_mask"].unsqueeze(-1)
        pooled = (model(**inputs).last_hidden_state * counted).sum(dim=1) / counted.sum(dim=1)
        return pooled / pooled.norm(dim=1, keepdim=True)

    def __call__(self, failed: Sequence[str], reference: Sequence[str]) -> Floats:
        """Return the scores, see ``Matcher``."""
        keys = dict(zip(_digests([*failed, *reference]), [*failed, *reference], strict=True))
        vectors = {key: self._cache.recall(key) for key in keys}
        if missing := [key for key, vector in vectors.items() if vector is None]:
            for key, vector in zip(missing, self._model.run([(keys[k],) for k in missing], self._vectors), strict=True):
                vectors[key] = vector
                self._cache.keep(key, vector)
        left, right = (np.array([vectors[key] for key in _digests(texts)], np.float64) for texts in (failed, reference))
        cosine = (left @ right.T).clip(0.0, 1.0).round(_DIGITS)
        same = np.array([[a == b for b in reference] for a in failed], np.bool_)
        return np.where(same, 1.0, cosine)
