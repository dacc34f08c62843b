"""The command ``webshop-index``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from agentgym.cli.console import console
from agentgym.envs.webshop.index import MappedCatalogue
from agentgym.envs.webshop.indexing import NOUNS, build_index
from agentgym.envs.webshop.nouns import GET_TAGGER
from agentgym.errors import unknown_name

__all__ = ["webshop_index"]


def webshop_index(
    source: Annotated[Path, typer.Argument(help="WebShop's folder data, or a products file in it.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to make; by default index, beside the products file.")
    ] = None,
    nouns: Annotated[
        str, typer.Option(help="Who finds the nouns of titles: auto, tagger (spaCy) or plain (a list of words).")
    ] = "auto",
    model: Annotated[
        str | None,
        typer.Option(help="spaCy model that tags, a package or a folder; by default its small English one."),
    ] = None,
) -> None:
    """Index a whole WebShop catalogue once, for environments that share it from disk."""
    if nouns not in NOUNS:
        raise unknown_name("way to find nouns", nouns, NOUNS)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} products"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("products", total=None)
        place = build_index(
            source, output, nouns=nouns, model=model, progress=lambda done: progress.update(task, completed=done)
        )
    catalogue = MappedCatalogue(place)
    size = sum(path.stat().st_size for path in place.iterdir())
    console.print(f"{place}: {len(catalogue):,} products, {size / 1e6:,.0f} MB")
    if not catalogue.exact_nouns:
        console.print(
            "note: not all nouns of titles are those of spaCy 3.8's small English model, so rewards are near the "
            f"original's, not equal; {GET_TAGGER}"
        )
