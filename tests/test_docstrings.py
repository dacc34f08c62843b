"""Every example in a docstring runs and gives what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import agentgym
import agentgym.algos
import agentgym.wrappers

MODULES = sorted(
    module.name
    for package in (agentgym, agentgym.algos, agentgym.wrappers)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if module.name != "agentgym.__main__"  # which runs when imported
)


@pytest.mark.parametrize("name", sorted(set(MODULES)))
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = ("agentgym.algos.gigpo", "agentgym.algos.scpo", "agentgym.evaluation.intervals")
    assert all(any(test.examples for test in finder.find(importlib.import_module(name))) for name in names)
