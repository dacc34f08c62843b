"""The guessing games: contract, oracle, guesses, score, expert, words."""

from __future__ import annotations

import functools
import re
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentgym
from agentgym.envs.guessing.corpus import world_names, world_texts
from agentgym.envs.guessing.env import GuessingEnv
from agentgym.envs.guessing.expert import best_question
from agentgym.envs.guessing.oracle import Game, city_game, normalise, thing_game
from agentgym.envs.guessing.things import ATTRIBUTES, things
from agentgym.errors import ConfigError, EnvironmentFault, TaskNotFoundError
from agentgym.testing import check_text_env

IDS = ("TwentyQuestions-v0", "GuessMyCity-v0")
GAMES = (thing_game(), city_game())


def playing(name: str, secret: str, **options: Any) -> gym.Env[str, str]:
    env = gym.make(name, split="all", **options)
    world = env.unwrapped
    assert isinstance(world, GuessingEnv)
    env.reset(options={"task": f"builtin/all/{world.names.index(secret)}"})
    return env


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("options", [{}, {"split": "validation"}, {"split": "all", "size": 10, "turn_cost": 1.0}])
def test_keeps_the_contract(name: str, options: dict[str, Any]) -> None:
    check_text_env(functools.partial(gym.make, name, **options))


@pytest.mark.parametrize("game", GAMES, ids=IDS)
def test_every_question_has_one_answer_for_every_secret(game: Game) -> None:
    assert len({normalise(question.text) for question in game.questions}) == len(game.questions)
    for question in game.questions:
        assert sum(question.holds) == game.everything, question.text
        assert len(question.holds) == len(question.replies)
        assert sum(mask.bit_count() for mask in question.holds) == len(game.secrets)
        assert game.parse(question.text) is question


@pytest.mark.parametrize("game", GAMES, ids=IDS)
def test_every_fact_divides_the_secrets(game: Game) -> None:
    for question in game.questions:
        assert all(0 < mask < game.everything for mask in question.holds), question.text


def test_tables_name_only_known_attributes_and_no_name_twice() -> None:
    assert all(thing.attributes <= set(ATTRIBUTES) for thing in things())
    aliases = [alias for thing in things() for alias in thing.aliases]
    assert len(set(aliases)) == len(aliases)
    assert all(name == name.strip() and name for name in aliases)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Could it fly?", "Can it fly?"),
        ("IS IT AN ANIMAL", "Is it an animal?"),
        ("Would you eat it?", "Can you eat it?"),
        ("does it have a display", "Does it have a screen?"),
        ("Is it something that you eat?", "Can you eat it?"),
        ("Is it larger than a person?", "Is it bigger than a person?"),
        ("Is it used for cutting?", "Do you cut with it?"),
        ("dog", "Is it a dog?"),
        ("Are you thinking of the dog?", "Is it a dog?"),
        ("I guess it's a bunny!", "Is it a rabbit?"),
        ("Is it a football?", "Is it a soccer ball?"),
        ("Is it orange?", "Is it an orange?"),
    ],
)
def test_other_wordings_are_understood(text: str, meant: str) -> None:
    question = thing_game().parse(text)
    assert question is not None
    assert question.text == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("What continent is your city on?", "Which continent is it on?"),
        ("Is your city a capital?", "Is it a capital?"),
        ("Is it located in France?", "Is it in France?"),
        ("On which continent do you live?", "Which continent is it on?"),
        ("How big is its population?", "How many people live there?"),
        ("Is it in South Africa?", "Is it in South Africa?"),
        ("Is it São Paulo?", "Is it Sao Paulo?"),
        ("saigon", "Is it Ho Chi Minh City?"),
    ],
)
def test_other_wordings_about_cities_are_understood(text: str, meant: str) -> None:
    question = city_game().parse(text)
    assert question is not None
    assert question.text == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Is it?",
        "What is it?",
        "Is it a unicorn?",
        "Is it not an animal?",
        "Is it an animal or a plant?",
        "Is it a dog, a cat, a horse?",
        "Is it red, is it round?",
        "It flies.",
        "Does it eat meat?",
        "Does it have a head?",
        "Is it bigger than a house?",
        "How many wheels does it have?",
        "Is it in the living room?",
        "Does it look for birds?",
        "Is it an animal? " * 20,
    ],
)
def test_nonsense_lists_and_logic_are_refused_and_change_nothing(text: str) -> None:
    env = playing("TwentyQuestions-v0", "dog", turn_cost=0.25)
    before = env.unwrapped.state_text()  # type: ignore[attr-defined]
    observation, reward, terminated, _, info = env.step(text)
    assert observation.startswith("I do not understand.")
    assert (reward, terminated, info["valid"], info["score"]) == (-0.25, False, False, 0.0)
    assert env.unwrapped.state_text() == before  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        "Is it the capital of France?",
        "Is it in the south of France?",
        "Is it west of London?",
        "Which river runs through it?",
        "Do people speak French there?",
        "Is it London, Paris, Rome?",
    ],
)
def test_what_would_be_answered_wrongly_about_cities_is_refused(text: str) -> None:
    assert city_game().parse(text) is None


