"""Writes the index of a catalogue: products, identifiers, and the lists that searches read.

Products come one at a time and leave the memory again, so that the million of the original's full files needs no more
of it than the vocabulary and a block of postings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from agentgym.envs.webshop.analysis import terms
from agentgym.envs.webshop.index import FORMAT, VERSION, pack_product
from agentgym.envs.webshop.mapped import TextWriter, encode, new_folder, write_array
from agentgym.envs.webshop.postings import PostingsWriter
from agentgym.envs.webshop.products import Product
from agentgym.envs.webshop.search import document_text, length_code, norms
from agentgym.errors import DataError

__all__ = ["write_index"]

_TERMS: Final = 1 << 12  # lists that are looked through at a time


def write_index(
    target: Path, products: Iterable[tuple[Product, Sequence[str]]], *, name: str, exact_nouns: bool
) -> None:
    """Write an index; ``target`` appears when it is whole, and not at all if anything fails.

    Args:
        target: The folder to make.
        products: Each product with the nouns of its title, in the order of the catalogue.
        name: Of the catalogue; task ids begin with it.
        exact_nouns: Whether the nouns are those of the original's tagger.

    Raises:
        ConfigError: If ``target`` exists.
        DataError: If there are no products, or two have the same identifier.
    """
    with new_folder(target, {"format": FORMAT, "version": VERSION}) as (folder, manifest):
        asins: list[bytes] = []
        filled = 0
        with TextWriter(folder, "products") as records, PostingsWriter(folder, length_code) as postings:
            for product, nouns in products:
                asins.append(encode(product.asin))
                records.add(pack_product(product, nouns))
                found = terms(document_text(product))
                filled += bool(found)
                postings.add(found)
            manifest |= {"name": name, "exact_nouns": exact_nouns, "products": len(asins), "filled": filled}
            manifest |= postings.write()
            _write_peaks(folder, manifest["tokens"] / max(filled, 1))
        if not asins:
            raise DataError("a catalogue must have a product, and this one has none")
        _write_names(folder, asins)


def _write_peaks(folder: Path, mean_length: float) -> None:
    """Write for each term the kind of posting that gets the largest score: what a search may hope for, at most."""
    lists, kinds, counts, lengths = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("lists", "kinds", "counts", "lengths")
    )
    # Whatever the weight of the term, the score rises with this number.
    order = np.argsort(counts.astype(np.float32) * norms(mean_length or 1.0)[lengths], kind="stable")
    place = np.empty(len(order), dtype=kinds.dtype)
    place[order] = np.arange(len(order))
    peaks = np.zeros(len(lists) - 1, dtype=kinds.dtype)
    for start in range(0, len(peaks), _TERMS):  # every list has a posting
        bounds = lists[start : start + _TERMS + 1]
        part = place[kinds[bounds[0] : bounds[-1]]]
        peaks[start : start + _TERMS] = order[np.maximum.reduceat(part, bounds[:-1] - bounds[0])]
    write_array(folder, "peaks", peaks, kinds.dtype.str)


def _write_names(folder: Path, asins: Sequence[bytes]) -> None:
    """Write the identifiers, their order, and the place of each in it."""
    order = np.array(sorted(range(len(asins)), key=asins.__getitem__), dtype=np.int32)
    for first, second in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        if asins[first] == asins[second]:
            raise DataError(f"products {first} and {second} share the identifier {asins[first]!r}")
    with TextWriter(folder, "asins") as writer:
        for asin in asins:
            writer.add(asin)
    write_array(folder, "order", order, "<i4")
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    write_array(folder, "ranks", ranks, "<i4")
