"""Where games come from: packed lines, the original folder tree, or the built-in generator.

An index of real games is read once per process and shared by all environments; a game is parsed when it is first
played. Compiled games are shared too, the last ones played being kept.
"""

import lzma
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from agentgym.envs.alfworld.engine import World
from agentgym.envs.alfworld.game import TASK_TYPES, Game
from agentgym.envs.alfworld.generator import SPLITS, BuiltinGames, GeneratorConfig
from agentgym.envs.alfworld.pddl import MAX_GAME_BYTES, game_from_record, game_from_tree, load_json
from agentgym.errors import ConfigError, GameFileError, TaskNotFoundError, suggest, unknown_name

__all__ = ["Games", "RealGames", "find_folder", "open_games", "source_text", "world_of"]

GET_REAL_GAMES: Final = (
    "To get the real games: pip install 'agentgym-sdk[alfworld]', run alfworld-download, and set ALFWORLD_DATA to its "
    "folder (~/.cache/alfworld unless it was set before)."
)
_GAME_FILE: Final = "game.tw-pddl"
_MAX_TOTAL_BYTES: Final = 1 << 30
_MAX_FILE_BYTES: Final = 1 << 28
_XZ_MEMORY: Final = 1 << 28
_CHUNK: Final = 1 << 18
_TAIL: Final = 1 << 14
_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]{1,300})"')
_SOLVABLE = re.compile(rb'"solvable"\s*:\s*true')


class Games(ABC):
    """Games of one split, from one source.

    Attributes:
        ids: Ids of all games; None where they are endless.
    """

    ids: tuple[str, ...] | None

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> str:
        """Return the id of a game, each as likely as the others."""

    @abstractmethod
    def load(self, task_id: str) -> Game:
        """Return the game of this id.

        Raises:
            TaskNotFoundError: If there is none.
            GameFileError: If its file cannot be played.
        """


@lru_cache(maxsize=128)
def world_of(games: Games, task_id: str) -> World:
    """Return a compiled game, the same object for every environment that plays it."""
    return World(games.load(task_id))


class _Builtin(Games):
    """The generator's games, endless."""

    ids = None

    def __init__(self, games: BuiltinGames) -> None:
        self._games = games

    def draw(self, rng: np.random.Generator) -> str:
        return self._games.draw(rng)

    def load(self, task_id: str) -> Game:
        return self._games.load(task_id)


class _Entry(NamedTuple):
    """Where a real game lies: a line kept compressed in memory, or a file."""

    where: str
    line: bytes | None


class RealGames(Games):
    """The real games of one split.

    Args:
        entries: Id and place of each game.
        task_types: Task types to keep.
        origin: Folder or file they come from, for messages.
    """

    ids: tuple[str, ...]

    def __init__(self, entries: dict[str, _Entry], task_types: Sequence[str], origin: str) -> None:
        wanted = frozenset(task_types)
        self._entries = {name: entry for name, entry in entries.items() if name.split("/")[-2].split("-")[0] in wanted}
        self.origin = origin
        self.ids = tuple(self._entries)
        if not self.ids:
            raise ConfigError(f"{origin} holds no game of the task types {', '.join(task_types)}")

    def draw(self, rng: np.random.Generator) -> str:
        """Return the id of a game, each as likely as the others."""
        return self.ids[int(rng.integers(len(self.ids)))]

    def load(self, task_id: str) -> Game:
        """Parse the game of this id."""
        record, where = self.record(task_id)
        if self._entries[task_id].line is None:
            return game_from_tree(record, where, task_id)
        return game_from_record(record, where)

    def record(self, task_id: str) -> tuple[dict[str, Any], str]:
        """Return the JSON of a game, and the place errors name.

        Raises:
            TaskNotFoundError: If there is no such game here.
        """
        entry = self._entries.get(task_id)
        if entry is None:
            raise TaskNotFoundError(f"no task {task_id!r} in {self.origin}. {suggest(task_id, self.ids)}".rstrip())
        if entry.line is not None:
            return load_json(zlib.decompress(entry.line), entry.where), entry.where
        return load_json(_read(Path(entry.where)), entry.where), entry.where