@given(st.text(max_size=300))
def test_any_text_is_a_question_or_none(text: str) -> None:
    for game in GAMES:
        question = game.parse(text)
        assert question is None or question in game.questions


@pytest.mark.parametrize("name", IDS)
def test_every_secret_is_won_by_every_one_of_its_names(name: str) -> None:
    game = thing_game() if name == "TwentyQuestions-v0" else city_game()
    for alias, number in game.names.items():
        question = game.parse(f"Is it {alias}?")
        assert question is not None
        assert question.guess == number, alias
    env = playing(name, {"TwentyQuestions-v0": "ice cream", "GuessMyCity-v0": "rio de janeiro"}[name])
    _, reward, terminated, _, info = env.step("is it rio" if name == "GuessMyCity-v0" else "is it an ice cream")
    assert (reward, terminated, info["won"], info["score"]) == (1.0, True, True, 1.0)


def test_no_answer_names_a_city_or_country_before_it_is_guessed() -> None:
    game = city_game()
    countries = {normalise(q.text.removeprefix("Is it in ")) for q in game.questions if q.text.startswith("Is it in ")}
    continents = {"africa", "asia", "europe", "north america", "south america", "oceania"}
    for question in game.questions:
        for reply in question.replies:
            words = f" {normalise(reply)} "
            told = [name for name in (*game.names, *(countries - continents)) if f" {name} " in words]
            assert not told, (question.text, reply)
    env = playing("GuessMyCity-v0", "paris")
    assert env.step("Is it London?")[0] == "No."
    assert env.step("Is it Paris?")[0] == "Yes, it is Paris. You found it."


def test_task_ids_do_not_name_their_secret_and_name_their_source() -> None:
    for name in IDS:
        world = gym.make(name).unwrapped
        assert isinstance(world, GuessingEnv)
        assert all(re.fullmatch(r"builtin/train/\d+", task) for task in world.tasks)


@pytest.mark.parametrize("name", IDS)
def test_splits_share_nothing_and_make_up_everything(name: str) -> None:
    numbers = {}
    for split in ("all", "train", "validation"):
        world = gym.make(name, split=split).unwrapped
        assert isinstance(world, GuessingEnv)
        numbers[split] = {task.rpartition("/")[2] for task in world.tasks}
        assert world.held_out == ({} if split == "all" else {"split": "validation", "size": None})
    assert not numbers["train"] & numbers["validation"]
    assert numbers["train"] | numbers["validation"] == numbers["all"]
    assert 0.15 < len(numbers["validation"]) / len(numbers["all"]) < 0.25


def test_few_secrets_are_spread_over_the_table() -> None:
    world = gym.make("TwentyQuestions-v0", split="all", size=10).unwrapped
    assert isinstance(world, GuessingEnv)
    assert len(world.tasks) == 10
    assert len({things()[int(task.rpartition("/")[2])].category for task in world.tasks}) > 6


def test_the_original_scheme_is_a_cost_of_one_a_turn() -> None:
    env = playing("TwentyQuestions-v0", "dog", turn_cost=1.0)
    rewards = [env.step(text)[1] for text in ("Is it an animal?", "gibberish", "Is it a cat?", "Is it a dog?")]
    assert rewards == [-1.0, -1.0, -1.0, 0.0]


