"""Recorded groups in files: JSONL, plain or compressed, and Parquet.

Both formats hold the same: a header (format, schema version, package version, environment, contexts, group ids, number
of episodes) and the episodes. JSONL has the header in its first line, with a checksum of the rest, and one line per
episode. Parquet has the header under the key ``agentgym`` of the schema metadata and one row per step with the
episode's fields repeated, which compresses to next to nothing; an episode without steps is one row whose ``t`` is null.

Schema 2 added ``node`` to the steps, for groups that are trees; files of schema 1 are read as groups that are none.

What is written comes back equal: floats to the last bit, any text, lone surrogates included. No pickle is involved.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from agentgym.episodes import Episode, Group, Step
from agentgym.errors import DataError, RecorderError, missing_extra

__all__ = ["SCHEMA_VERSION", "SUFFIXES", "read_groups", "read_header", "write_groups"]

SCHEMA_VERSION = 2
_READABLE = (1, 2)
_SINCE_SCHEMA_2 = frozenset({"node"})
_FORMAT = "agentgym.groups"
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet")
"""How the names of recordings end, and so in what format they are."""

_STEP_FIELDS = tuple(f.name for f in dataclasses.fields(Step))
_EPISODE_FIELDS = tuple(f.name for f in dataclasses.fields(Episode) if f.name != "steps")
_TUPLES = ("prompt_ids", "response_ids", "logprobs", "allowed_ids")

StrPath = str | os.PathLike[str]


def write_groups(path: StrPath, groups: Iterable[Group], *, env_id: str | None = None) -> None:
    """Write groups to ``path``, in the format of its suffix; a file of that name is replaced in one move.

    Args:
        path: Ends in ``.jsonl``, ``.jsonl.gz``, ``.jsonl.xz`` or ``.parquet``; missing folders are made.
        groups: What ``Recorder.groups`` or ``GroupRecorder.groups`` returned.
        env_id: Id of the environment, for the header.

    Raises:
        DataError: If the suffix is unknown, or a value does not fit the format.
        MissingExtraError: If Parquet is asked for and pyarrow is absent.
    """
    target = Path(path)
    kind = _kind(target)
    groups = list(groups)
    try:
        if kind == ".parquet":
            data = _to_parquet(groups, _header(groups, env_id), _pyarrow())
        else:
            data = _COMPRESS[kind](_to_jsonl(groups, _header(groups, env_id)))
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"cannot write {target}: {error}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_groups(path: StrPath) -> list[Group]:
    """Read what ``write_groups`` wrote.

    Raises:
        DataError: If the file is truncated, altered, foreign or of another schema version; the message names file and
            reason.
        FileNotFoundError: If there is no such file.
        MissingExtraError: If it is Parquet and pyarrow is absent.
    """
    header, rows = _read(Path(path))
    try:
        episodes = [(index, _episode(fields, steps)) for index, fields, steps in rows]
        if len(episodes) != header["episodes"]:
            raise ValueError(f"{len(episodes)} episodes where the header says {header['episodes']}")
        members: list[list[Episode]] = [[] for _ in header["groups"]]
        for index, episode in episodes:
            members[index].append(episode)
        return [Group(name, tuple(found)) for name, found in zip(header["groups"], members, strict=True)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecorderError) as error:
        raise DataError(f"{path}: its content does not fit schema {header['schema']}: {_reason(error)}") from error


def read_header(path: StrPath) -> dict[str, Any]:
    """Return the header of a file that ``write_groups`` wrote: versions, environment, contexts, group ids.

    Raises:
        DataError: As for ``read_groups``.
    """
    return _read(Path(path))[0]


# What both formats share ----------------------------------------------------------------------------------------------

_Row = tuple[int, dict[str, Any], list[dict[str, Any]]]


def _kind(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise DataError(f"{path}: unknown suffix; groups are kept in {', '.join(SUFFIXES)}")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _header(groups: Sequence[Group], env_id: str | None) -> dict[str, Any]:
    episodes = [episode for group in groups for episode in group.episodes]
    return {
        "format": _FORMAT,
        "schema": SCHEMA_VERSION,
        "package": sys.modules["agentgym"].__version__,  # not imported: the package itself stands above every floor
        "env_id": env_id,
        "contexts": sorted({episode.context for episode in episodes if episode.context is not None}),
        "groups": [group.id for group in groups],
        "episodes": len(episodes),
    }


def _check_header(path: Path, header: Any) -> dict[str, Any]:
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise DataError(f"{path}: not a file of agentgym groups")
    if header.get("schema") not in _READABLE:
        readable = " and ".join(map(str, _READABLE))
        raise DataError(
            f"{path}: written with schema {header.get('schema')!r} by agentgym-sdk {header.get('package')!r}; "
            f"this version reads schemas {readable}. Read it with that version of agentgym-sdk."
        )
    return header


def _read(path: Path) -> tuple[dict[str, Any], list[_Row]]:
    kind = _kind(path)
    data = path.read_bytes()
    if kind == ".parquet":
        return _from_parquet(path, data, _pyarrow())
    try:
        text = _DECOMPRESS[kind](data)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: truncated or not a {kind} file: {_reason(error)}") from error
    return _from_jsonl(path, text)


def _episode(fields: dict[str, Any], steps: list[dict[str, Any]]) -> Episode:
    made = []
    for step in steps:
        for name in _TUPLES:
            if step[name] is not None:
                step[name] = _tuples(step[name])
        made.append(Step(**step))
    return Episode(**fields, steps=tuple(made))


def _tuples(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuples(value) if isinstance(value, list) else value for value in values)


def _step_values(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in _STEP_FIELDS}


def _episode_values(episode: Episode) -> dict[str, Any]:
    return {name: getattr(episode, name) for name in _EPISODE_FIELDS}


# JSONL ----------------------------------------------------------------------------------------------------------------

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": bytes,
    ".jsonl.gz": lambda data: gzip.compress(data, mtime=0),  # no time stamp: equal groups give equal files
    ".jsonl.xz": lzma.compress,
}
_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": bytes,
    ".jsonl.gz": gzip.decompress,
    ".jsonl.xz": lzma.decompress,
}


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def _to_jsonl(groups: Sequence[Group], header: dict[str, Any]) -> bytes:
    # ASCII escapes keep lone surrogates, and repr gives every float back to the bit.
    lines = [
        json.dumps({"group_index": index, **_episode_values(e), "steps": [_step_values(step) for step in e.steps]})
        + "\n"
        for index, group in enumerate(groups)
        for e in group.episodes
    ]
    body = "".join(lines).encode("ascii")
    return json.dumps({**header, "blake2b": _digest(body)}).encode("ascii") + b"\n" + body


def _from_jsonl(path: Path, data: bytes) -> tuple[dict[str, Any], list[_Row]]:
    first, _, body = data.partition(b"\n")
    try:
        header = json.loads(first)
    except ValueError as error:
        raise DataError(f"{path}: not a file of agentgym groups: its first line is not JSON") from error
    header = _check_header(path, header)
    if _digest(body) != header.get("blake2b"):
        found = body.count(b"\n")
        raise DataError(
            f"{path}: truncated or altered: {found} of {header.get('episodes')} episodes, and the checksum differs"
        )
    rows = []
    for line in body.splitlines():
        fields = json.loads(line)
        rows.append((fields.pop("group_index"), fields, fields.pop("steps")))
    return header, rows


# Parquet --------------------------------------------------------------------------------------------------------------


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "data", "reading and writing Parquet") from error
    return pyarrow


def _column_types(pa: Any) -> dict[str, Any]:
    text, flag, number, integer = pa.string(), pa.bool_(), pa.float64(), pa.int64()
    return {
        "group_index": integer,
        **dict.fromkeys(
            ("group", "task_id", "task_type", "goal", "end", "fault", "final_observation", "context"), text
        ),
        **dict.fromkeys(("index", "seed", "t", "node"), integer),
        **dict.fromkeys(("observation", "action", "response", "obs_hash", "state_hash"), text),
        **dict.fromkeys(("won", "terminated", "truncated", "valid", "format_ok"), flag),
        **dict.fromkeys(("score", "reward", "shaped_reward"), number),
        **dict.fromkeys(("prompt_ids", "response_ids"), pa.list_(integer)),
        "logprobs": pa.list_(number),
        "allowed_ids": pa.list_(pa.list_(integer)),
    }


def _to_parquet(groups: Sequence[Group], header: dict[str, Any], pa: Any) -> bytes:
    rows: list[dict[str, Any]] = []
    for group_index, group in enumerate(groups):
        for episode in group.episodes:
            common = {"group_index": group_index, **_episode_values(episode)}
            rows += [{**common, "t": t, **_step_values(step)} for t, step in enumerate(episode.steps)]
            if not episode.steps:
                rows.append(common)
    columns = {}
    for name, kind in _column_types(pa).items():
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values, kind)
        except UnicodeEncodeError:
            # A lone surrogate has no UTF-8; only then does the column hold bytes.
            encoded = [None if v is None else v.encode("utf-8", "surrogatepass") for v in values]
            columns[name] = pa.array(encoded, pa.binary())
    text = json.dumps(header).encode("ascii")
    # Parquet checks its pages, but not the metadata.
    table = pa.table(columns).replace_schema_metadata({"agentgym": text, "agentgym_blake2b": _digest(text)})
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _from_parquet(path: Path, data: bytes, pa: Any) -> tuple[dict[str, Any], list[_Row]]:
    try:
        table = pa.parquet.read_table(io.BytesIO(data), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: truncated or not a Parquet file: {_reason(error)}") from error
    metadata = table.schema.metadata or {}
    text = metadata.get(b"agentgym", b"null")
    if metadata.get(b"agentgym_blake2b", b"").decode("latin-1") != _digest(text):
        raise DataError(f"{path}: not a file of agentgym groups, or altered: its header has no valid checksum")
    header = _check_header(path, json.loads(text))
    kinds = _column_types(pa)
    for name in _SINCE_SCHEMA_2 if header["schema"] == 1 else ():
        del kinds[name]
    for name, kind in kinds.items():
        field = table.schema.field(name) if name in table.column_names else None
        if (
            field is None
            or not field.nullable
            or field.type not in ((kind, pa.binary()) if kind == pa.string() else (kind,))
        ):
            raise DataError(f"{path}: the column {name!r} is {field and field.type}; it must be {kind}")
    rows: list[_Row] = []
    for row in table.to_pylist():
        row = {k: v.decode("utf-8", "surrogatepass") if isinstance(v, bytes) else v for k, v in row.items()}
        if not row["t"]:  # 0 or null: a new episode
            rows.append((row["group_index"], {name: row[name] for name in _EPISODE_FIELDS}, []))
        if row["t"] is not None:
            rows[-1][2].append({name: row.get(name) for name in _STEP_FIELDS})
    return header, rows
