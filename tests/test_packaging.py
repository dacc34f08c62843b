"""The package map, the links, the version, and the sizes we promise to keep."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import agentgym

ROOT = Path(__file__).resolve().parents[1]
CODE = ("agentgym", "algos", "wrappers", "examples", "benchmarks")
FUNCTION_LINES, MODULE_LINES = 60, 500


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages_in_tree(package_dir: dict[str, str]) -> set[str]:
    found = set()
    for package, folder in package_dir.items():
        # os.walk stays out of the links agentgym/algos and agentgym/wrappers, which have entries of their own.
        for where, _, files in os.walk(ROOT / folder):
            if "__init__.py" in files:
                found.add(".".join((package, *Path(where).relative_to(ROOT / folder).parts)))
    return found


def python_files() -> list[Path]:
    return [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]


def test_packages_list_is_the_tree(project: dict[str, Any]) -> None:
    table = project["tool"]["setuptools"]
    assert sorted(table["packages"]) == sorted(packages_in_tree(table["package-dir"]))


def test_every_module_lies_in_a_package(project: dict[str, Any]) -> None:
    for folder in project["tool"]["setuptools"]["package-dir"].values():
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), (
                f"{path} would not be installed: its folder has no __init__.py"
            )


@pytest.mark.parametrize("name", ["algos", "wrappers"])
def test_links_lead_to_the_real_folders(name: str) -> None:
    link = ROOT / "agentgym" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", ["algos", "wrappers"])
def test_importing_a_folder_by_its_bare_name_is_refused(name: str) -> None:
    run = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert f"import 'agentgym.{name}'" in run.stderr


def test_changelog_and_citation_name_the_version() -> None:
    assert f"## {agentgym.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {agentgym.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_all_and_dev_extras_install_together_without_the_gpl_engine(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    for name in ("all", "dev"):
        assert not any("alfworld" in requirement or "textworld" in requirement for requirement in extras[name])


def test_functions_and_modules_are_small() -> None:
    long = []
    for path in python_files():
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > MODULE_LINES:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {size} lines")
    assert not long, "\n".join(long)
