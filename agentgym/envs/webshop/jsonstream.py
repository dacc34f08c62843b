"""Reads the elements of one huge JSON array or object, one at a time.

The product files of the original are single JSON documents of up to 5 GB. Here a window of text moves over the file and
the standard library's decoder takes one element after the other out of it, so that memory is that of the largest
element, not of the file, at the decoder's full speed.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from agentgym.errors import DataError

__all__ = ["read_elements", "read_members"]

MAX_ELEMENT: Final = 1 << 26
"""Characters of the largest element that is read; what is longer is refused before it fills the memory."""

_CHUNK: Final = 1 << 20
# A decoding error this near to the end of the window may come from its end, not from the file: the decoder looks at
# most 12 characters ahead, at the escapes of a surrogate pair.
_MARGIN: Final = 16
_SPACE: Final = " \t\n\r"


def read_elements(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield the elements of the JSON array that ``path`` holds.

    Raises:
        DataError: If the file is truncated, no UTF-8, no JSON, or no array, or an element has more than ``MAX_ELEMENT``
            characters; the message names the file and the place. Elements before that place have been yielded.
    """
    with _Window(Path(path)) as window:
        window.expect("[", "a JSON array")
        if window.peek() != "]":
            yield window.value()
            while window.separator("]"):
                yield window.value()
        else:
            window.take()
        window.finish()


def read_members(path: str | os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each member of the JSON object that ``path`` holds; a name may come again.

    Raises:
        DataError: As for ``read_elements``.
    """
    with _Window(Path(path)) as window:
        window.expect("{", "a JSON object")
        if window.peek() != "}":
            yield window.member()
            while window.separator("}"):
                yield window.member()
        else:
            window.take()
        window.finish()


class _Window:
    """The part of a file that is being decoded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._before = 0  # characters of the file before the window
        self._bytes = 0
        self._ended = False

    def __enter__(self) -> _Window:
        try:
            self._file: BinaryIO = self._path.open("rb")
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _more(self, size: int = _CHUNK) -> bool:
        """Add about ``size`` bytes to the window and drop what is done; return False at the end of the file."""
        if self._ended:
            return False
        try:
            data = self._file.read(size)
            fresh = self._decode(data, final=not data)
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{self._path} is no UTF-8 near byte {self._bytes:,}: {error.reason}") from None
        self._bytes += len(data)
        self._ended = not data
        self._text, self._before, self._at = self._text[self._at :] + fresh, self._before + self._at, 0
        return True

    def _wrong(self, reason: str, at: int | None = None) -> DataError:
        place = self._before + (self._at if at is None else at)
        return DataError(f"{self._path} is no JSON at character {place:,}: {reason}. Fetch the file again.")

    def peek(self) -> str:
        """Return the next character that is no space, without taking it; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self) -> str:
        """Take the next character that is no space."""
        found = self.peek()
        self._at += 1
        return found

    def expect(self, sign: str, what: str) -> None:
        """Take ``sign``, which opens ``what`` the file must hold."""
        if (found := self.peek()) != sign:
            start = f"begins with {found!r}" if found else "is empty"
            raise DataError(f"{self._path} {start}: it must hold {what}")
        self.take()

    def separator(self, close: str) -> bool:
        """Take a comma (True) or the closing bracket (False)."""
        found = self.peek()
        if found not in (",", close) or not found:
            raise self._wrong(f"expected ',' or {close!r}, found {found!r}" if found else "the file is cut off")
        self.take()
        return found == ","

    def member(self) -> tuple[str, Any]:
        """Take a name, a colon and a value."""
        if self.peek() != '"':
            raise self._wrong("expected a name in double quotes" if self.peek() else "the file is cut off")
        name = self.value()
        if self.peek() != ":":
            raise self._wrong("expected ':'" if self.peek() else "the file is cut off")
        self.take()
        return name, self.value()

    def value(self) -> Any:
        """Take one value of any kind."""
        self.peek()
        grow = _CHUNK
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                unclosed = error.msg.startswith("Unterminated string")
                if not unclosed and error.pos < len(self._text) - _MARGIN:
                    raise self._wrong(error.msg, error.pos) from None
                reason = f"{error.msg}, as where a file is cut off"
            except RecursionError:
                raise self._wrong("brackets are nested too deeply") from None
            except ValueError as error:  # a number of thousands of digits
                raise self._wrong(str(error)) from None
            else:
                # What ends with the window may go on behind it, as a number can.
                if end < len(self._text) or self._ended:
                    self._at = end
                    return value
                reason = ""
            if len(self._text) - self._at > MAX_ELEMENT:
                raise self._wrong(f"a value has more than {MAX_ELEMENT:,} characters")
            if not self._more(grow) and reason:
                raise self._wrong(reason)
            grow = min(2 * grow, MAX_ELEMENT)  # so that a long value costs no more than twice its length

    def finish(self) -> None:
        """Check that nothing follows."""
        if found := self.peek():
            raise self._wrong(f"expected the end of the file, found {found!r}")
