"""WebShop-v0 through gym.make: contracts, seeds, tasks, splits, snapshots, vectors."""

from __future__ import annotations

import functools
import pickle
import random
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import agentgym
from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.pages import MODES, SEPARATOR
from agentgym.envs.webshop.reward import RewardRules
from agentgym.errors import ConfigError, EnvironmentFault, SnapshotError, TaskNotFoundError
from agentgym.identity import text_hash
from agentgym.testing import check_text_env

Env = gym.Env[str, str]


def make(**options: Any) -> Env:
    return gym.make("WebShop-v0", **{"data": "builtin", **options})


def world(env: Env) -> WebShopEnv:
    assert isinstance(env.unwrapped, WebShopEnv)
    return env.unwrapped


def walk(env: Env, seed: int, steps: int = 15) -> list[Any]:
    rng = random.Random(seed)
    observation, info = env.reset(seed=seed)
    seen: list[Any] = [(observation, info)]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(rng.choice(info["admissible"]))
        seen.append((observation, reward, terminated, truncated, info))
        if terminated or truncated:
            break
    return seen


def solve(env: Env) -> tuple[float, dict[str, Any]]:
    """Play the running episode with the expert that knows the product."""
    while True:
        _, reward, terminated, truncated, info = env.step(world(env).expert_action(searching=False))
        if terminated or truncated:
            return float(reward), info


@pytest.mark.parametrize("observation", MODES)
def test_keeps_the_contract(observation: str) -> None:
    check_text_env(functools.partial(make, observation=observation))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_keeps_the_contract_on_the_originals_catalogue(agentgym_data: Path, split: str) -> None:
    check_text_env(functools.partial(make, split=split, data=str(agentgym_data)))


def test_info_reward_and_end() -> None:
    env = make(split="test", difficulty="easy")
    observation, info = env.reset(seed=3)
    assert info["task_id"].startswith("builtin/test/easy/")
    assert observation == f"WebShop [SEP] Instruction: [SEP] {info['goal']} [SEP] Search"
    assert (info["valid"], info["won"], info["score"], info["reward_exact"]) == (True, False, 0.0, True)
    assert info["admissible"][0] == f"search[{info['goal'].lower()}]"
    assert info["task_type"] == world(env).customer_goal.category
    reward, info = solve(env)
    assert (reward, info["score"], info["won"], info["admissible"]) == (1.0, 1.0, True, ())
    assert world(env).purchase is not None
    with pytest.raises(EnvironmentFault, match="call reset"):
        world(env).step("search[mug]")
    with pytest.raises(EnvironmentFault, match="expert needs a running episode"):
        world(env).expert_action()


def test_only_the_whole_reward_wins() -> None:
    env = make()
    env.reset(seed=0)
    *_, info = env.step("search[boots]")
    *_, info = env.step(info["admissible"][2])
    assert not info["won"]
    _, reward, terminated, _, info = env.step("click[buy now]")
    assert terminated
    assert reward < 1.0
    assert (info["score"], info["env_reward"], info["won"]) == (reward, reward, False)


@pytest.mark.parametrize(
    "action",
    ["buy", "click[buy now]", "click[search]", "search[]", "click[nothing here]", "think[hm]", "", "[", "\x00"],
)
def test_what_the_original_ignores_changes_nothing(action: str) -> None:
    env = make()
    observation, before = env.reset(seed=1)
    again, reward, terminated, _, info = env.step(action)
    assert (again, reward, terminated, info["valid"]) == (observation, 0.0, False, False)
    assert info["state_hash"] == before["state_hash"]
    assert info["obs_hash"] == before["obs_hash"]


def test_searches_that_are_offered_are_carried_out(agentgym_data: Path) -> None:
    env = world(make(data=agentgym_data))
    for seed in range(50):
        _, info = env.reset(seed=seed)
        assert len(info["admissible"]) == 2 - ("price lower" not in info["goal"])
        for action in info["admissible"]:
            env.reset(seed=seed)
            assert env.step(action)[4]["valid"], action


