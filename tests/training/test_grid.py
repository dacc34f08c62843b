"""Grids of runs: rules fixed in advance, cells kept, failed, stopped and begun again; the cells are tiny programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import ConfigError, DataError
from agentgym.training.comparing import read_summary, write_comparison
from agentgym.training.grid import (
    Cell,
    digest_of,
    fix_rules,
    fix_start,
    only_one,
    prepare_cell,
    read_rules,
    rule_of,
    run_cells,
)

RULES = {"settings": {"groups": 4, "warm_start": {"steps": 7}, "last": 3}, "versions": {"torch": "2"}}
METHODS = {"a": {"algo": "grpo", "algo_settings": {"eps": 1}}, "b": {"algo": "gigpo", "algo_settings": {}}}
# Writes a result, as a cell does: the whole file at once.
WORK = "import pathlib, sys; pathlib.Path(sys.argv[1], 'result.json').write_text('{}')"


def cells_of(folder: Path, seeds: Sequence[int] = (0, 1)) -> list[Cell]:
    cells = [Cell.of(folder, method, seed) for seed in seeds for method in METHODS]
    for cell in cells:
        cell.folder.mkdir(parents=True, exist_ok=True)
    return cells


def program(code: str) -> Any:
    return lambda cell: [sys.executable, "-S", "-c", code, str(cell.folder)]


class TestRules:
    def test_the_same_rules_are_welcome_and_more_methods_and_seeds_are_added(self, tmp_path: Path) -> None:
        fix_rules(tmp_path, RULES, {"a": METHODS["a"]}, range(5))
        before = (tmp_path / "rules.json").read_bytes()
        fix_rules(tmp_path, RULES, {"a": METHODS["a"]}, [3])
        assert (tmp_path / "rules.json").read_bytes() == before
        found = fix_rules(tmp_path, RULES, {"b": METHODS["b"]}, range(5, 10))
        assert list(found["methods"]) == ["a", "b"]
        assert found["seeds"] == list(range(10))
        assert read_rules(tmp_path) == found

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"settings": {**RULES["settings"], "groups": 5}}, "settings.groups is 5, was 4"),
            ({"settings": {**RULES["settings"], "warm_start": {"steps": 8}}}, "settings.warm_start.steps is 8, was 7"),
            ({"versions": {}}, "versions.torch is 'absent', was '2'"),
            ({"versions": {"torch": "2", "peft": "1"}}, "versions.peft is '1', was 'absent'"),
        ],
    )
    def test_other_rules_are_refused_by_name(self, tmp_path: Path, change: dict[str, Any], message: str) -> None:
        fix_rules(tmp_path, RULES, METHODS, [0])
        before = (tmp_path / "rules.json").read_bytes()
        with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
            fix_rules(tmp_path, {**RULES, **change}, METHODS, [0, 1])
        assert (tmp_path / "rules.json").read_bytes() == before

    def test_a_method_may_not_change(self, tmp_path: Path) -> None:
        fix_rules(tmp_path, RULES, METHODS, [0])
        changed = {"a": {"algo": "grpo", "algo_settings": {"eps": 2}}}
        with pytest.raises(ConfigError, match=r"methods\.a\.algo_settings\.eps is 2, was 1"):
            fix_rules(tmp_path, RULES, changed, [0])

    def test_the_start_is_fixed_once(self, tmp_path: Path) -> None:
        fix_rules(tmp_path, RULES, METHODS, [0])
        fix_start(tmp_path, "one")
        fix_start(tmp_path, "one")
        with pytest.raises(ConfigError, match="digest two, and the comparison was begun with one"):
            fix_start(tmp_path, "two")
        assert fix_rules(tmp_path, RULES, METHODS, [0])["start"] == "one"

    def test_damaged_rules_are_refused(self, tmp_path: Path) -> None:
        for text, message in (("{", "does not hold the rules"), ("[]", "does not hold"), ('{"format": 1}', "not hold")):
            (tmp_path / "rules.json").write_text(text)
            with pytest.raises(DataError, match=message):
                read_rules(tmp_path)
        (tmp_path / "rules.json").write_text('{"format": "agentgym-comparison", "version": 2}')
        with pytest.raises(DataError, match="has format"):
            read_rules(tmp_path)

    def test_the_rule_of_a_method_depends_on_everything_but_other_methods_and_seeds(self, tmp_path: Path) -> None:
        rules = fix_rules(tmp_path, RULES, METHODS, [0])
        rule = rule_of(rules, "a")
        assert rule == rule_of({**rules, "seeds": [0, 1], "methods": {"a": METHODS["a"]}}, "a")
        assert (
            len(
                {rule, rule_of(rules, "b"), rule_of({**rules, "start": "x"}, "a"), rule_of({**rules, "rules": {}}, "a")}
            )
            == 4
        )
        assert digest_of({"x": 1, "y": 2}) == digest_of({"y": 2, "x": 1})

    def test_a_cell_is_told_all_it_needs(self, tmp_path: Path) -> None:
        rules = fix_rules(tmp_path, RULES, METHODS, [3])
        cell = Cell.of(tmp_path, "a", 3)
        prepare_cell(cell, {"groups": 4})
        told = json.loads((cell.folder / "cell.json").read_text())
        assert told == {
            **{"method": "a", "seed": 3, "start": None, "rule": rule_of(rules, "a"), "settings": {"groups": 4}},
            **METHODS["a"],
        }
        assert cell.comparison == tmp_path


def test_one_comparison_at_a_time(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(ConfigError, match="another comparison is at work"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_finished_cells_are_kept_and_the_others_run_in_order(tmp_path: Path) -> None:
    cells = cells_of(tmp_path)
    cells[1].result.write_text("kept")
    events: list[tuple[Cell, str]] = []
    run_cells(cells, program(WORK), tell=lambda *event: events.append(event))
    assert cells[1].result.read_text() == "kept"
    assert events == [(c, event) for c in (cells[0], *cells[2:]) for event in ("begun", "done")]
    assert all(cell.result.exists() for cell in cells)


def test_a_failing_cell_leaves_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, [0])
    broken = "import sys; print('before'); print('no memory left\\n', file=sys.stderr); sys.exit(3)"
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    run_cells(cells, lambda cell: program(broken if cell.method == "a" else killed)(cell), jobs=2)
    reasons = [json.loads(cell.failure.read_text()) for cell in cells]
    assert reasons[0] == {"reason": "no memory left", "status": 3}
    assert reasons[1] == {"reason": "ended by SIGKILL; last words: it printed nothing", "status": -9}
    run_cells(cells, program(WORK))  # the next call tries again
    assert all(cell.result.exists() and not cell.failure.exists() for cell in cells)


def test_a_cell_runs_on_one_thread(tmp_path: Path) -> None:
    [cell, _] = cells_of(tmp_path, [0])
    run_cells([cell], program(f"import os; assert os.environ['OMP_NUM_THREADS'] == '1'; {WORK}"))
    assert cell.result.exists()


def test_a_signal_stops_the_cells_and_passes_on_once(tmp_path: Path) -> None:
    cells = cells_of(tmp_path)
    # The first cell ends at once; the second says when it listens, waits, and notes what stopped it.
    patient = (
        "import pathlib, signal, sys, time\n"
        "def note(*_): pathlib.Path(sys.argv[1], 'stopped').write_text('x'); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, note)\n"
        "print('listening', flush=True)\n"
        "time.sleep(120)"
    )

    def command(cell: Cell) -> list[str]:
        if cell is cells[2]:
            pytest.fail("nothing may begin after the signal")
        return list(program(WORK if cell is cells[0] else patient)(cell))

    def knock(cell: Cell, event: str) -> None:
        if (cell, event) == (cells[1], "begun"):
            while b"listening" not in (cell.folder / "log.txt").read_bytes():
                pass
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_cells(cells, command, tell=knock)
    assert cells[0].result.exists()
    assert (cells[1].folder / "stopped").exists()
    assert not cells[1].failure.exists()


def test_a_cell_outlives_nobody(tmp_path: Path) -> None:
    code = "import time; from agentgym.training.cell import stop_with_parent; stop_with_parent(); time.sleep(120)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()  # as when the parent dies
    assert process.wait(timeout=120) == -signal.SIGTERM


class TestReport:
    def finish(self, cell: Cell, rule: str, sampled: float) -> None:
        costs = dict.fromkeys(("generated_tokens", "env_steps", "updates", "iterations", "seconds"), 1.0)
        value = {
            **{"method": cell.method, "seed": cell.seed, "rule": rule, "costs": costs, "skipped_updates": 0},
            **{
                "figures": dict.fromkeys(("sampled", "greedy", "training"), sampled),
                "curve": [[10, 0.5]],
                "states": [],
            },
        }
        cell.folder.mkdir(parents=True, exist_ok=True)
        cell.result.write_text(json.dumps(value))

    def rules(self, folder: Path) -> dict[str, Any]:
        settings = {
            **RULES["settings"],
            "env": "X-v0",
            "model": "tiny",
            "max_generated_tokens": 9,
            "advantage_rms": None,
        }
        rules = {**RULES, "settings": settings, "figures": {"sampled": "how"}}
        return fix_rules(folder, rules, METHODS, [0, 1])

    def test_it_shows_what_is_there_and_what_is_not(self, tmp_path: Path) -> None:
        rules = self.rules(tmp_path)
        cells = cells_of(tmp_path)
        for cell, sampled in zip(cells[:2], (0.25, 0.75), strict=True):
            self.finish(cell, rule_of(rules, cell.method), sampled)
        cells[2].failure.write_text('{"reason": "no memory left", "status": 3}')
        comparison, unfinished = write_comparison(tmp_path)
        assert comparison.differences[0].mean == 0.5
        assert unfinished == cells[2:]
        text = (tmp_path / "comparison.md").read_text()
        assert "- a, seed 1: no memory left" in text
        assert "- 1 runs are still to be made" in text
        data = json.loads((tmp_path / "comparison.json").read_text())
        assert data["failures"] == {"a, seed 1": {"reason": "no memory left", "status": 3}}
        assert data["rules"] == rules
        assert (tmp_path / "learning_curves.png").stat().st_size > 0

    def test_results_of_other_rules_and_damaged_ones_are_refused(self, tmp_path: Path) -> None:
        rules = self.rules(tmp_path)
        cell = cells_of(tmp_path)[0]
        self.finish(cell, "other", 0.5)
        with pytest.raises(DataError, match="made under another rule"):
            write_comparison(tmp_path)
        cell.result.write_text('{"method": "a"}')
        with pytest.raises(DataError, match="is not the result of a cell"):
            read_summary(cell, rule_of(rules, "a"))
        with pytest.raises(DataError, match="holds no comparison"):
            write_comparison(tmp_path / "elsewhere")
