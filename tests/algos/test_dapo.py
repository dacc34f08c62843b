from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos import DAPO, GRPO, get_algorithm
from agentgym.algos.dapo import overlong_penalty
from agentgym.contracts import CollectorSpec
from agentgym.errors import ConfigError
from agentgym.testing import make_batch
from tests.drawn import drawn_batch


def test_the_published_buffer() -> None:
    """Nothing up to 16,384 tokens, half at 18,432, all of it at 20,480."""
    lengths = np.array([0, 16384, 16385, 18432, 20480, 30000])
    assert overlong_penalty(lengths, 20480, 4096, 1.0).tolist() == [0, 0, 1 / 4096, 0.5, 1, 1]
    assert overlong_penalty(lengths, 20480, 4096, 0.25).tolist() == [0, 0, 1 / 16384, 0.125, 0.25, 0.25]


def lengthy() -> dict[str, object]:
    """Two episodes of two rows that both earn 1, with responses of 1 and 3, and of 4 and 2 tokens."""
    offsets = np.array([0, 1, 4, 8, 10])
    return {
        "group": [0] * 4,
        "episode": [0, 0, 1, 1],
        "t": [0, 1, 0, 1],
        "reward": [0, 1, 0, 1],
        "token_offsets": offsets,
        "token_ids": np.zeros(10, np.int64),
        "logprobs": np.zeros(10, np.float32),
    }


def test_length_is_that_of_an_episode_or_of_a_row_by_the_base() -> None:
    batch = make_batch(**lengthy())  # type: ignore[arg-type]
    # Episodes of 4 and 6 tokens against a limit of 8 from 4 on: penalties 0 and 0.5, so totals 1 and 0.5.
    episodes = DAPO(std=None, overlong_limit=8, overlong_buffer=4).credit(batch).advantage
    assert episodes.tolist() == [0.25, 0.25, -0.25, -0.25]
    # Rows of 1, 3, 4 and 2 tokens against a limit of 4 from 2 on: penalties 0, 0.5, 1 and 0.
    rows = DAPO(base="rows", std=None, overlong_limit=4, overlong_buffer=2).credit(batch).advantage
    assert rows.tolist() == [0.375, -0.125, -0.625, 0.375]


@pytest.mark.parametrize("seed", range(5))
def test_credit_is_that_of_grpo_where_lengths_are_not_shaped(seed: int) -> None:
    batch = drawn_batch(seed)
    assert DAPO().credit(batch).advantage.tolist() == GRPO().credit(batch).advantage.tolist()


def test_settings_of_the_paper() -> None:
    config = get_algorithm("dapo_paper").config
    assert (config.clip_low, config.clip_high, config.aggregation, config.kl_coef) == (0.2, 0.28, "token-mean", 0.0)
    assert get_algorithm("dapo_verl_agent").config.kl_coef == 0.01


def test_asks_for_dynamic_sampling() -> None:
    assert DAPO(max_batches=3).collector() == CollectorSpec("dynamic", {"max_batches": 3})


def test_a_buffer_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="overlong_buffer=4096 must not exceed overlong_limit=512"):
        DAPO(overlong_limit=512)