@pytest.mark.parametrize("observation", MODES)
def test_pages_are_named_without_the_instruction(observation: str) -> None:
    env, other = make(observation=observation), make(observation=observation)
    first, second = env.reset(seed=0)[1], other.reset(seed=5)[1]
    assert first["goal"] != second["goal"]
    assert first["obs_hash"] == second["obs_hash"]
    assert first["state_hash"] != second["state_hash"]
    pages = [env_.step("search[hand cream]") for env_ in (env, other)]
    assert pages[0][4]["obs_hash"] == pages[1][4]["obs_hash"] != first["obs_hash"]
    assert (pages[0][0] == pages[1][0]) == (observation == "simple")
    if observation == "text":
        assert pages[0][4]["obs_hash"] == text_hash(pages[0][0].split(first["goal"] + SEPARATOR)[1])


def test_the_state_is_told_apart_where_the_page_is_not() -> None:
    """Choosing an option leaves the page as it is: two states of one name for the eye."""
    env = make()
    env.reset(seed=0)
    *_, results = env.step("search[hand cream]")
    *_, before = env.step(results["admissible"][2])
    options = [click for click in before["admissible"] if world(env).page.clickables[click[6:-1]].kind == "option"]
    *_, after = env.step(options[0])
    assert after["obs_hash"] == before["obs_hash"]
    assert after["state_hash"] != before["state_hash"]
    *_, again = env.step(options[0])
    assert again["state_hash"] == after["state_hash"]


def test_the_order_of_choices_is_no_part_of_the_state(agentgym_data: Path) -> None:
    env = make(data=agentgym_data)
    hashes = []
    for order in (("large", "other white"), ("other white", "large")):
        env.reset(seed=0)
        for action in (
            "search[women's slippers faux fur rachel zoe]",
            "click[b099fkk27g]",
            *(f"click[{o}]" for o in order),
        ):
            *_, info = env.step(action)
            assert info["valid"], action
        hashes.append(info["state_hash"])
    assert hashes[0] == hashes[1]


def test_seeds_decide_and_nothing_else() -> None:
    assert walk(make(), 7) == walk(make(), 7)
    assert walk(make(), 7)[0] != walk(make(), 8)[0]
    env = make()
    _, info = env.reset(seed=4)
    same, _ = make().reset(options={"task": info["task_id"]})
    assert same == env.reset(seed=4)[0]


# Splits and sources ---------------------------------------------------------------------------------------------------


def goals_of(split: str, data: Path, **options: Any) -> list[Any]:
    env = WebShopEnv(split, data, **options)
    found = []
    for task in env.tasks or ():
        env.reset(options={"task": task})
        found.append(env.customer_goal)
    return found


def test_default_splits_share_no_product(agentgym_data: Path) -> None:
    splits = {split: goals_of(split, agentgym_data) for split in ("train", "validation", "test")}
    assert {split: len(goals) for split, goals in splits.items()} == {"train": 5128, "validation": 1078, "test": 704}
    products = [{goal.asin for goal in goals} for goals in splits.values()]
    assert sum(map(len, products)) == len(set().union(*products)) == 415


def test_the_originals_split_shares_products(agentgym_data: Path) -> None:
    train, test = (goals_of(split, agentgym_data, split_rule="original") for split in ("train", "test"))
    assert (len(train), len(test)) == (5410, 500)
    assert {goal.asin for goal in train} & {goal.asin for goal in test}
    assert not {goal.instruction for goal in train} >= {goal.instruction for goal in test}


def test_verl_agents_workers_train_on_each_others_test_goals(agentgym_data: Path) -> None:
    test = goals_of("test", agentgym_data, split_rule="verl_agent", worker_seed=0)
    assert len(test) == 500
    same, other = (
        {goal.instruction for goal in goals_of("train", agentgym_data, split_rule="verl_agent", worker_seed=seed)}
        for seed in (0, 1)
    )
    wanted = {goal.instruction for goal in test}
    assert len(wanted & same) < 10  # a few goals of one product and price read alike
    assert len(wanted & other) > 400


def test_human_goals(agentgym_data: Path) -> None:
    goals = [goal for split in ("train", "validation", "test") for goal in _human(split, agentgym_data)]
    assert len(goals) == 13
    assert {goal.kind for goal in goals} == {"human"}
    assert all(name is None for goal in goals for name, _ in goal.options)


