"""Keyword search in the order of the original's engine: BM25 as Lucene computes it, single precision included.

Lucene keeps a document's length in one byte and adds up scores as floats, and Anserini orders equal scores by
identifier. Both decide the order of many results, so they are kept here.

Formulas (Lucene 9, ``k1 = 0.9``, ``b = 0.4``), for a query's term t with count q and a document with count f:

    idf(t) = ln(1 + (N − df + 0.5) / (df + 0.5))
    score  = Σ_t q·idf(t) · (1 − 1 / (1 + f / (k1·(1 − b + b·length / mean length))))
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from agentgym.envs.webshop.analysis import terms
from agentgym.envs.webshop.products import Product

__all__ = ["K1", "B", "KeywordIndex", "document_text", "idf", "length_code", "norms", "term_scores", "top"]

K1: Final = 0.9
B: Final = 0.4

_FLOAT = npt.NDArray[np.float32]


def document_text(product: Product) -> str:
    """Return what is searched of a product: title, description, first bullet point and options."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    first = product.bullet_points[0] if product.bullet_points else ""
    return " ".join((product.title, product.description, first, options)).lower()


def length_code(length: int) -> int:
    """Return the byte in which Lucene keeps a length: exact below 24, then four significant bits.

    Args:
        length: Number of terms of a document, at least 0.
    """
    if length < 24:
        return length
    rest = length - 24
    bits = rest.bit_length()
    if bits < 4:
        return 24 + rest
    shift = bits - 4
    return 24 + (((rest >> shift) & 0x07) | ((shift + 1) << 3))


def _coded_length(code: int) -> int:
    """Return the length that a byte of `length_code` stands for."""
    if code < 24:
        return code
    shift = ((code - 24) >> 3) - 1
    low = (code - 24) & 0x07
    return 24 + (low if shift == -1 else (low | 0x08) << shift)


def norms(mean_length: float) -> _FLOAT:
    """Return what a term's count is multiplied with, float32 [256], by the byte of a document's length.

    Args:
        mean_length: Mean number of terms of a document, greater than 0.
    """
    lengths = np.array([_coded_length(code) for code in range(256)], np.float32)
    k1, b, one = np.float32(K1), np.float32(B), np.float32(1)
    return one / (k1 * ((one - b) + b * lengths / np.float32(mean_length)))


def idf(documents: int, with_term: int) -> np.float32:
    """Return the weight of a term that ``with_term`` of ``documents`` documents hold."""
    return np.float32(math.log(1 + (documents - with_term + 0.5) / (with_term + 0.5)))


def term_scores(weight: np.float32, counts: _FLOAT, norm: _FLOAT) -> npt.NDArray[np.float64]:
    """Return one term's part of the scores, float64 [n].

    Args:
        weight: The term's idf times its count in the query.
        counts: How often each document holds the term, [n].
        norm: The entry of `norms` for each document's length, [n].
    """
    return (weight - weight / (np.float32(1) + counts * norm)).astype(np.float64)


def top(scores: npt.NDArray[np.float32], ranks: npt.NDArray[np.int32], limit: int) -> npt.NDArray[np.int64]:
    """Return the positions of the best scores, best first; equal scores stand in the order of ``ranks``.

    Args:
        scores: Scores, float32 [n].
        ranks: Place of each document among all identifiers in alphabetical order, int32 [n].
        limit: How many to return, at least 1.
    """
    if len(scores) > limit:
        worst = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        kept = np.flatnonzero(scores >= worst)
    else:
        kept = np.arange(len(scores))
    return kept[np.lexsort((ranks[kept], -scores[kept]))][:limit]


class KeywordIndex:
    """An index in memory, over any texts.

    Args:
        documents: The terms of each document, in order.
        names: The identifier of each document; equal scores are ordered by them.
    """

    def __init__(self, documents: Iterable[Sequence[str]], names: Sequence[str]) -> None:
        postings: dict[str, list[tuple[int, int]]] = {}
        lengths = []
        for number, document in enumerate(documents):
            lengths.append(len(document))
            for term, count in Counter(document).items():
                postings.setdefault(term, []).append((number, count))
        self._size = len(lengths)
        filled = sum(length > 0 for length in lengths)
        by_length = norms(sum(lengths) / filled if filled else 1.0)
        norm = by_length[[length_code(length) for length in lengths]]
        table = {}
        for term, found in postings.items():
            where = np.array([number for number, _ in found], np.int32)
            counts = np.array([count for _, count in found], np.float32)
            table[term] = (where, counts, norm[where], idf(filled, len(found)))
        self._table = table
        order = sorted(range(self._size), key=lambda number: names[number])
        self._ranks = np.empty(self._size, np.int32)
        self._ranks[order] = np.arange(self._size, dtype=np.int32)

    def search(self, query: str, limit: int) -> tuple[int, ...]:
        """Return the numbers of the documents that match best, best first.

        Args:
            query: Any text; terms that no document holds do not count.
            limit: How many to return, at least 1.
        """
        total = np.zeros(self._size)
        for term, count in Counter(terms(query)).items():
            entry = self._table.get(term)
            if entry is not None:
                where, counts, norm, weight = entry
                total[where] += term_scores(np.float32(count) * weight, counts, norm)
        found = np.flatnonzero(total)
        best = top(total[found].astype(np.float32), self._ranks[found], limit)
        return tuple(found[best].tolist())
