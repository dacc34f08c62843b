"""Builds the inverted lists of a large catalogue in bounded memory: which products hold a term, and how often.

Documents come one at a time. What they hold is written to scratch files in order of documents, and then put in order of
terms, a block at a time: each block is sorted in memory and its parts are copied to where their lists stand. Memory
is that of the vocabulary and one block, whatever the number of documents.
"""

from __future__ import annotations

import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agentgym.envs.webshop.mapped import TextWriter, encode, write_array

__all__ = ["PostingsWriter"]

BLOCK: Final = 1 << 22
"""Postings that are sorted in memory at a time."""


class PostingsWriter:
    """Collect the terms of documents; `write` writes the inverted lists. A context manager, which closes scratch files.

    What is written, with T terms, N documents, P postings and K kinds of them:

    - ``terms``: the terms, sorted by their bytes;
    - ``lists`` ``int64 [T + 1]``: the postings of term t lie from ``lists[t]`` to ``lists[t + 1]``;
    - ``documents`` ``int32 [P]``: their documents, ascending within a list;
    - ``kinds`` ``uint16`` or ``uint32 [P]``: their kinds;
    - ``counts`` and ``lengths`` ``int64 [K]``: what a kind is: how often the term occurs in the document, and how many
      terms the document has, as it is stored. A score depends on nothing else, so it is computed once for each kind.

    Args:
        folder: Where the files go; a folder ``scratch`` is made in it and removed.
        stored_length: The length that scores read, from the number of terms of a document.
    """

    def __init__(self, folder: Path, stored_length: Callable[[int], int]) -> None:
        self._folder, self._scratch = folder, folder / "scratch"
        self._scratch.mkdir()
        self._vocabulary: dict[str, int] = {}
        self._files = {name: (self._scratch / name).open("wb") for name in ("term", "document", "count")}
        self._terms, self._documents, self._counts = array("i"), array("i"), array("i")
        self._stored_length = stored_length
        self._lengths = array("q")
        self._tokens = 0
        self._postings = 0

    def add(self, terms: Sequence[str]) -> None:
        """Add the next document.

        Args:
            terms: Its terms as the analysis gives them, repeated ones included.
        """
        document, vocabulary = len(self._lengths), self._vocabulary
        found = Counter(terms)
        self._terms.extend([vocabulary.setdefault(term, len(vocabulary)) for term in found])
        self._documents.extend([document] * len(found))
        self._counts.extend(found.values())
        self._lengths.append(self._stored_length(len(terms)))
        self._tokens += len(terms)
        if len(self._terms) >= BLOCK:
            self._flush()

    def _flush(self) -> None:
        self._postings += len(self._terms)
        for name, values in (("term", self._terms), ("document", self._documents), ("count", self._counts)):
            values.tofile(self._files[name])
            del values[:]

    def __enter__(self) -> PostingsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def write(self) -> dict[str, int]:
        """Write the inverted lists, after the last document, and return what they hold, for the manifest."""
        self._flush()
        for file in self._files.values():
            file.flush()
        lengths = np.asarray(self._lengths, dtype=np.int64)
        rank = self._write_terms()
        kinds, totals = self._survey(lengths, len(rank))
        starts = np.zeros(len(rank) + 1, dtype=np.int64)
        np.cumsum(totals[np.argsort(rank, kind="stable")], out=starts[1:])
        write_array(self._folder, "lists", starts, "<i8")
        write_array(self._folder, "counts", kinds >> 32, "<i8")
        write_array(self._folder, "lengths", kinds & 0xFFFFFFFF, "<i8")
        self._scatter(lengths, rank, starts, kinds)
        shutil.rmtree(self._scratch)
        return {"terms": len(rank), "postings": self._postings, "tokens": self._tokens}

    def _write_terms(self) -> npt.NDArray[np.int64]:
        """Write the terms in order; return the place of each in that order, by the number it has had so far."""
        sorted_terms = sorted((encode(term), number) for term, number in self._vocabulary.items())
        self._vocabulary.clear()
        rank = np.empty(len(sorted_terms), dtype=np.int64)
        with TextWriter(self._folder, "terms") as writer:
            for place, (term, number) in enumerate(sorted_terms):
                writer.add(term)
                rank[number] = place
        return rank

    def _blocks(self) -> Iterator[tuple[npt.NDArray[np.int32], ...]]:
        """Yield terms, documents and counts of the postings, a block at a time, in order of documents."""
        with ExitStack() as stack:
            files = [stack.enter_context((self._scratch / name).open("rb")) for name in ("term", "document", "count")]
            for _ in range(0, self._postings, BLOCK):
                yield tuple(np.fromfile(file, dtype=np.int32, count=BLOCK) for file in files)

    def _survey(
        self, lengths: npt.NDArray[np.int64], terms: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the kinds of postings that occur, as count · 2³² + length, and the number of postings of each term."""
        totals = np.zeros(terms, dtype=np.int64)
        kinds = np.zeros(0, dtype=np.int64)
        for term, document, count in self._blocks():
            totals += np.bincount(term, minlength=terms)
            kinds = np.union1d(kinds, _kind(count, lengths[document]))
        return kinds, totals

    def _scatter(
        self,
        lengths: npt.NDArray[np.int64],
        rank: npt.NDArray[np.int64],
        starts: npt.NDArray[np.int64],
        kinds: npt.NDArray[np.int64],
    ) -> None:
        """Copy every posting to its list."""
        small = len(kinds) <= 1 << 16
        documents = self._output("documents", "<i4")
        codes = self._output("kinds", "<u2" if small else "<u4")
        free = starts[:-1].copy()  # where the next posting of each term goes
        for term, document, count in self._blocks():
            place = rank[term]
            order = np.argsort(place, kind="stable")  # documents stay ascending within a term
            place = place[order]
            first = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
            run = np.diff(np.r_[first, len(place)])
            target = np.repeat(free[place[first]] - first, run) + np.arange(len(place))
            free[place[first]] += run
            documents[target] = document[order]
            codes[target] = np.searchsorted(kinds, _kind(count, lengths[document]))[order]
        for mapped in (documents, codes):
            if isinstance(mapped, np.memmap):
                mapped.flush()

    def _output(self, name: str, dtype: str) -> npt.NDArray[Any]:
        path = self._folder / f"{name}.npy"
        if not self._postings:  # an empty array cannot be mapped
            write_array(self._folder, name, [], dtype)
            return np.empty(0, dtype=dtype)
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(self._postings,))


def _kind(count: npt.NDArray[np.int32], length: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return (count.astype(np.int64) << 32) | length
