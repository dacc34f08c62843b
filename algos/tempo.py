"""TEMPO: GRPO, and at every fork of the group's episodes the change of the mean outcome.

Paper: Exploiting Tree Structure for Credit Assignment in RL Training of LLMs (prefix-to-tree, TEMPO), arXiv 2509.18314.
It was withdrawn from a venue after critical reviews; its authors have released no code that we know of.

    V(s) = mean { Rⱼ : episode j passes through s }                s: what all of them share up to there
    Aᵢₜ  = [ (Rᵢ - mean_j Rⱼ) + V(sᵢ,ₜ₊₁) - V(sᵢₜ) ] / F          F = std_j Rⱼ + ε, or 1

Episodes of a group are merged where they begin alike; nothing is sampled for it, and nothing learned. Where no episode
takes another way, V does not change and the second term is literally 0, so TEMPO is GRPO there.

Notation (paper → name): G → group_size; r → the undiscounted return after shaping; std → ``std`` and ``eps``; the first
term → component ``episode``; the second → component ``tree``.

Deviations, beside those of ``grpo``:
    1. The paper has one response for each prompt. An agent's path goes on through observations, which are entries of
       the tree like tokens (our reading). Where episodes part because the world did, what V changes by is chance or
       other tasks, nobody's merit: no decision gets it. So along an episode the differences of its decisions and
       those of the world together sum to Rᵢ - mean, if episodes that went exactly alike were rewarded alike, else to
       V of the end less the mean.
    2. Every response has an end marker, truncated ones included, and so has every episode: one that is the beginning of
       another still has an end of its own. The policy's own end token is an entry before that. Where responses lack
       it, the marker's difference goes to no token, as no token stands for the choice to stop.
    3. ``key`` says what episodes share: equal response tokens and observations (the paper's, and the only one with an
       advantage for each token), equal actions and observations, or equal actions whatever was seen.
    4. We read that both terms are divided by the standard deviation of the group's rewards, from the paper's abstract
       and a public review; which one of the two estimates it is we have not found, so it is GRPO's. Values over
       normalised rewards, as some summaries have them, differ by the same.
    5. Statistics are over episodes; there is no ``base="rows"``, as the root's value is the mean over episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from agentgym.algos.base import AlgorithmConfig
from agentgym.algos.functional.statistics import divisors
from agentgym.algos.functional.trie import Trie, build_trie
from agentgym.algos.grpo import GRPO, GRPOConfig, Ints, episode_diagnostics
from agentgym.batch import Credit, StepBatch, encode
from agentgym.errors import AlgorithmError

__all__ = ["TEMPO", "Key", "Paths", "TEMPOConfig", "paths"]

Key = Literal["token", "step", "action"]


class TEMPOConfig(GRPOConfig):
    """Settings of TEMPO."""

    key: Key = "token"
    """What episodes share where they are merged: response tokens and observations ("token"), actions and observations
    ("step"), or actions alone ("action"). The last two give one advantage for each row."""
    base: Literal["episodes"] = "episodes"
    """Mean and standard deviation count each episode once."""


@dataclass(frozen=True, eq=False)
class Paths:
    """Episodes as sequences of entries: what was seen, what was answered, and ends.

    Attributes:
        symbols: The sequences one after the other; equal where the entries are, [N].
        lengths: Number of entries of each episode, [E].
        first: A row of each episode, [E].
        at: Where each response token (key "token") or row stands in ``symbols``, [L] or [R].
    """

    symbols: Ints
    lengths: Ints
    first: Ints
    at: Ints


def paths(batch: StepBatch, key: Key) -> Paths:
    """Lay episodes out as sequences.

    A row is its observation, its response and an end marker; behind its last row an episode has an end marker too.

    Args:
        batch: Whole episodes.
        key: What a response is: its tokens, or its action as one entry, see ``TEMPOConfig.key``.

    Raises:
        AlgorithmError: If actions are needed and the batch dropped its texts.
    """
    if key == "token":
        answers, offsets = batch.token_ids, batch.token_offsets
    elif batch.actions is None:
        raise AlgorithmError(f"key={key!r} compares actions, but this batch dropped its texts; use key='token'")
    else:
        answers, offsets = encode(batch.actions), np.arange(len(batch) + 1)
    seen = np.zeros(len(batch), np.int64) if key == "action" else batch.anchor
    order = np.lexsort((batch.t, batch.episode))
    episode, sizes = batch.episode[order], np.diff(offsets)[order]
    last = np.append(episode[1:] != episode[:-1], True)[: len(order)]
    ends = np.cumsum(sizes + 2 + last)
    starts = ends - (sizes + 2 + last)
    symbols = np.empty(ends[-1] if len(ends) else 0, np.int64)
    # Three kinds of entries, so that none of one kind equals one of another; the ends are 2, and 5 behind an episode.
    symbols[starts] = 3 * seen[order]
    symbols[starts + 1 + sizes] = 2
    symbols[ends[last] - 1] = 5
    place = np.empty(len(order), np.int64)
    place[order] = starts + 1
    own = np.diff(offsets)
    at = np.repeat(place - offsets[:-1], own) + np.arange(len(answers))
    symbols[at] = 3 * answers + 1
    begins = np.append(True, last[:-1])[: len(order)]
    return Paths(symbols, np.diff(starts[begins], append=len(symbols)), order[begins], at)


class TEMPO(GRPO):
    """GRPO with the changes of mean outcome at the forks of a group.

    >>> from agentgym.testing import make_batch
    >>> tokens = [7, 1, 7, 2, 8, 3, 8, 4]
    >>> batch = make_batch(
    ...     group=[0] * 4, episode=[0, 1, 2, 3], t=[0] * 4, anchor=[0] * 4, reward=[1, 0, 0, 0],
    ...     token_offsets=[0, 2, 4, 6, 8], token_ids=tokens, logprobs=[0.0] * 8,
    ... )
    >>> TEMPO(std=None).credit(batch).components["tree"].tolist()
    [0.25, 0.5, 0.25, -0.5, -0.25, 0.0, -0.25, 0.0]
    """

    config_class: ClassVar[type[AlgorithmConfig]] = TEMPOConfig
    config: TEMPOConfig
    laws: ClassVar[frozenset[str]] = GRPO.laws | {"telescoping", "branch-gate"}

    def _merged(self, batch: StepBatch) -> tuple[Paths, Trie]:
        laid = paths(batch, self.config.key)
        outcomes = self.score(batch)[laid.first]
        return laid, build_trie(laid.symbols, laid.lengths, batch.group[laid.first], outcomes)

    def zero_sum_units(self, batch: StepBatch) -> Mapping[str, npt.NDArray[np.int64]]:
        """Return the units of the outcome, one entry an episode, and of the tree: the node that entries fork from.

        A node counts where each episode through it goes on with a decision; a group where each has a token to hold its
        outcome.
        """
        laid, trie = self._merged(batch)
        before = trie.codes[laid.at - 1]  # what was seen stands before every answer
        going_on = np.bincount(before, minlength=int(trie.codes.max(initial=-1)) + 1)[before]
        tree = np.where(going_on == trie.sizes[laid.at - 1], before, -1)
        if self.config.key != "token":
            return {**super().zero_sum_units(batch), "tree": tree}
        return {"episode": _one_token_each(batch, laid), "tree": tree}

    def credit(self, batch: StepBatch) -> Credit:
        """Return the group-relative return and the differences of value; components ``episode`` and ``tree``.

        Level "token" with ``key="token"``, else "row".

        Raises:
            AlgorithmError: If actions are compared and the batch dropped its texts.
        """
        outcome, groups = self.relative(self.score(batch), batch)
        laid, trie = self._merged(batch)
        row = np.arange(len(batch))
        level: Literal["row", "token"] = "row"
        if self.config.key == "token":
            row, level = np.repeat(row, np.diff(batch.token_offsets)), "token"
        _, group = np.unique(batch.group, return_inverse=True)
        divisor = divisors(groups, std=self.config.std, eps=self.config.eps)[group][row]
        components = {
            "episode": outcome[row].astype(np.float32),
            "tree": (trie.differences[laid.at] / divisor).astype(np.float32),
        }
        advantage = components["episode"] + components["tree"]
        diagnostics = {**episode_diagnostics(groups, advantage), **_diagnostics(laid, trie)}
        return Credit(advantage, components, diagnostics, level)


def _one_token_each(batch: StepBatch, laid: Paths) -> Ints:
    """Return the group on the first response token of each episode, -1 elsewhere and where an episode has none, [L]."""
    row = np.repeat(np.arange(len(batch)), np.diff(batch.token_offsets))
    order = np.lexsort((laid.at, batch.episode[row]))
    episode = batch.episode[row][order]
    first = order[np.append(True, episode[1:] != episode[:-1])[: len(order)]]
    silent = batch.group[~np.isin(batch.episode, episode)]
    group = batch.group[row[first]]
    units = np.full(len(row), -1, np.int64)
    units[first] = np.where(np.isin(group, silent), -1, group)
    return units


def _diagnostics(laid: Paths, trie: Trie) -> dict[str, float]:
    """Return the share of credited entries before which episodes fork, and of the differences that no decision gets."""
    if not len(laid.at):
        return {}
    moved = np.abs(trie.differences)
    total = moved.sum()
    return {
        "branch_share": float(trie.branching[laid.at].mean()),
        "masked_share": float(1 - moved[laid.at].sum() / total) if total else 0.0,
    }
