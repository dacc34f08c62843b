"""What the packages export, and what importing them costs."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import agentgym
import agentgym.algos
import agentgym.wrappers

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "accelerate", "pyarrow", "matplotlib", "scipy")


def public_names(module: ModuleType) -> set[str]:
    names = {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}
    return names - {"annotations"}


def modules() -> list[str]:
    names = []
    for folder in ("agentgym", "algos", "wrappers"):  # rglob does not follow the links from the first to the others
        for file in (ROOT / folder).rglob("*.py"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            names.append(name if folder == "agentgym" else f"agentgym.{name}")
    return sorted(set(names) - {"agentgym.__main__"})


def test_package_exports_what_it_says() -> None:
    """Every listed name resolves, and nothing public stands beside the list."""
    for name in agentgym.__all__:
        assert getattr(agentgym, name) is not None
    imported_for_itself = {"TYPE_CHECKING", "Any", "missing_extra", "register_environments"}
    assert public_names(agentgym) - imported_for_itself <= set(agentgym.__all__)


@pytest.mark.parametrize("name", modules())
def test_module_lists_its_names_sorted_and_documents_them(name: str) -> None:
    module = importlib.import_module(name)
    listed = list(module.__all__)
    assert len(set(listed)) == len(listed)
    for public in listed:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name}.{public} has no docstring"


@pytest.mark.parametrize("statement", ["import agentgym", "import agentgym.algos", "import agentgym.wrappers"])
def test_import_is_light(statement: str) -> None:
    code = f"{statement}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "code",
    [
        "import gymnasium, agentgym; gymnasium.make('ALFWorld-v0')",
        "import gymnasium, agentgym; gymnasium.make('agentgym/ALFWorld-v0')",
        "import gymnasium; gymnasium.make('agentgym:ALFWorld-v0')",
    ],
)
def test_environments_are_made_by_id(code: str) -> None:
    program = f"{code}.reset(seed=0)"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, text=True)