def _human(split: str, data: Path) -> list[Any]:
    try:
        return goals_of(split, data, goals="human")
    except ConfigError as error:
        assert "has no goal in" in str(error)  # noqa: PT017 - thirteen goals need not reach every split
        return []


def test_task_ids_name_source_split_and_settings(agentgym_data: Path) -> None:
    for options, start in [
        ({}, "small/test/"),
        ({"split_rule": "original"}, "small/test-original/"),
        ({"split_rule": "verl_agent", "worker_seed": 3}, "small/test-verl_agent3/"),
        ({"price_seed": 7}, "small/test-prices7/"),
    ]:
        env = make(split="test", data=agentgym_data, **options)
        assert env.reset(seed=0)[1]["task_id"].startswith(start)
        assert world(env).tasks is not None
        assert all(task.startswith(start) for task in world(env).tasks or ())


def test_another_price_seed_draws_other_prices(agentgym_data: Path) -> None:
    first, other = (world(make(data=agentgym_data, price_seed=seed))._shop.prices for seed in (0, 1))
    products = world(make(data=agentgym_data))._shop.catalogue
    for number in range(len(products)):
        product = products.product(number)
        low, high = product.prices[0], product.prices[-1]
        assert (first[product.asin] == other[product.asin]) == (low == high)
        assert min(low, high) <= other[product.asin] <= max(low, high)


def test_held_out_goals_are_the_validation_split() -> None:
    assert world(make()).held_out == {"split": "validation"}


def test_environments_of_a_source_share_its_shop(agentgym_data: Path) -> None:
    assert world(make(data=agentgym_data))._shop is world(make(data=agentgym_data, split="test"))._shop
    assert world(make())._shop is world(make(split="test"))._shop


def test_rules_that_differ_from_the_originals_are_reported() -> None:
    for rules in (RewardRules(plain_colours=False), {"plain_colours": False}):
        assert not make(rules=rules).reset(seed=0)[1]["reward_exact"]
        assert world(make(rules=rules))._rules == RewardRules(plain_colours=False)
    assert make(rules={"repeated_nouns": True}).reset(seed=0)[1]["reward_exact"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "unknown split 'tset'. Did you mean 'test'"),
        ({"observation": "html"}, "unknown observation mode 'html'"),
        ({"data": "no/such/place"}, "does not exist; name a folder of WebShop's files"),
        ({"split_rule": "original"}, "are for the original's catalogue, and the built-in shop is in use"),
        ({"goals": "humans"}, "unknown kind of goals 'humans'. Did you mean 'human'"),
        ({"observation": None}, "unknown observation mode None. Allowed: simple, text, text_rich"),
        ({"rules": {"plain_colour": False}}, "unknown rule of the reward 'plain_colour'. Did you mean 'plain_colours'"),
        ({"rules": {"plain_colours": "no"}}, "'plain_colours' of the reward must be true or false, not 'no'"),
        ({"rules": "none"}, "is neither a RewardRules nor a mapping"),
        ({"split_rule": "verl"}, "unknown split rule 'verl'"),
        ({"difficulty": "esay"}, "Did you mean 'easy'"),
        ({"data": __file__.rsplit("/", 1)[0]}, "holds no catalogue of WebShop"),
    ],
)
def test_wrong_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_settings_of_the_other_source(agentgym_data: Path) -> None:
    with pytest.raises(ConfigError, match="is for the built-in shop"):
        make(data=agentgym_data, difficulty="hard")
    with pytest.raises(ConfigError, match="worker_seed=3 is for split_rule='verl_agent'"):
        make(data=agentgym_data, worker_seed=3)


def test_unknown_tasks(agentgym_data: Path) -> None:
    for data in ("builtin", str(agentgym_data)):
        env = make(data=data)
        for task in ("small/train/99999", "small/train/x", "builtin/test/3", ""):
            with pytest.raises(TaskNotFoundError):
                env.reset(options={"task": task})