def open_games(
    split: str = "train",
    data: str | os.PathLike[str] | None = None,
    task_types: Sequence[str] | None = None,
    difficulty: str | GeneratorConfig = "default",
) -> Games:
    """Find the games of a split.

    Args:
        split: ``train``, ``valid_seen``, ``valid_unseen`` or ``valid_train``.
        data: ``"builtin"``; or a folder or file of real games; or None for the real games that ``AGENTGYM_DATA`` or
            ``ALFWORLD_DATA`` name, and the built-in ones where they name none.
        task_types: Task types to keep; None keeps all six.
        difficulty: Preset or configuration of the built-in games.

    Raises:
        ConfigError: If a name is unknown, or the split is not among the real games.
        GameFileError: If an archive of games is truncated or foreign.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if isinstance(task_types, str):
        raise ConfigError(
            f"task_types must be a sequence of names, not the text {task_types!r}; write [{task_types!r}]"
        )
    for name in task_types or ():
        if name not in TASK_TYPES:
            raise unknown_name("task type", name, TASK_TYPES)
    folder = find_folder(data)
    if folder is None:
        return _builtin(split, difficulty, None if task_types is None else tuple(task_types))
    if difficulty != "default":
        raise ConfigError(f"difficulty={difficulty!r} is for built-in games, and data={str(folder)!r} names real ones")
    return _real(split, folder, TASK_TYPES if task_types is None else tuple(task_types))


@lru_cache(maxsize=64)
def _builtin(split: str, difficulty: str | GeneratorConfig, task_types: tuple[str, ...] | None) -> Games:
    games = BuiltinGames(split, difficulty)
    if task_types is not None:
        games = BuiltinGames(split, replace(games.config, task_types=task_types))
    return _Builtin(games)


def find_folder(data: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder or file of real games that ``data`` means, None for the built-in ones.

    Raises:
        ConfigError: If ``data`` names a place that does not exist.
    """
    if data == "builtin":
        return None
    if data is not None:
        folder = Path(data).expanduser()
        if not folder.exists():
            raise ConfigError(
                f"data={str(data)!r} does not exist; name a folder of real games, or 'builtin'. {GET_REAL_GAMES}"
            )
        return folder
    for variable in ("AGENTGYM_DATA", "ALFWORLD_DATA"):
        folder = Path(os.environ.get(variable, "") or os.devnull).expanduser()
        if any(_locate(split, folder) for split in SPLITS):
            return folder
    return None


def source_text(data: str | os.PathLike[str] | None = None) -> str:
    """Say in a sentence or two which games are in use, and how to get the real ones."""
    folder = find_folder(data)
    if folder is None:
        return f"built-in games (task ids builtin/...), endless, made by agentgym. {GET_REAL_GAMES}"
    splits = [split for split in SPLITS if _locate(split, folder)]
    return f"real ALFWorld games from {folder} (splits: {', '.join(splits) or 'as named by the folder'})"


def _locate(split: str, folder: Path) -> Path | None:
    """Return the archive or the folder of one split, whichever level of the data ``folder`` is."""
    if folder.is_file():
        return folder if folder.name in (f"{split}.jsonl.xz", _GAME_FILE) else None
    if not folder.is_dir():
        return None
    for candidate in (folder / f"{split}.jsonl.xz", folder / "alfworld" / f"{split}.jsonl.xz"):
        if candidate.is_file():
            return candidate
    candidates = [folder / split, *(inner / split for inner in sorted(folder.glob("json_2*")))]
    if folder.name == split:
        candidates.insert(0, folder)
    for candidate in candidates:
        if candidate.is_dir() and next(candidate.glob(f"*/*/{_GAME_FILE}"), None):
            return candidate
    # A task's or a trial's own folder: its games are what they are, their ids name their split.
    if folder.name not in SPLITS and any(
        next(folder.glob(pattern), None) for pattern in (_GAME_FILE, f"*/{_GAME_FILE}")
    ):
        return folder
    return None


