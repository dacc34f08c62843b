"""Macro actions: runs of response tokens that act as one, and what rewards and values become over them.

Paper: MA-RLHF: Reinforcement Learning from Human Feedback with Macro Actions, arXiv 2410.02743, section 3.

A segmentation is a bool [L] over the flat tokens of any number of rows: where a macro action begins. The first token
of a row always begins one, so none reaches over the end of a response, and each token is in exactly one.

    πω(j) = Πₜ π(t)      R(j) = Σᵢ γⁱ r(j, i)      V(j) = Σᵢ σᵢ V(j, i), Σ σᵢ = 1      i from 0 to |ω(j)| - 1

σ: ``equal`` 1 / |ω|; ``unit`` the last token alone; ``position`` in proportion to 1 / (i + 1); ``first`` the first
token alone, the state in which the macro action is chosen: ours, and the only one that a semi-Markov decision process
knows. With |ω| = 1 all are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from agentgym.errors import AlgorithmError

__all__ = [
    "Macros",
    "Phrase",
    "ValueOf",
    "close_with_lone_token",
    "fixed",
    "macro_rewards",
    "macro_values",
    "macro_weights",
    "parsed",
    "perplexity",
    "randomised",
    "shuffled",
    "turns",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

ValueOf = Literal["equal", "unit", "position", "first"]
Phrase: TypeAlias = "str | Sequence[Phrase]"
"""A parse: a word, or the phrases that a phrase consists of."""


@dataclass(frozen=True, eq=False)
class Macros:
    """A segmentation laid out as flat macro actions, J of them, in the order of their tokens.

    Attributes:
        of_token: Number of each token's macro action, from 0, int64 [L].
        place: Place of each token within it, from 0, int64 [L].
        lengths: Tokens of each macro action, at least 1, int64 [J].
        offsets: Row r owns macro actions ``offsets[r]:offsets[r + 1]``, int64 [R + 1].
    """

    of_token: Ints
    place: Ints
    lengths: Ints
    offsets: Ints

    @classmethod
    def of(cls, begins: Bools, token_offsets: Ints) -> Macros:
        """Lay out a segmentation.

        Args:
            begins: Where a macro action begins, [L]; true at the first token of each row.
            token_offsets: Row r owns tokens ``token_offsets[r]:token_offsets[r + 1]``, [R + 1].

        Raises:
            AlgorithmError: If the shapes do not fit, or a row begins without a macro action.
        """
        size = int(token_offsets[-1])
        if begins.shape != (size,):
            raise AlgorithmError(f"a segmentation of {size} tokens has shape {begins.shape}, expected ({size},)")
        if (inside := np.flatnonzero(turns(token_offsets) & ~begins)).size:
            row = int(np.searchsorted(token_offsets, inside[0], side="right")) - 1
            raise AlgorithmError(f"row {row} begins without a macro action; the first token of a row must begin one")
        starts = np.flatnonzero(begins)
        of_token = np.cumsum(begins) - 1
        before = np.append(0, np.cumsum(begins))
        return cls(of_token, np.arange(size) - starts[of_token], np.diff(starts, append=size), before[token_offsets])

    def __len__(self) -> int:
        return len(self.lengths)

    def sum(self, values: Floats) -> Floats:
        """Return the sum of one number a token, [L], over each macro action, [J]."""
        return np.asarray(np.bincount(self.of_token, values, minlength=len(self)), np.float64)


# Where macro actions begin -------------------------------------------------------------------------------------------


def turns(token_offsets: Ints) -> Bools:
    """Return the segmentation in which each response is one macro action, [L]."""
    begins = np.zeros(int(token_offsets[-1]), np.bool_)
    begins[token_offsets[:-1][np.diff(token_offsets) > 0]] = True
    return begins


def _places(token_offsets: Ints) -> Ints:
    """Return the place of each token in its row, [L]."""
    return np.arange(token_offsets[-1]) - np.repeat(token_offsets[:-1], np.diff(token_offsets))


def fixed(token_offsets: Ints, length: int) -> Bools:
    """Return the segmentation that cuts each row after every ``length`` tokens, at least 1, [L]."""
    return np.asarray(_places(token_offsets) % length == 0)


def randomised(token_offsets: Ints, token_ids: Ints, t: Ints, lengths: Sequence[int], repeats: int, seed: int) -> Bools:
    """Return the segmentation whose lengths are drawn without replacement from a list, shuffled for each row.

    The list holds each of ``lengths`` ``repeats`` times. Once it is used up, the rest of the row is one macro action.
    The shuffle is decided by ``seed``, the row's step and its tokens, never by where the row stands in a batch: the
    same row is cut the same way in every batch.

    Args:
        token_offsets: Row r owns tokens ``token_offsets[r]:token_offsets[r + 1]``, [R + 1].
        token_ids: Response tokens, [L].
        t: Step of each row, [R].
        lengths: Lengths to draw from, at least 1 each.
        repeats: How often each is in the list, at least 1.
        seed: Decides the shuffles, at least 0.

    Returns:
        Where a macro action begins, [L].
    """
    drawn = np.cumsum(shuffled(token_offsets, token_ids, t, lengths, repeats, seed), axis=1)
    begins = turns(token_offsets)
    sizes = np.diff(token_offsets)
    inside = drawn < sizes[:, None]
    begins[(token_offsets[:-1, None] + drawn)[inside]] = True
    return begins


def shuffled(token_offsets: Ints, token_ids: Ints, t: Ints, lengths: Sequence[int], repeats: int, seed: int) -> Ints:
    """Return the shuffled list of lengths of each row, [R, len(lengths) * repeats]; arguments as of ``randomised``."""
    rows = len(t)
    key = _mixed(t.astype(np.uint64) + _mixed(np.full(rows, seed, np.uint64)))
    words = _mixed(token_ids.astype(np.uint64) + _mixed(_places(token_offsets).astype(np.uint64)))
    content = np.zeros(rows, np.uint64)
    np.add.at(content, np.repeat(np.arange(rows), np.diff(token_offsets)), words)
    stock = np.repeat(np.asarray(lengths, np.int64), repeats)
    draws = _mixed((key ^ _mixed(content))[:, None] + _mixed(np.arange(len(stock), dtype=np.uint64) + np.uint64(1)))
    return stock[np.argsort(draws, axis=1, kind="stable")]


def _mixed(words: Words) -> Words:
    """Return a hash of each 64-bit word: the output function of SplitMix64, a counter-based generator."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def perplexity(token_offsets: Ints, logprob: Floats) -> Bools:
    """Return the segmentation that begins a macro action wherever the perplexity of a token rises, [L].

    So within one the perplexity exp(-log π) never rises.

    Args:
        token_offsets: Row r owns tokens ``token_offsets[r]:token_offsets[r + 1]``, [R + 1].
        logprob: log π of each token, under the reference policy in the paper, [L].
    """
    begins = turns(token_offsets)
    begins[1:] |= logprob[1:] < logprob[:-1]
    return begins


