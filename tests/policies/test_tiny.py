from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym.envs.webshop.corpus import world_names
from agentgym.policies import HFPolicy, tiny
from agentgym.policies.tiny import WORLDS, build, build_tokenizer
from agentgym.registration import ENVIRONMENTS

TEXTS = [
    "You arrive at cabinet 4. On the cabinet 4, you see a apple 1, and a mug 2.",
    "You arrive at desk 1. On the desk 1, you see a mug 3, and a apple 2.",
    "go to cabinet 4",
    "go to desk 1",
]


@given(st.text())
def test_any_text_survives_a_round_trip(text: str) -> None:
    if "<|" in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        return
    tokenizer = TOKENIZER
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


TOKENIZER = build_tokenizer(TEXTS)


def pieces(text: str) -> list[str]:
    return [str(TOKENIZER.decode([i])) for i in TOKENIZER(text)["input_ids"]]


def test_names_kinds_and_phrases_are_one_token_each() -> None:
    assert pieces("You arrive at cabinet 4. On the cabinet 4, you see a apple 1") == [
        "You arrive at ",
        "cabinet 4",
        ". On the ",
        "cabinet 4",
        ", you see a ",
        "apple 1",
    ]
    # A name that the sample did not hold is its kind and a number.
    assert pieces("go to cabinet 7") == ["go to ", "cabinet", " 7"]


# The shop -------------------------------------------------------------------------------------------------------------

PAGES = [
    "Instruction: [SEP] Find waterproof hiking boots, color: red, price below 40 dollars [SEP] Back to Search",
    "Instruction: [SEP] Find usb hub, price below 30 dollars [SEP] Back to Search",
    "click[B0PLKWTQCT]",
    "search[hiking boots]",
    "search[usb hub]",
    "click[red]",
    "click[blue]",
]
SHOP = build_tokenizer(PAGES, names=["hiking boots", "waterproof", "usb hub", "color", "red", "blue", "30", "40"])


@given(st.text())
def test_any_text_survives_in_lower_case(text: str) -> None:
    if "<|" in text.lower() or any(0xD800 <= ord(c) < 0xE000 for c in text):
        return
    # Unicode's lower case of one letter may be two; the tokenizer's and Python's differ at the end of Greek words.
    lower = "".join(c.lower() for c in text)
    assert SHOP.decode(SHOP(text)["input_ids"]) == lower


def test_given_names_are_one_token_and_furniture_between_them_too() -> None:
    ids = SHOP("click[RED]")["input_ids"]
    assert [SHOP.decode([i]) for i in ids] == ["click[", "red", "]"]
    page = [SHOP.decode([i]) for i in SHOP(PAGES[0])["input_ids"]]
    assert page[:3] == ["instruction: [sep] find ", "waterproof", " "]
    assert page[-2:] == ["40", " dollars [sep] back to search"]


@pytest.fixture(scope="module")
def shop_policy() -> HFPolicy:
    return HFPolicy.from_pretrained("tiny", world="WebShop-v0")


def test_the_policy_for_the_shop_speaks_its_language_in_few_tokens(shop_policy: HFPolicy) -> None:
    env = gym.make("WebShop-v0", data="builtin", difficulty="easy", split="validation")
    longest = {"page": 0, "action": 0, "episode": 0}
    for seed in range(20):
        page, _ = env.reset(seed=seed)
        over, total = False, 0
        while not over:
            action = env.unwrapped.expert_action()  # type: ignore[attr-defined]
            seen, said = shop_policy.chat.encode([page, action])
            total += len(seen) + len(said)
            longest["page"] = max(longest["page"], len(seen))
            longest["action"] = max(longest["action"], len(said))
            page, _, over, _, _ = env.step(action)
        longest["episode"] = max(longest["episode"], total)
    assert longest["page"] <= 170
    assert longest["action"] < shop_policy.max_new_tokens
    assert longest["episode"] <= 700


def test_what_is_clicked_is_written_as_it_stands_on_the_page(shop_policy: HFPolicy) -> None:
    env = gym.make("WebShop-v0", data="builtin", difficulty="easy")
    env.reset(seed=0)
    page, _, _, _, info = env.step("search[hiking boots]")
    seen = shop_policy.chat.encode([page])[0]
    for action in info["admissible"]:
        if action.startswith("click[b0"):
            said = shop_policy.chat.encode([action])[0][1:-1]
            assert any(seen[i : i + len(said)] == said for i in range(len(seen)))


def test_names_of_the_shop_are_lower_case_and_all_different() -> None:
    names = world_names()
    assert names == sorted(set(names))
    assert all(name == name.lower() and name.strip() == name for name in names)


def test_a_saved_policy_for_the_shop_keeps_its_defaults(shop_policy: HFPolicy, tmp_path: Path) -> None:
    shop_policy.save_pretrained(tmp_path)
    again = HFPolicy.from_pretrained(tmp_path)
    assert (again.context, again.max_new_tokens) == (shop_policy.context, shop_policy.max_new_tokens)
    assert again.chat.encode(["Click[RED]"]) == shop_policy.chat.encode(["click[red]"])


def test_worlds_without_words_of_their_own_get_those_of_the_household(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(WORLDS) <= set(ENVIRONMENTS)
    built = {name: build_tokenizer([f"{name} 1"]) for name in ("household", "shop")}
    monkeypatch.setattr(tiny, "_household", lambda: built["household"])
    monkeypatch.setitem(tiny.WORLDS, "WebShop-v0", lambda: built["shop"])
    for world, name in {"Chain-v0": "household", "my_function": "household", "agentgym/WebShop-v0": "shop"}.items():
        assert build(world)[1] is built[name]
    assert HFPolicy.from_pretrained("tiny", world="WebShop-v0").tokenizer is built["shop"]


@pytest.mark.parametrize("world", ["TwentyQuestions-v0", "GuessMyCity-v0"])
def test_the_policy_for_a_guessing_game_asks_in_few_tokens(world: str) -> None:
    policy = HFPolicy.from_pretrained("tiny", world=world)
    env = gym.make(world)
    _, info = env.reset(seed=1)
    asked = policy.chat.encode(list(info["admissible"]))
    assert max(map(len, asked)) <= 6 < policy.max_new_tokens
