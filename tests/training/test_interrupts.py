from __future__ import annotations

import os
import signal
import threading

import pytest

from agentgym.training import interrupts
from agentgym.training.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_a_stretch_that_may_break(number: signal.Signals) -> None:
    watch = Interrupts()
    with watch.installed():
        os.kill(os.getpid(), number)
        assert watch.requested
        with watch.may_break(False):
            pass
        with pytest.raises(KeyboardInterrupt), watch.may_break():
            pytest.fail("a request that came before breaks off at once")


def test_a_signal_breaks_off_what_may_break() -> None:
    watch = Interrupts()
    with watch.installed(), pytest.raises(KeyboardInterrupt), watch.may_break():
        os.kill(os.getpid(), signal.SIGINT)
    assert watch.requested


def test_the_same_signal_twice_in_a_moment_is_one_and_later_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, now = Interrupts(), [100.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    with watch.installed():
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += 1
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interrupts().installed():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen = []

    def work() -> None:
        with Interrupts().installed():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
