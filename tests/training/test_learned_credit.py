"""Methods whose credit is learned: by name on the worlds of their papers, and out of a data set that is cut off."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from agentgym.algos import ArCHerOffline, get_algorithm
from agentgym.policies import HFPolicy, tiny
from agentgym.rollouts import GroupCollector
from agentgym.storage import write_groups
from agentgym.training import Trainer
from tests.training.small import make_corridor, small_config, small_policy
from tests.training.test_every_method import Metrics
from tests.training.test_resume import Knock, assert_same_run, metrics, train

# Few and small steps of critics that train by themselves.
CRITICS: dict[str, Any] = {"steps": 1, "minibatch": 4}
HOUSEHOLD: dict[str, dict[str, Any]] = {
    "archer": CRITICS,
    "archer_offline": CRITICS,
    "filtered_bc": {},
    "ma_ppo": {"termination": "parsed", "kl_reward_coef": 0.1},
    "spa": {"beta": 0.5},
}
SHOP: dict[str, dict[str, Any]] = {"archer": CRITICS, "spa": {}}
CASES = [("ALFWorld-v0", *case) for case in HOUSEHOLD.items()] + [("WebShop-v0", *case) for case in SHOP.items()]


@pytest.mark.parametrize(("env", "name", "options"), CASES, ids=[f"{env}, {name}" for env, name, _ in CASES])
def test_it_trains_by_name_on_the_worlds_of_its_paper(
    env: str, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model, tokenizer, arguments = tiny.build(env, hidden=16)
    policy = HFPolicy(model, tokenizer, context=arguments["context"], constrain="admissible")
    config = small_config(tmp_path / "run", iterations=1, groups=1, group_size=2, save_every=0)
    seen = Metrics()
    world = {"data": "builtin", "max_episode_steps": 3}
    algorithm = get_algorithm(name, **options)
    Trainer(env, policy, algorithm, config, env_kwargs=world, callbacks=[seen], display=False).train()
    [row] = seen.seen
    assert math.isfinite(row["loss"])
    assert (row["updates"], row["skipped_updates"]) == (1, 0)


def test_a_run_on_a_data_set_goes_on_bit_for_bit(tmp_path: Path) -> None:
    groups = GroupCollector(make_corridor, small_policy(constrain="admissible"), groups=5, group_size=2).collect(0)
    write_groups(tmp_path / "games.jsonl", groups.groups)
    options = {**CRITICS, "data": str(tmp_path / "games.jsonl"), "critic_learning_rate": 1e-3}
    settings: dict[str, Any] = {"eval_episodes": 0, "learning_rate": 0.003}
    train(tmp_path / "straight", algorithm=ArCHerOffline(**options), **settings)
    train(tmp_path / "cut", algorithm=ArCHerOffline(**options), callbacks=[Knock(2)], **settings)
    train(tmp_path / "cut", algorithm=ArCHerOffline(**options), resume=True, **settings)
    assert_same_run(tmp_path / "straight", tmp_path / "cut")
    assert len({row["loss"] for row in metrics(tmp_path / "cut")}) == 4
