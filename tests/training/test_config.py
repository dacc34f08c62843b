from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from agentgym.errors import ConfigError
from agentgym.training import SFTConfig, TrainConfig, load_config
from agentgym.training.config import Settings


def test_there_are_few_settings_and_each_is_described() -> None:
    for model in (TrainConfig, SFTConfig):
        assert len(model.model_fields) <= 27
        assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iteratons": 3}, "unknown setting 'iteratons'. Did you mean 'iterations'"),
        ({"learning_rate": 0}, "'learning_rate' is 0: input should be greater than 0"),
        ({"learning_rate": float("nan")}, "'learning_rate' is nan"),
        ({"lr_schedule": "step"}, "'constant', 'linear' or 'cosine'"),
        ({"report_to": "tensorbord"}, "'tensorboard', 'wandb' or 'trackio'"),
        ({"groups": "many"}, "'groups' is 'many'"),
        ({"warm_start": {"stepps": 3}}, "in 'warm_start': unknown setting 'stepps'. Did you mean 'steps'"),
        ({"warm_start": {"steps": 0}}, "in 'warm_start': setting 'steps' is 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig.of(settings)
    assert message in str(error.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().groups = 3


def test_none_and_lists_can_be_written_as_text() -> None:
    config = TrainConfig.of({"report_to": "wandb, trackio", "max_minutes": "none", "output_dir": "none"})
    assert config.report_to == ("wandb", "trackio")
    assert config.max_minutes is config.output_dir is None
    assert TrainConfig.of({"report_to": "none"}).report_to == ()


def test_the_settings_survive_json() -> None:
    config = TrainConfig(output_dir=Path("x"), warm_start=SFTConfig(steps=3), report_to=("tensorboard",))
    assert TrainConfig.of(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "iterations: 3\nwarm_start:\n  steps: 5\n  seed: 2\n"),
        ("a.toml", "iterations = 3\n[warm_start]\nsteps = 5\nseed = 2\n"),
    ],
)
def test_files_are_read_and_overrides_win(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    config = load_config(TrainConfig, tmp_path / name, {"warm_start.steps": "7", "groups": 9})
    assert (config.iterations, config.groups) == (3, 9)
    assert (config.warm_start.steps, config.warm_start.seed) == (7, 2)


def test_settings_are_named_at_any_depth_and_what_stands_beside_them_stays(tmp_path: Path) -> None:
    class Tree(Settings):
        options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it

    file = tmp_path / "a.yaml"
    file.write_text("options: {a: {b: {c: 1, d: 2}}, e: 3, f: 4}")
    given = {"options.a.b.c": 5, "options.a.b.g": 6, "options.e.h.i": 7}
    assert load_config(Tree, file, given).options == {
        "a": {"b": {"c": 5, "d": 2, "g": 6}},
        "e": {"h": {"i": 7}},
        "f": 4,
    }
    assert load_config(Tree, None, {"options": {"a": {"b": 1}}, "options.a.c": 2}).options == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ini", "", "must end in .yaml, .yml or .toml"),
        ("missing.yaml", None, "cannot read the config file"),
        ("a.yaml", "iterations: [", "not valid YAML"),
        ("a.toml", "iterations = ", "not valid TOML"),
        ("a.yaml", "- 3", "must hold settings by name"),
        ("a.yaml", "3: 4", "unknown setting '3'"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, tmp_path / name)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    assert load_config(TrainConfig, tmp_path / "a.yaml") == TrainConfig()


def test_reading_settings_loads_no_torch() -> None:
    code = "import sys, agentgym.training as t; t.load_config(t.TrainConfig); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_settings_of_what_is_not_chosen_any_more_are_left_out(tmp_path: Path) -> None:
    class Choosing(Settings):
        tied: ClassVar[Mapping[str, str]] = {"algo": "algo_options"}
        algo: str = "gigpo"
        algo_options: dict[str, Any] = Field(default_factory=dict)

    file = tmp_path / "a.yaml"
    for text in ("algo: gigpo\nalgo_options: {base: rows}\n", "algo_options: {base: rows}\n"):
        file.write_text(text, encoding="utf-8")
        kept = {"base": "rows"}
        assert load_config(Choosing, file).algo_options == kept
        assert load_config(Choosing, file, {"algo": "gigpo"}).algo_options == kept
        assert load_config(Choosing, file, {"algo": "3spo"}).algo_options == {}
        chosen = load_config(Choosing, file, {"algo_options.waves": 5, "algo": "3spo"})
        assert chosen.algo_options == {"waves": 5}
        assert load_config(Choosing, file, {"algo_options.omega": 2}).algo_options == {**kept, "omega": 2}
