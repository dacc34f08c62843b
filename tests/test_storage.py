from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import lzma
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentgym
from agentgym.episodes import Episode, Group, Recorder, Step
from agentgym.errors import DataError, MissingExtraError
from agentgym.storage import SCHEMA_VERSION, read_groups, read_header, write_groups
from tests.worlds import Corridor

pytest.importorskip("pyarrow")

FORMATS = [".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet"]

TEXT = st.text(alphabet=st.characters(), max_size=12)  # lone surrogates included
FLOATS = st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False)
IDS = st.none() | st.lists(st.integers(0, 2**40), max_size=3).map(tuple)
STEPS = st.builds(
    Step,
    observation=TEXT, action=TEXT, reward=FLOATS, shaped_reward=FLOATS, terminated=st.booleans(),
    truncated=st.booleans(), valid=st.booleans(), obs_hash=st.just("h"), state_hash=st.just(None),
    format_ok=st.booleans(), response=st.none() | TEXT, prompt_ids=IDS, response_ids=IDS,
    logprobs=st.none() | st.lists(FLOATS, max_size=3).map(tuple),
    allowed_ids=st.none() | st.lists(st.lists(st.integers(0, 99), max_size=2).map(tuple), max_size=2).map(tuple),
)  # fmt: skip
EPISODES = st.builds(
    Episode,
    group=TEXT, index=st.integers(0, 9), seed=st.none() | st.integers(0, 2**63 - 1), task_id=st.just("t/1"),
    task_type=TEXT, goal=TEXT, steps=st.lists(STEPS, max_size=3).map(tuple), won=st.booleans(), score=FLOATS,
    end=st.sampled_from(["success", "failure", "environment_fault"]), fault=st.none() | TEXT, final_observation=TEXT,
    context=st.sampled_from([None, "transcript", "window"]),
)  # fmt: skip
GROUPS = st.lists(st.builds(Group, id=TEXT, episodes=st.lists(EPISODES, max_size=3).map(tuple)), max_size=3)


def _played() -> list[Group]:
    recorder = Recorder()
    for group in range(2):
        for _ in range(3):
            env = Corridor()
            observation, info = env.reset(seed=group)
            episode = recorder.start(f"g{group}", observation, info, seed=group, context="window")
            for action in ("left", "take key", "right"):
                logprobs = np.array([-0.1, -0.25], np.float32).tolist()
                episode.annotate(response=action, prompt_ids=[1, 2], response_ids=[3, 4], logprobs=logprobs)
                episode.step(action, *env.step(action))
    return recorder.groups()


