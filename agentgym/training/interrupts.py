"""Ctrl-C and SIGTERM as requests to stop cleanly."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_SECONDS = 2.0  # launchers pass on a signal that the terminal has sent to every process already


class Interrupts:
    """Turns the first signal into a request, and lets a second one end the process at once.

    In a stretch marked ``may_break`` a request raises ``KeyboardInterrupt`` on the spot; elsewhere it waits in
    ``requested``, so that an update is never cut in half.

    Attributes:
        requested: Whether a signal has come.
    """

    def __init__(self) -> None:
        self.requested = False
        self._may_break = False
        self._first = 0.0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside this block; do nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[signal.Signals, Any] = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def may_break(self, allowed: bool = True) -> Iterator[None]:
        """Let a signal break off this block; one that came before it breaks off at once."""
        self._may_break = allowed
        try:
            if allowed and self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._may_break = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.requested and time.monotonic() - self._first > _SAME_SECONDS
        if not self.requested:
            self.requested, self._first = True, time.monotonic()
        if again or self._may_break:
            raise KeyboardInterrupt
