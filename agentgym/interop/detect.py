"""Which format a file has, told by its columns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agentgym.errors import DataError
from agentgym.interop.imported import Imported, Row, load_pyarrow, read_rows
from agentgym.interop.trl import TRL_COLUMNS, from_trl
from agentgym.interop.verifiers import VERIFIERS_COLUMNS, from_verifiers
from agentgym.interop.verl_agent import VERL_AGENT_COLUMNS, from_verl_agent
from agentgym.storage import SUFFIXES, read_groups

__all__ = ["read_rollouts"]

_FORMATS: tuple[tuple[tuple[str, ...], Callable[[Sequence[Row]], Imported]], ...] = (
    (VERL_AGENT_COLUMNS, from_verl_agent),
    (VERIFIERS_COLUMNS, from_verifiers),
    (TRL_COLUMNS, from_trl),
)
_VERL_DUMP = {"input", "output", "score", "step"}


def read_rollouts(path: str | os.PathLike[str]) -> Imported:
    """Read recorded rollouts: our own file, a run directory, or a file of TRL, verl-agent or verifiers.

    A run directory stands for its recordings in ``rollouts/``: those of training where there are some, else those of
    evaluations, whose groups have one episode each.

    Raises:
        DataError: If there is nothing to read, or the format is none of these; the message names what is missing.
        MissingExtraError: If it is Parquet and pyarrow is absent.
    """
    source = Path(path)
    if source.is_dir():
        return _run(source)
    if not source.exists():
        raise DataError(f"there is no file or run directory {str(source)!r}")
    if _is_ours(source):
        return Imported("agentgym", tuple(read_groups(source)))
    rows = read_rows(source)
    columns = set().union(*rows)
    for needed, read in _FORMATS:
        if columns.issuperset(needed):
            try:
                return read(rows)
            except DataError as error:
                raise DataError(f"{source}: {error}") from error
    have = ", ".join(sorted(map(str, columns))) or "none"
    if columns.issuperset(_VERL_DUMP):
        raise DataError(
            f"{source}: a dump of verl's rollout_data_dir, which does not say which rows are one episode or one group: "
            f"it lacks the columns {', '.join(sorted({*VERL_AGENT_COLUMNS} - columns))} (it has {have})"
        )
    known = "; ".join(f"{read.__name__[5:]}: {', '.join(needed)}" for needed, read in _FORMATS)
    raise DataError(f"{source}: unknown format. It has the columns {have}. Known formats by their columns: {known}")


def _run(folder: Path) -> Imported:
    files = sorted(
        f for f in (folder / "rollouts").glob("*") if f.name.endswith(SUFFIXES) and not f.name.startswith(".")
    )
    chosen = [file for file in files if file.name.startswith("train")] or files
    if not chosen:
        raise DataError(f"{str(folder)!r} holds no recordings: there is nothing in its folder rollouts/")
    groups = tuple(group for file in chosen for group in read_groups(file))
    kind = "training" if chosen[0].name.startswith("train") else "evaluations, whose groups have one episode each"
    return Imported("agentgym", groups, (f"{len(chosen)} recordings of {kind}",))


def _is_ours(path: Path) -> bool:
    if path.name.endswith((".gz", ".xz")):
        return True
    if path.suffix == ".parquet":
        pyarrow = load_pyarrow()
        try:
            return b"agentgym" in (pyarrow.parquet.read_schema(path).metadata or {})
        except pyarrow.ArrowException:
            return False
    try:
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline())
    except ValueError:
        return False
    return isinstance(header, dict) and str(header.get("format", "")).startswith("agentgym")