def parsed(pieces: Sequence[str], tree: Phrase, cutoff: int) -> list[int] | None:
    """Return where the macro actions of one row begin by a parse of its text.

    A phrase of fewer than ``cutoff`` tokens is one macro action, a longer one is taken apart, and one of a single token
    joins what is before it. A token belongs to the word that holds its first letter, so words and tokens may part at
    different places; a token without letters belongs to the next word, behind the last to that.

    Args:
        pieces: Text of each token of the row, at least one.
        tree: The parse; its words in order are the text but for white space.
        cutoff: C, at least 2.

    Returns:
        Places in the row, rising, the first of them 0; None where the words are not the text.
    """
    words = ["".join(word.split()) for word in _words(tree)]
    letters = ["".join(piece.split()) for piece in pieces]
    if not any(words) or "".join(words) != "".join(letters):
        return None
    ends = np.cumsum([len(word) for word in words])
    firsts = np.cumsum([0, *(len(piece) for piece in letters)])[:-1]
    word = np.minimum(np.searchsorted(ends, firsts, side="right"), len(words) - 1)
    # Words up to a place in the parse own the tokens up to a place in the row: phrases become spans.
    bounds = np.append(0, np.cumsum(np.bincount(word, minlength=len(words)))).tolist()
    return _cuts(tree, 0, bounds, cutoff)[0]


def _words(tree: Phrase) -> list[str]:
    return [tree] if isinstance(tree, str) else [word for phrase in tree for word in _words(phrase)]


def _cuts(tree: Phrase, first: int, bounds: list[int], cutoff: int) -> tuple[list[int], int]:
    """Return where macro actions begin in the phrase whose first word is ``first``, and the word behind it."""
    behind = first + len(_words(tree))
    size = bounds[behind] - bounds[first]
    if size <= 1:
        return ([0] if size and bounds[first] == 0 else []), behind
    if size < cutoff or isinstance(tree, str):
        return [bounds[first]], behind
    cuts: list[int] = []
    for phrase in tree:
        more, first = _cuts(phrase, first, bounds, cutoff)
        cuts += more
    return cuts, behind


def close_with_lone_token(begins: Bools, token_offsets: Ints) -> Bools:
    """Return the segmentation in which the last token of each row is a macro action of its own, [L].

    The reward of a row lies on it, and is then not mixed with what the other tokens of a macro action earned.
    """
    closed = begins.copy()
    closed[token_offsets[1:][np.diff(token_offsets) > 0] - 1] = True
    return closed


# What rewards and values become --------------------------------------------------------------------------------------


def macro_weights(macros: Macros, how: ValueOf) -> Floats:
    """Return σ of each token, [L], which sums to 1 over each macro action."""
    if how in ("first", "unit"):
        chosen = 0 if how == "first" else macros.lengths[macros.of_token] - 1
        return np.asarray(macros.place == chosen, np.float64)
    weights = np.ones(len(macros.place)) if how == "equal" else 1 / (macros.place + 1.0)
    return weights / macros.sum(weights)[macros.of_token]


def macro_values(macros: Macros, value: Floats, how: ValueOf) -> Floats:
    """Return V of each macro action, the mean of its tokens' values, [L], with the weights σ, [J]."""
    return macros.sum(macro_weights(macros, how) * value)


def macro_rewards(macros: Macros, reward: Floats, gamma: float) -> Floats:
    """Return R of each macro action, the sum of its tokens' rewards, [L], discounted from its first token on, [J]."""
    return macros.sum(gamma**macros.place * reward)
