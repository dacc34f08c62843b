"""A grid of runs, each in a process and a folder of its own, that can be stopped anywhere and started again.

::

    OUTPUT/
      rules.json                        fixed before the first cell: settings, figures, versions, digest of the start
      start/                            the weights that every cell starts from
      cells/<method>/seed-<n>/
        cell.json                       what the cell is to do, and the digest of its rule
        run/                            the run directory
        log.txt                         what its process printed
        result.json | failure.json      how it ended; the first is there whole or not at all
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from agentgym.errors import ConfigError, DataError
from agentgym.training.interrupts import Interrupts
from agentgym.training.loggers import write_json

__all__ = [
    "Cell",
    "digest_of",
    "fix_rules",
    "fix_start",
    "only_one",
    "prepare_cell",
    "read_rules",
    "rule_of",
    "run_cells",
]

_FORMAT = {"format": "agentgym-comparison", "version": 1}
_POLL_SECONDS = 0.1
_ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the grid: a method at a seed.

    Attributes:
        method: Name of the method.
        seed: Seed of the run.
        folder: Everything it writes.
    """

    method: str
    seed: int
    folder: Path

    @classmethod
    def of(cls, comparison: Path, method: str, seed: int) -> Self:
        """Return the cell of a comparison's folder."""
        return cls(method, seed, comparison / "cells" / method / f"seed-{seed}")

    @property
    def comparison(self) -> Path:
        """The folder of the comparison."""
        return self.folder.parents[2]

    @property
    def result(self) -> Path:
        """Where the result is once the cell has finished."""
        return self.folder / "result.json"

    @property
    def failure(self) -> Path:
        """Where the reason is if the cell failed."""
        return self.folder / "failure.json"

    def __str__(self) -> str:
        return f"{self.method}, seed {self.seed}"


def digest_of(value: Any) -> str:
    """Return a name for JSON data: equal data, equal name, whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


# Rules ----------------------------------------------------------------------------------------------------------------


def read_rules(folder: Path) -> dict[str, Any] | None:
    """Return the rules of the comparison in ``folder``, or None if there is none.

    Raises:
        DataError: If the file is damaged or of another version.
    """
    path = folder / "rules.json"
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {key: found[key] for key in _FORMAT}
        if known != _FORMAT or not {"rules", "methods", "seeds", "start"} <= found.keys():
            raise DataError(f"{str(path)!r} has format {known}; this version of agentgym reads {_FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{str(path)!r} does not hold the rules of a comparison: {error!r}") from error
    return found


def fix_rules(
    folder: Path, rules: Mapping[str, Any], methods: Mapping[str, Mapping[str, Any]], seeds: Iterable[int]
) -> dict[str, Any]:
    """Write the rules, or hold them against those that the folder has; methods and seeds may be added.

    Args:
        folder: Of the comparison.
        rules: What holds for every cell, as JSON data.
        methods: Each method's algorithm and all of its settings, by name.
        seeds: The seeds to run.

    Returns:
        All that ``rules.json`` holds: earlier methods first, seeds in order.

    Raises:
        ConfigError: If a rule or a method differs from what the folder was begun with, naming each difference.
    """
    given = json.loads(json.dumps({"rules": rules, "methods": methods}))
    before = read_rules(folder)
    if before is None:
        found = {**_FORMAT, **given, "seeds": sorted(seeds), "start": None}
    else:
        common = {name: value for name, value in given["methods"].items() if name in before["methods"]}
        kept = {name: before["methods"][name] for name in common}
        differences = [
            *_differences(before["rules"], given["rules"], ""),
            *_differences(kept, common, "methods."),
        ]
        if differences:
            raise ConfigError(
                f"{str(folder)!r} holds a comparison under other rules: {'; '.join(differences)}. "
                "Give the rules it was begun with, or another folder"
            )
        found = {
            **before,
            "methods": {**before["methods"], **given["methods"]},
            "seeds": sorted({*before["seeds"], *seeds}),
        }
    if found != before:
        write_json(folder / "rules.json", found)
    return found


def fix_start(folder: Path, digest: str) -> None:
    """Write the digest of the starting weights into the rules, or hold it against the one there.

    Raises:
        ConfigError: If the folder was begun with other weights.
    """
    found = read_rules(folder)
    assert found is not None
    if found["start"] is None:
        write_json(folder / "rules.json", {**found, "start": digest})
    elif found["start"] != digest:
        raise ConfigError(
            f"the starting weights of {str(folder)!r} have digest {digest}, and the comparison was begun with "
            f"{found['start']}: put them back, or begin in another folder"
        )


def rule_of(rules: Mapping[str, Any], method: str) -> str:
    """Return the digest of what decides on a method's runs, the seed apart: the rules, the start and its settings."""
    return digest_of([rules["rules"], rules["start"], method, rules["methods"][method]])