@pytest.mark.parametrize("suffix", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(groups=GROUPS)
def test_what_is_written_comes_back_equal(tmp_path: Path, suffix: str, groups: list[Group]) -> None:
    path = tmp_path / f"groups{suffix}"
    write_groups(path, groups)
    again = read_groups(path)
    assert again == groups
    assert repr(again) == repr(groups)  # types and signed zeros too


@pytest.mark.parametrize("suffix", FORMATS)
def test_not_a_number_comes_back(tmp_path: Path, suffix: str) -> None:
    [group, _] = _played()
    step = group.episodes[0].steps[0]
    odd = Step(
        **{name: getattr(step, name) for name in step.__slots__} | {"reward": math.nan, "logprobs": (-math.inf, 0.0)}
    )
    episode = group.episodes[0]
    values = {name: getattr(episode, name) for name in episode.__slots__} | {"steps": (odd,)}
    write_groups(tmp_path / f"a{suffix}", [Group("g", (Episode(**values),))])
    [read] = read_groups(tmp_path / f"a{suffix}")[0].episodes[0].steps
    assert math.isnan(read.reward)
    assert read.logprobs == (-math.inf, 0.0)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_header_says_where_it_comes_from(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new folder" / f"groups{suffix}"
    write_groups(path, _played(), env_id="Corridor-v0")
    header = read_header(path)
    assert header["schema"] == SCHEMA_VERSION
    assert header["package"] == agentgym.__version__
    assert header["env_id"] == "Corridor-v0"
    assert header["contexts"] == ["window"]
    assert header["groups"] == ["g0", "g1"]
    assert header["episodes"] == 6


def test_parquet_has_one_row_per_step_and_jsonl_one_line_per_episode(tmp_path: Path) -> None:
    import pyarrow.parquet

    write_groups(tmp_path / "a.parquet", _played())
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 2 * 3 * 3
    assert table.column("t").to_pylist() == [0, 1, 2] * 6
    assert table.column("response_ids").to_pylist() == [[3, 4]] * 18
    assert str(table.schema.field("observation").type) == "string"
    write_groups(tmp_path / "a.jsonl", _played())
    lines = (tmp_path / "a.jsonl").read_text("ascii").splitlines()
    assert len(lines) == 1 + 6
    assert json.loads(lines[1])["steps"][1]["action"] == "take key"


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_groups_give_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        write_groups(tmp_path / f"{name}{suffix}", _played())
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_truncated_file_is_one_clear_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"groups{suffix}"
    write_groups(path, _played())
    data = path.read_bytes()
    for size in {0, 1, 10, *range(0, len(data) - 1, max(1, len(data) // 40)), len(data) - 1}:
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match="groups"):
            read_groups(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_flipped_byte_is_never_read_as_other_content(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"groups{suffix}"
    groups = _played()
    write_groups(path, groups)
    data = bytearray(path.read_bytes())
    header = data.index(b"\n") if suffix == ".jsonl" else 0
    for place in range(header, len(data), max(1, len(data) // 60)):
        damaged = bytearray(data)
        damaged[place] ^= 0x01
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            assert read_groups(path) == groups


def test_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    foreign = {
        "a.jsonl": b'{"messages": []}\n',
        "b.jsonl": b"hello\n",
        "c.jsonl": b"\xff\xfe\x00",
        "d.jsonl.gz": gzip.compress(b"[1, 2]\n"),
        "e.jsonl.xz": b"not xz at all",
        "f.parquet": b"PAR1 but not really PAR1",
    }
    for name, data in foreign.items():
        (tmp_path / name).write_bytes(data)
    pa.parquet.write_table(pa.table({"x": [1]}), tmp_path / "g.parquet")
    for name in (*foreign, "g.parquet"):
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            read_groups(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_groups(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("suffix", [".txt", ".json", ".parquet.gz"])
def test_an_unknown_suffix_is_refused_with_the_list(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match=r"\.jsonl, \.jsonl\.gz, \.jsonl\.xz, \.parquet"):
        write_groups(tmp_path / f"a{suffix}", [])
    with pytest.raises(DataError, match="unknown suffix"):
        read_groups(tmp_path / f"a{suffix}")


def _change_header(path: Path, **values: Any) -> None:
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(first), **values}).encode() + b"\n" + rest)


def test_files_of_the_first_schema_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    groups = _played()
    write_groups(tmp_path / "a.jsonl", groups)
    header, *lines = (tmp_path / "a.jsonl").read_text("ascii").splitlines()
    lines = [line.replace(', "node": null', "") for line in lines]
    body = "".join(f"{line}\n" for line in lines).encode()
    assert b"node" not in body
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    old = json.dumps({**json.loads(header), "schema": 1, "blake2b": digest}).encode()
    (tmp_path / "a.jsonl").write_bytes(old + b"\n" + body)
    assert read_groups(tmp_path / "a.jsonl") == groups

    write_groups(tmp_path / "a.parquet", groups)
    table = pa.parquet.read_table(tmp_path / "a.parquet")
    text = json.dumps({**json.loads(table.schema.metadata[b"agentgym"]), "schema": 1}).encode()
    metadata = {"agentgym": text, "agentgym_blake2b": hashlib.blake2b(text, digest_size=16).hexdigest()}
    old_table = table.drop_columns(["node"]).replace_schema_metadata(metadata)
    pa.parquet.write_table(old_table, tmp_path / "a.parquet", write_page_checksum=True)
    assert read_groups(tmp_path / "a.parquet") == groups


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_groups(path, _played())
    _change_header(path, schema=SCHEMA_VERSION + 1, package="9.9")
    with pytest.raises(DataError, match=r"schema 3 by agentgym-sdk '9\.9'; this version reads schemas 1 and 2"):
        read_groups(path)


@pytest.mark.parametrize("change", [{"episodes": 5}, {"groups": ["g0"]}, {"groups": None}])
def test_a_header_that_does_not_fit_its_episodes_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    write_groups(path, _played())
    _change_header(path, **change)
    with pytest.raises(DataError, match=r"a\.jsonl: its content does not fit schema 2"):
        read_groups(path)


def test_a_value_that_does_not_fit_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_groups(path, _played())
    before = path.read_bytes()
    recorder = Recorder()
    recorder.start("g", "o", {"obs_hash": "h"}, seed=2**80)
    with pytest.raises(DataError, match="cannot write"):
        write_groups(path, recorder.groups())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]
    write_groups(tmp_path / "a.jsonl", recorder.groups())
    assert read_groups(tmp_path / "a.jsonl")[0].episodes[0].seed == 2**80


def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    write_groups(path, _played())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_groups(path, [])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_without_pyarrow_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'agentgym-sdk\[data\]'"):
        write_groups(tmp_path / "a.parquet", [])
    write_groups(tmp_path / "a.jsonl", [])
    assert read_groups(tmp_path / "a.jsonl") == []


def test_compressed_files_are_what_their_names_say(tmp_path: Path) -> None:
    for suffix in (".jsonl", ".jsonl.gz", ".jsonl.xz"):
        write_groups(tmp_path / f"a{suffix}", _played())
    plain = (tmp_path / "a.jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == plain
    assert lzma.decompress((tmp_path / "a.jsonl.xz").read_bytes()) == plain


@pytest.mark.parametrize("change", ["drop", "retype"])
def test_a_parquet_file_with_other_columns_is_refused(tmp_path: Path, change: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    write_groups(path, _played())
    table = pa.parquet.read_table(path)
    place = table.column_names.index("reward")
    if change == "drop":
        table = table.remove_column(place)
    else:
        table = table.set_column(place, "reward", pa.array(["much"] * len(table)))
    pa.parquet.write_table(table, path)
    with pytest.raises(DataError, match=r"a\.parquet: the column 'reward' is (None|string); it must be double"):
        read_groups(path)