def test_twenty_turns_end_an_episode_as_truncated() -> None:
    env = playing("TwentyQuestions-v0", "dog")
    ends = [env.step("Is it a plant?")[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]


def test_score_and_state_say_what_is_known() -> None:
    """The same facts in another order are the same state; a fact that tells nothing changes nothing."""
    first, second = playing("TwentyQuestions-v0", "dog"), playing("TwentyQuestions-v0", "dog")
    a = [first.step(text)[4] for text in ("Is it an animal?", "Can it fly?", "Can it fly?")]
    b = [second.step(text)[4] for text in ("Can it fly?", "Is it an animal?")]
    assert a[1]["state_hash"] == a[2]["state_hash"] == b[1]["state_hash"] != a[0]["state_hash"]
    assert 0 < a[0]["score"] < a[1]["score"] < 1
    assert a[0]["obs_hash"] != a[1]["obs_hash"]


def test_another_secret_is_another_state() -> None:
    states = [playing("GuessMyCity-v0", city).step("Is it in Africa?")[4]["state_hash"] for city in ("rome", "milan")]
    assert states[0] != states[1]


@pytest.mark.parametrize(("name", "most"), [("TwentyQuestions-v0", 10.0), ("GuessMyCity-v0", 4.0)])
def test_expert_finds_every_secret_in_time(name: str, most: float) -> None:
    world = gym.make(name, split="all").unwrapped
    assert isinstance(world, GuessingEnv)
    turns = []
    for task in world.tasks:
        _, info = world.reset(options={"task": task})
        for turn in range(1, 21):
            action = world.expert_action()
            assert action in info["admissible"]
            _, _, over, _, info = world.step(action)
            if over:
                turns.append(turn)
                break
    assert len(turns) == len(world.tasks)
    assert sum(turns) / len(turns) < most


def test_expert_goes_by_the_answers_alone() -> None:
    for task in ("builtin/all/0", "builtin/all/100"):
        world = gym.make("TwentyQuestions-v0", split="all").unwrapped
        assert isinstance(world, GuessingEnv)
        world.reset(options={"task": task})
        assert world.expert_action() == best_question(thing_game(), thing_game().everything).text


def test_expert_guesses_where_a_guess_tells_as_much() -> None:
    game = thing_game()
    names = [game.secrets.index(name) for name in ("dog", "car")]
    question = best_question(game, sum(1 << number for number in names))
    assert question.guess in names


def test_snapshot_brings_the_knowledge_back() -> None:
    env = playing("TwentyQuestions-v0", "dog")
    env.step("Is it an animal?")
    here = agentgym.snapshot(env)
    first = env.step("Is it a pet?"), env.unwrapped.expert_action()  # type: ignore[attr-defined]
    other = playing("TwentyQuestions-v0", "cat")
    agentgym.restore(other, here)
    assert (other.step("Is it a pet?"), other.unwrapped.expert_action()) == first  # type: ignore[attr-defined]


def test_wrong_arguments_are_refused() -> None:
    for options, message in (
        ({"split": "test"}, "unknown split 'test'"),
        ({"size": 0}, "size=0: must be between 1 and"),
        ({"turn_cost": 2.0}, r"turn_cost=2.0: must be in \[0, 1\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            gym.make("TwentyQuestions-v0", **options)  # type: ignore[arg-type]
    env = gym.make("TwentyQuestions-v0").unwrapped
    with pytest.raises(TaskNotFoundError):
        env.reset(options={"task": "builtin/validation/2"})
    with pytest.raises(EnvironmentFault, match="reset"):
        gym.make("GuessMyCity-v0").unwrapped.expert_action()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", IDS)
def test_words_for_tokenizers_are_all_the_game_says(name: str) -> None:
    texts, names = world_texts(name), world_names(name)
    env = gym.make(name, split="all").unwrapped
    assert isinstance(env, GuessingEnv)
    observation, info = env.reset(seed=0)
    said = {observation, *info["admissible"]}
    for _ in range(20):
        observation, _, over, _, _ = env.step(env.expert_action())
        said.add(observation)
        if over:
            break
    assert said <= set(texts)
    assert len(names) == len(env.tasks)
    with pytest.raises(ConfigError, match="unknown guessing game"):
        world_texts("ALFWorld-v0")
