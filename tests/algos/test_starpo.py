from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos import GRPO, PPO, StarPO, StarPOPPO, get_algorithm
from agentgym.contracts import CollectorSpec
from agentgym.errors import ConfigError
from tests.drawn import drawn_batch


@pytest.mark.parametrize("seed", range(3))
def test_credit_is_that_of_grpo(seed: int) -> None:
    batch = drawn_batch(seed)
    assert StarPO().credit(batch).advantage.tolist() == GRPO().credit(batch).advantage.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_on_ppo_credit_is_that_of_ppo_and_so_is_the_critic(seed: int) -> None:
    batch = drawn_batch(seed)
    rng = np.random.default_rng(seed)
    valued = batch.with_columns(value=rng.normal(size=len(batch)), next_value=rng.normal(size=len(batch)))
    assert StarPOPPO().credit(valued).advantage.tolist() == PPO().credit(valued).advantage.tolist()
    assert StarPOPPO().learners() == PPO().learners()
    assert StarPOPPO().config.clip_high == 0.28


def test_asks_for_the_uncertain_groups() -> None:
    assert StarPO().collector() == CollectorSpec("uncertainty", {"keep": 0.25})
    assert StarPO(keep=0.5).collector().options == {"keep": 0.5}
    with pytest.raises(ConfigError, match="keep = 0"):
        StarPO(keep=0)


def test_settings_of_ragen() -> None:
    algorithm = get_algorithm("starpo_ragen")
    assert isinstance(algorithm, StarPOPPO)
    assert algorithm.collector() == CollectorSpec("uncertainty", {"keep": 0.25})
    config = algorithm.config
    assert (config.level, config.gamma, config.lam) == ("token", 1.0, 1.0)
    assert (config.clip_low, config.clip_high, config.kl_coef, config.entropy_coef) == (0.2, 0.28, 0.0, 0.001)