@lru_cache(maxsize=64)
def _real(split: str, folder: Path, task_types: tuple[str, ...]) -> RealGames:
    place = _locate(split, folder)
    if place is None:
        here = [name for name in SPLITS if _locate(name, folder)]
        raise ConfigError(
            f"no real games of split {split!r} in {folder}; there are: {', '.join(here) or 'none'}. "
            f"{GET_REAL_GAMES} data='builtin' plays built-in games instead."
        )
    if place.suffix == ".xz":
        return RealGames(_packed(place), task_types, str(place))
    return RealGames(_tree(place), task_types, str(place))


# Archives -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _packed(path: Path) -> dict[str, _Entry]:
    """Index an archive of one JSON object a line; lines stay compressed one by one, a tenth of their size."""
    entries: dict[str, _Entry] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        match = _ID.match(line)
        name = match[1].decode("utf-8", "replace") if match else load_json(line, where).get("id")
        if not isinstance(name, str) or name.count("/") < 2:
            raise GameFileError(f"{where} is not a game of ALFWorld: its id is {name!r}, not split/task/trial")
        if name in entries:
            raise GameFileError(f"{where} has the same id as {entries[name].where}: {name}")
        entries[name] = _Entry(where, zlib.compress(line, 1))
    return entries


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of an xz archive; what never ends, line or archive, is refused before it fills the memory."""
    rest, total = b"", 0
    for chunk in _decompress(path):
        total += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_GAME_BYTES or total > _MAX_TOTAL_BYTES:
            raise GameFileError(
                f"{path} is no archive of ALFWorld games: a line has at most {MAX_GAME_BYTES:,} bytes and all of it "
                f"{_MAX_TOTAL_BYTES:,}, unpacked"
            )
        yield from lines
    yield rest


def _decompress(path: Path) -> Iterator[bytes]:
    unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    try:
        with path.open("rb") as file:
            while not unpack.eof:
                packed = file.read(_CHUNK) if unpack.needs_input else b""
                if unpack.needs_input and not packed:
                    raise GameFileError(f"{path} is cut off: its xz stream has no end. Fetch it again.")
                yield unpack.decompress(packed, max_length=4 * _CHUNK)
    except lzma.LZMAError as error:
        raise GameFileError(f"{path} is not a readable xz archive ({error}). Fetch it again.") from None
    except OSError as error:
        raise GameFileError(f"{path} cannot be read: {error.strerror}") from None


# The original tree ----------------------------------------------------------------------------------------------------


def _tree(place: Path) -> dict[str, _Entry]:
    """Index a folder of ``<task>/<trial>/game.tw-pddl``; what the original's loader leaves out stays out."""
    if place.is_file():
        files = [place]
    else:
        files = sorted(file for depth in ("", "*/", "*/*/") for file in place.glob(depth + _GAME_FILE))
    entries: dict[str, _Entry] = {}
    for file in files:
        name = "/".join(file.absolute().parts[-4:-1])
        if "movable" not in name and "Sliced" not in name and _is_solvable(file):
            entries[name] = _Entry(str(file), None)
    return entries


def _is_solvable(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            # The flag stands near the end; reading all of 3,553 files takes seconds.
            stream.seek(max(0, file.stat().st_size - _TAIL))
            if _SOLVABLE.search(stream.read()):
                return True
            stream.seek(0)
            return _SOLVABLE.search(stream.read(_MAX_FILE_BYTES)) is not None
    except OSError as error:
        raise GameFileError(f"{file} cannot be read: {error.strerror}") from None


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_GAME_BYTES + 1)
    except OSError as error:
        raise GameFileError(f"{file} cannot be read: {error.strerror}") from None
