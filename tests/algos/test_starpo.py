from __future__ import annotations

import pytest

from agentgym.algos import GRPO, StarPO, get_algorithm
from agentgym.contracts import CollectorSpec
from agentgym.errors import ConfigError
from tests.drawn import drawn_batch


@pytest.mark.parametrize("seed", range(3))
def test_credit_is_that_of_grpo(seed: int) -> None:
    batch = drawn_batch(seed)
    assert StarPO().credit(batch).advantage.tolist() == GRPO().credit(batch).advantage.tolist()


def test_asks_for_the_uncertain_groups() -> None:
    assert StarPO().collector() == CollectorSpec("uncertainty", {"keep": 0.25})
    assert StarPO(keep=0.5).collector().options == {"keep": 0.5}
    with pytest.raises(ConfigError, match="keep = 0"):
        StarPO(keep=0)


def test_settings_of_ragen() -> None:
    config = get_algorithm("starpo_ragen").config
    assert (config.clip_low, config.clip_high, config.kl_coef, config.entropy_coef) == (0.2, 0.28, 0.0, 0.001)
