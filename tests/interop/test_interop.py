"""Files as TRL, verl-agent and verifiers write them, read as groups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agentgym.errors import DataError
from agentgym.interop import read_rollouts

Rows = list[dict[str, Any]]


def trl() -> Rows:
    return [
        {"step": 1, "prompt": p, "completion": c, "accuracy": a, "style": s, "tag": "x", "advantage": 0.1}
        for p, c, a, s in [("p", "a", 1.0, 0.5), ("p", "b", 0.0, None), ("q", "a", 0.0, float("nan"))]
    ]


def verl_agent() -> Rows:
    return [
        {"uid": "u", "traj_uid": e, "anchor_obs": o, "rewards": r, "responses": a, "active_masks": m}
        | {"is_action_valid": a != "?", "episode_lengths": 2, "episode_rewards": 10.0 * (e == "x")}
        for e, o, a, r, m in [
            *[("x", "hall", "go", 0.0, True), ("y", "hall", "?", 0.0, True), ("x", "yard", "dig", 10.0, True)],
            *[("y", "cave", "wait", 0.0, True), ("y", "cave", "late", 0.0, False)],
        ]
    ]


def verifiers() -> Rows:
    prompt = [{"role": "system", "content": "play"}, {"role": "user", "content": "hall"}]
    call = {"id": "1", "type": "function", "function": {"name": "go", "arguments": "{}"}}
    talk = [
        {"role": "assistant", "content": "I go", "tool_calls": [call]},
        {"role": "tool", "content": "yard", "tool_call_id": "1"},
        {"role": "assistant", "content": "done"},
    ]
    cut = [{"role": "assistant", "content": None, "tool_calls": [{**call, "id": "2"}]}]
    common = {"example_id": 7, "prompt": prompt, "task": "walk", "metrics": {}, "error": None}
    return [
        {**common, "completion": talk, "reward": 1.0, "is_truncated": False},
        {**common, "completion": cut, "reward": 0.0, "is_truncated": True},
        {**common, "completion": [], "reward": 0.0, "is_truncated": False},
    ]


def write(folder: Path, rows: Sequence[Any], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_trl(tmp_path: Path) -> None:
    found = read_rollouts(write(tmp_path, trl()))
    assert found.format == "trl"
    assert [[episode.total_reward for episode in group.episodes] for group in found.groups] == [[1.5, 0.0], [0.0]]
    assert "accuracy + style" in found.notes[0]
    assert found.groups[0].episodes[1].steps[0].action == "b"


def test_trl_as_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(trl()), tmp_path / "completions_00001.parquet")
    assert [len(group) for group in read_rollouts(tmp_path / "completions_00001.parquet").groups] == [2, 1]


def test_verl_agent(tmp_path: Path) -> None:
    found = read_rollouts(write(tmp_path, verl_agent()))
    [group] = found.groups
    x, y = group.episodes
    assert (found.format, x.won, y.won, x.score, x.total_reward) == ("verl-agent", True, False, 1.0, 10.0)
    assert [step.action for step in x.steps] == ["go", "dig"]
    assert [(step.observation, step.valid, step.terminated) for step in y.steps] == [
        ("hall", False, False),
        ("cave", True, True),
    ]
    assert not any("episode_lengths" in note for note in found.notes)


def test_verl_agent_says_what_is_not_there(tmp_path: Path) -> None:
    bare = [{key: row[key] for key in ("uid", "traj_uid", "anchor_obs", "rewards")} for row in verl_agent()]
    notes = " ".join(read_rollouts(write(tmp_path, bare)).notes)
    assert "'responses'" in notes
    assert "'is_action_valid'" in notes
    doubled = [*verl_agent(), verl_agent()[2]]  # as the trainer pads a batch
    assert any("episode_lengths" in note for note in read_rollouts(write(tmp_path, doubled)).notes)


def test_verifiers(tmp_path: Path) -> None:
    found = read_rollouts(write(tmp_path, verifiers()))
    [group] = found.groups
    first, second = group.episodes
    assert (found.format, group.id) == ("verifiers", "walk/7")
    assert [step.observation for step in first.steps] == ["system: play\nuser: hall", "tool: yard"]
    assert [step.reward for step in first.steps] == [0.0, 1.0]
    assert first.steps[0].action.endswith(second.steps[0].action)  # the same call under another id
    assert (second.steps[0].truncated, second.steps[0].terminated, second.end) == (True, False, "step_limit")
    assert any("1 of 3" in note for note in found.notes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input": "a", "output": "b", "score": 1.0, "step": 1}], "anchor_obs, rewards, traj_uid, uid"),
        ([{"step": 1, "prompt": "p", "completion": "c"}], "unknown format"),
        ([{"step": 1, "prompt": "p", "completion": "c", "advantage": 0.0}], "no column of rewards"),
        ([*verifiers(), {"prompt": "p"}], "lacks the columns example_id, completion, reward"),
        ([{**verl_agent()[0], "rewards": None}], "column 'rewards' holds None"),
        ([verl_agent()[0], verl_agent()[3]], "in the order of play"),
        ([verl_agent()[0], {**verl_agent()[0], "uid": "v"}], "stands in several groups"),
        ([verifiers()[2]], "no completion"),
        ([[1]], "line 1 is not a JSON object"),
        ([], "unknown format"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, rows: Rows, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_rollouts(write(tmp_path, rows))


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text("{", encoding="utf-8")
    (tmp_path / "text.csv").write_text("a,b", encoding="utf-8")
    for path, message in (
        ("text.jsonl", "not JSON"),
        ("text.csv", ".parquet and .jsonl"),
        ("x", "no file"),
        (".", "no rec"),
    ):
        with pytest.raises(DataError, match=message):
            read_rollouts(tmp_path / path)
