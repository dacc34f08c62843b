"""A folder of read-only arrays and texts that lie on disk and are mapped into memory.

The operating system reads what is touched and keeps it in its page cache, once for all processes of the machine. So a
catalogue of several gigabytes opens in milliseconds, costs each process only what it decodes, and is shared by every
environment and worker without any of them knowing of the others.

A folder is written under a temporary name and renamed when it is whole; its manifest, written last, holds the format,
the version, and the size and digest of every file. Numbers are little-endian ``.npy`` arrays; texts are UTF-8, one
after the other, with an array of offsets.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from agentgym.errors import ConfigError, DataError

__all__ = [
    "MappedFolder",
    "TextWriter",
    "Texts",
    "decode",
    "encode",
    "new_folder",
    "read_array",
    "read_texts",
    "write_array",
]

MANIFEST: Final = "manifest.json"
_CHUNK: Final = 1 << 22

Array = npt.NDArray[Any]


def encode(text: str) -> bytes:
    """Return the bytes of any text; lone surrogates, which scraped JSON may hold, come back by `decode`."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """Return the text of what `encode` returned."""
    return data.decode("utf-8", "surrogatepass")


# Writing --------------------------------------------------------------------------------------------------------------


@contextmanager
def new_folder(target: Path, header: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Make a folder to fill, under a temporary name; it appears as ``target`` when the block ends without an error.

    Yields the folder and a dictionary whose content, added to ``header``, goes into the manifest.

    Args:
        target: Where the folder will be; must not exist.
        header: ``format`` and ``version`` at least.

    Raises:
        ConfigError: If ``target`` exists, or another process makes it in the meantime.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; name a new folder, or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(folder, ignore_errors=True)  # of a process of the same number that was killed
    folder.mkdir()
    try:
        content: dict[str, Any] = {}
        yield folder, content
        files = {
            path.name: {"bytes": path.stat().st_size, "blake2b": _digest(path)} for path in sorted(folder.iterdir())
        }
        text = json.dumps({**header, **content, "files": files}, indent=1) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        for path in folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        try:
            folder.rename(target)
        except OSError as error:
            raise ConfigError(f"{target} came up meanwhile ({error.strerror}); name a new folder") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(path: Path) -> str:
    found = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return found.hexdigest()


def write_array(folder: Path, name: str, values: Any, dtype: str) -> None:
    """Write ``<name>.npy``; ``dtype`` names its byte order, as ``<i4`` does."""
    np.save(folder / f"{name}.npy", np.asarray(values, dtype=dtype), allow_pickle=False)


class TextWriter:
    """Write texts one by one; `MappedFolder.texts` reads them by their number.

    A context manager: the offsets, without which there is nothing to read, are written where its block ends.

    Args:
        folder: Where ``<name>.blob`` and ``<name>.npy`` go.
        name: Of the two files.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._file: BinaryIO = (folder / f"{name}.blob").open("wb", buffering=_CHUNK)
        self._lengths: list[npt.NDArray[np.uint32]] = []
        self._recent: list[int] = []

    def add(self, data: bytes) -> None:
        """Write the bytes of the next text."""
        self._file.write(data)
        self._recent.append(len(data))
        if len(self._recent) == 1 << 16:
            self._pack()

    def _pack(self) -> None:
        self._lengths.append(np.array(self._recent, dtype=np.uint32))
        self._recent.clear()

    def __enter__(self) -> TextWriter:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if error is None:
            self._pack()
            lengths = np.concatenate(self._lengths)
            write_array(self._folder, self._name, np.r_[0, np.cumsum(lengths, dtype=np.int64)], "<i8")


# Reading --------------------------------------------------------------------------------------------------------------