def prepare_cell(cell: Cell, settings: Mapping[str, Any]) -> None:
    """Write ``cell.json``, all that the process of a cell needs to know.

    Args:
        cell: A cell of a method that the rules have.
        settings: The comparison's settings as given, from which the process builds its trainer.
    """
    rules = read_rules(cell.comparison)
    assert rules is not None
    value = {"method": cell.method, "seed": cell.seed, **rules["methods"][cell.method], "start": rules["start"]}
    write_json(cell.folder / "cell.json", {**value, "rule": rule_of(rules, cell.method), "settings": dict(settings)})


def _differences(before: Any, now: Any, where: str) -> list[str]:
    """Return what differs, as ``"train.groups is 4, was 12"``."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        parts = [_differences(before.get(k, _ABSENT), now.get(k, _ABSENT), f"{where}{k}.") for k in keys]
        return [difference for part in parts for difference in part]
    return [] if before == now else [f"{where.rstrip('.')} is {now!r}, was {before!r}"]


# Running --------------------------------------------------------------------------------------------------------------


@contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Hold a folder for this process and those that it starts; yields the file descriptor to hand on to them.

    Raises:
        ConfigError: If another comparison is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another comparison is at work in {str(folder)!r}, or has just been cut off") from None
        yield file.fileno()


def run_cells(
    cells: Sequence[Cell],
    command: Callable[[Cell], Sequence[str]],
    *,
    jobs: int = 1,
    hold: int | None = None,
    tell: Callable[[Cell, str], None] = lambda cell, event: None,
) -> None:
    """Run the cells that have no result yet, some at once; one that fails leaves its reason, and the others go on.

    A signal stops the cells, which write a checkpoint each, and raises ``KeyboardInterrupt``; a second one ends them at
    once. If this process is killed, the cells notice that their input has closed and stop too.

    Args:
        cells: In the order in which to begin them.
        command: The command line of a cell's process. It must leave ``cell.result`` behind.
        jobs: How many at once, at least 1.
        hold: Descriptor that the processes inherit, of ``only_one``.
        tell: Told ``"begun"``, ``"done"`` or ``"failed"`` as it happens.
    """
    waiting = deque(cell for cell in cells if not cell.result.exists())
    running: dict[Cell, subprocess.Popen[bytes]] = {}
    interrupts = Interrupts()
    with interrupts.installed():
        try:
            with interrupts.may_break():
                while waiting or running:
                    while waiting and len(running) < jobs:
                        cell = waiting.popleft()
                        running[cell] = _begin(cell, command(cell), hold)
                        tell(cell, "begun")
                    time.sleep(_POLL_SECONDS)
                    for cell in [cell for cell, process in running.items() if process.poll() is not None]:
                        process = running.pop(cell)
                        tell(cell, "done" if _end(cell, process) else "failed")
        finally:
            _stop(list(running.values()))


def _begin(cell: Cell, command: Sequence[str], hold: int | None) -> subprocess.Popen[bytes]:
    cell.failure.unlink(missing_ok=True)
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with (cell.folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
            pass_fds=() if hold is None else (hold,),
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
        )


def _end(cell: Cell, process: subprocess.Popen[bytes]) -> bool:
    """Close what a finished process leaves; return whether it left a result, and record why if it did not."""
    _close(process)
    if cell.result.exists():
        return True
    status = process.returncode
    lines = (cell.folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    ended = f"ended by {signal.Signals(-status).name}; last words: {last}" if status < 0 else last
    write_json(cell.failure, {"reason": ended, "status": status})
    return False


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask the processes to stop and wait for their checkpoints; whoever interrupts that too ends them at once."""
    for process in processes:
        process.terminate()
    try:
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            process.kill()
            process.wait()
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
