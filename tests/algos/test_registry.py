from __future__ import annotations

import importlib.metadata
import inspect
import pkgutil
import sys
import types
from pathlib import Path

import pytest

import agentgym.algos
from agentgym.algos import ALGORITHMS, GRPO, PRESETS, Algorithm, GiGPO, get_algorithm, list_algorithms
from agentgym.errors import ConfigError
from agentgym.rollouts.collectors import COLLECTORS


class Foreign(GRPO):
    """An algorithm as another package would bring it."""


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("foreign_package")
    module.Foreign = Foreign  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "foreign_package", module)
    points = [
        importlib.metadata.EntryPoint("foreign", "foreign_package:Foreign", "agentgym.algos"),
        importlib.metadata.EntryPoint("broken", "json:loads", "agentgym.algos"),
        importlib.metadata.EntryPoint("grpo", "foreign_package:Foreign", "agentgym.algos"),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == "agentgym.algos" else [])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_name_builds_its_class(name: str) -> None:
    algorithm = get_algorithm(name)
    assert isinstance(algorithm, Algorithm)
    assert ALGORITHMS[name] == f"{type(algorithm).__module__}:{type(algorithm).__name__}"
    assert name in list_algorithms()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_says_where_it_comes_from(name: str) -> None:
    preset = PRESETS[name]
    config = get_algorithm(name).config
    for key, value in preset.settings.items():
        found = config.model_dump()[key]
        # Settings within a setting may be given in part.
        assert ({name: found[name] for name in value} if isinstance(value, dict) else found) == value
    assert preset.source
    assert name not in list_algorithms()


@pytest.mark.parametrize("name", [*ALGORITHMS, *PRESETS])
def test_what_it_asks_for_exists_and_takes_its_options(name: str) -> None:
    algorithm = get_algorithm(name)
    collector = algorithm.collector()
    assert set(collector.options) <= set(inspect.signature(COLLECTORS[collector.name]).parameters)
    for learner in algorithm.learners():
        pkgutil.resolve_name(learner.name)(**learner.options)


@pytest.mark.parametrize("name", [*ALGORITHMS, *PRESETS])
def test_the_table_of_methods_has_it(name: str) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/algorithms/index.md"
    assert f"`{name}`" in page.read_text(encoding="utf-8")


def test_overrides_win_over_a_preset() -> None:
    algorithm = get_algorithm("gigpo_webshop", omega=0.8)
    assert isinstance(algorithm, GiGPO)
    assert (algorithm.config.omega, algorithm.config.std, algorithm.config.base) == (0.8, None, "rows")


def test_an_unknown_name_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown algorithm 'gipo'\. Did you mean 'gigpo'.*Allowed: .*gigpo, gigpo_alf"
    ):
        get_algorithm("gipo")


@pytest.mark.usefixtures("foreign")
def test_other_packages_add_names_and_cannot_take_ours() -> None:
    assert list_algorithms() == tuple(sorted({"broken", "foreign", *ALGORITHMS}))
    assert type(get_algorithm("foreign", std=None)) is Foreign
    assert type(get_algorithm("grpo")) is GRPO
    with pytest.raises(ConfigError, match="'broken' is 'json:loads', which is not a subclass"):
        get_algorithm("broken")


def test_names_are_listed_and_resolve() -> None:
    for name in agentgym.algos.__all__:
        assert getattr(agentgym.algos, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'GIGPO'"):
        _ = agentgym.algos.GIGPO  # type: ignore[attr-defined]


def test_settings_may_stand_behind_the_name() -> None:
    algorithm = get_algorithm("gigpo_alfworld:gamma=1+std=null", omega=0.5)
    assert (algorithm.config.gamma, algorithm.config.std, algorithm.config.omega) == (1.0, None, 0.5)
    assert algorithm.config.base == "rows"  # the preset's
    with pytest.raises(ConfigError, match=r"settings are written gigpo:key=value\+key=value"):
        get_algorithm("gigpo:gamma")