class Texts(Sequence[bytes]):
    """Hold the bytes of many texts, mapped from disk.

    Args:
        blob: All of them, one after the other.
        offsets: ``int64 [N + 1]``: text i lies from ``offsets[i]`` to ``offsets[i + 1]``.
    """

    def __init__(self, blob: mmap.mmap | bytes, offsets: Array) -> None:
        self._blob, self._offsets = blob, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._blob[self._offsets[index] : self._offsets[index + 1]]

    def find(self, key: bytes, order: Array | None = None) -> int:
        """Return the number of a text by bisection, -1 if it is not there.

        Args:
            key: Its bytes.
            order: ``int32 [N]``: the numbers of the texts, sorted by their bytes; None where they are stored sorted.
        """
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            number = middle if order is None else int(order[middle])
            found = self[number]
            if found == key:
                return number
            if found < key:
                low = middle + 1
            else:
                high = middle
        return -1


class MappedFolder:
    """Open a folder that `new_folder` made; nothing is read but the manifest.

    Args:
        path: The folder.
        format: What its manifest must say it is.
        version: The one version that is read.

    Raises:
        DataError: If it is no such folder, of another version, or a file is missing or has another size.

    Attributes:
        manifest: Content of ``manifest.json``.
    """

    def __init__(self, path: Path, format: str, version: int) -> None:
        self.path = path
        self.manifest = _manifest(path, format, version)
        for name, file in self.manifest["files"].items():
            try:
                size = (path / name).stat().st_size
            except OSError as error:
                raise DataError(f"{path / name} cannot be read: {error.strerror}. Build the index again.") from None
            if size != file["bytes"]:
                raise DataError(f"{path / name} has {size:,} bytes instead of {file['bytes']:,}: build the index again")

    def verify(self) -> None:
        """Read every file and compare its digest; takes a second per gigabyte or so.

        Raises:
            DataError: If a file is not as it was written.
        """
        for name, file in self.manifest["files"].items():
            if _digest(self.path / name) != file["blake2b"]:
                raise DataError(f"{self.path / name} is not as it was written: build the index again")

    def array(self, name: str) -> Array:
        """Map ``<name>.npy``, read-only.

        Raises:
            DataError: If it is no array.
        """
        return read_array(self.path, name)

    def texts(self, name: str) -> Texts:
        """Map ``<name>.blob`` and its offsets, read-only.

        Raises:
            DataError: If the offsets do not fit the blob.
        """
        return read_texts(self.path, name)


def read_array(folder: Path, name: str) -> Array:
    """Map an array that `write_array` wrote, read-only.

    Raises:
        DataError: If it is no array.
    """
    path = folder / f"{name}.npy"
    try:
        # An array without elements cannot be mapped. A plain view is faster to index than NumPy's memmap class.
        with path.open("rb") as file:
            empty = 0 in _shape(file)
        array: Array = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False).view(np.ndarray)
    except Exception as error:  # NumPy evaluates the header as a literal, and a damaged one fails in any way
        raise DataError(f"{path} is no array: {error}. Build the index again.") from None
    array.flags.writeable = False
    return array


def read_texts(folder: Path, name: str) -> Texts:
    """Map texts that a `TextWriter` wrote, read-only.

    Raises:
        DataError: If they are not there, or the offsets do not fit the blob.
    """
    offsets = read_array(folder, name)
    path = folder / f"{name}.blob"
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            blob = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Build the index again.") from None
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != size:
        raise DataError(f"{path} does not fit its offsets: build the index again")
    return Texts(blob, offsets)


def _shape(file: BinaryIO) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)[0]


def _manifest(path: Path, format: str, version: int) -> dict[str, Any]:
    place = path / MANIFEST
    try:
        manifest = json.loads(place.read_bytes())
    except OSError as error:
        raise DataError(f"{place} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{place} is no JSON: build the index again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != format:
        raise DataError(f"{path} is no {format}")
    if manifest.get("version") != version:
        raise DataError(
            f"{path} is a {format} of version {manifest.get('version')!r}, and this version of agentgym-sdk reads "
            f"version {version}: build the index again"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(file, dict) and "bytes" in file for file in files.values()):
        raise DataError(f"{place} lists no files: build the index again")
    return manifest
