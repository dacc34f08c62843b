"""Filtered behaviour cloning imitates all that was chosen, alike."""

from __future__ import annotations

import pytest

from agentgym.algos import FilteredBC
from agentgym.errors import ConfigError
from agentgym.testing import make_batch


def test_every_turn_that_was_chosen_counts_the_same() -> None:
    batch = make_batch(group=[0, 0, 1], episode=[0, 0, 1], t=[0, 1, 0], reward=[0, 1, -5])
    assert FilteredBC().credit(batch).advantage.tolist() == [1.0, 1.0, 1.0]


def test_the_collector_gets_the_settings() -> None:
    assert FilteredBC(share=0.25, capacity=7).collector().options == {"share": 0.25, "capacity": 7}
    with pytest.raises(ConfigError, match="share"):
        FilteredBC(share=0.0)