def test_data_is_found_where_the_environment_says(agentgym_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTGYM_DATA")
    assert gym.make("WebShop-v0").reset(seed=0)[1]["task_id"].startswith("builtin/")
    monkeypatch.setenv("WEBSHOP_DATA", str(agentgym_data / "webshop"))
    assert gym.make("WebShop-v0").reset(seed=0)[1]["task_id"].startswith("small/")


# Snapshots and vectors ------------------------------------------------------------------------------------------------


def test_branches_from_a_snapshot_are_apart() -> None:
    env, other = make(), make()
    env.reset(seed=2)
    env.step("search[mug]")
    saved = pickle.loads(pickle.dumps(agentgym.snapshot(env)))
    reward, _ = solve(env)
    agentgym.restore(other, saved)
    assert world(other).goal == world(env).goal
    assert solve(other)[0] == reward
    agentgym.restore(env, saved)
    assert world(env).purchase is None
    assert solve(env)[0] == reward


def test_a_purchase_can_be_restored() -> None:
    env = make()
    env.reset(seed=2)
    _, info = solve(env)
    page = world(env).page.text
    saved = agentgym.snapshot(env)
    env.reset(seed=3)
    agentgym.restore(env, saved)
    assert world(env).page.text == page
    assert world(env).purchase is not None
    assert text_hash(world(env).state_text()) == info["state_hash"]


def test_snapshots_of_another_shop_are_refused() -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(SnapshotError, match="taken in another shop"):
        agentgym.restore(make(difficulty="easy"), agentgym.snapshot(env))


def test_snapshots_are_small() -> None:
    env = make()
    walk(env, 0)
    assert len(pickle.dumps(agentgym.snapshot(env))) < 4_000


def test_before_the_first_reset() -> None:
    env = WebShopEnv(data="builtin")
    with pytest.raises(EnvironmentFault, match="no state before the first reset"):
        env.state_text()
    with pytest.raises(EnvironmentFault, match="no goal before the first reset"):
        _ = env.customer_goal
    saved = agentgym.snapshot(env)
    env.reset(seed=0)
    agentgym.restore(env, saved)
    with pytest.raises(EnvironmentFault, match="no state"):
        env.state_text()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors(mode: str) -> None:
    envs = gym.make_vec("WebShop-v0", num_envs=2, vectorization_mode=mode, data="builtin")
    observations, _ = envs.reset(seed=[0, 1])
    assert all(text.startswith("WebShop [SEP] ") for text in observations)
    observations, rewards, *_ = envs.step(("search[mug]", "nothing"))
    assert "Page 1" in observations[0]
    assert observations[1].startswith("WebShop")
    assert rewards.tolist() == [0.0, 0.0]
    envs.close()


def test_states_have_the_same_names_wherever_the_files_lie(agentgym_data: Path, tmp_path: Path) -> None:
    for name in ("items_shuffle_1000.json", "items_ins_v2_1000.json", "title_nouns_1k_spacy3.8.json"):
        (tmp_path / name).symlink_to(agentgym_data / "webshop" / name)
    here, there = (walk(make(data=folder), 3) for folder in (agentgym_data, tmp_path))
    assert here == there
    assert make(data=agentgym_data, price_seed=1).reset(seed=3)[1]["state_hash"] != here[0][1]["state_hash"]


def test_a_snapshot_remembers_the_shop_it_was_taken_in() -> None:
    env = WebShopEnv(data="builtin", difficulty="mall")
    env.reset(options={"task": "builtin/train/mall/0"})
    first = env.step(env.expert_action(searching=False))[0]
    there = env.snapshot_state()
    env.reset(options={"task": "builtin/train/mall/31"})
    other = env.step(env.expert_action(searching=False))[0]
    assert other != first
    env.restore_state(there)
    assert env.page.with_instruction(env.goal) == first
    over, won = False, False
    while not over:
        _, _, over, _, info = env.step(env.expert_action(searching=False))
        won = info["won"]
    assert won


def test_the_expert_it_is_made_with_is_the_one_that_is_asked() -> None:
    env = WebShopEnv(data="builtin", expert="knowing")
    env.reset(seed=3)
    assert env.expert_action() == env.expert_action(searching=False)
    with pytest.raises(ConfigError, match=r"unknown expert 'clever'.*searching"):
        WebShopEnv(data="builtin", expert="clever")
