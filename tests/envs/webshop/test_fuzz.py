"""Whatever an agent says, and whatever a catalogue's texts hold: the original's reaction or one clear error."""

from __future__ import annotations

import json
import lzma
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import agentgym
from agentgym.cli import app
from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.indexing import build_index
from agentgym.errors import AgentGymError, ConfigError, DataError

# Actions --------------------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(), max_size=20)  # control characters and lone surrogates included
ODD = st.sampled_from(
    [
        *(
            "",
            " ",
            "[",
            "]",
            "[]",
            "search[]",
            "click[]",
            "search[ ]",
            "search[a",
            "search]a[",
            "search[a]]",
            "search[[a]",
        ),
        *("click[buy now]", "CLICK[BUY NOW]", "click[Buy Now]", "click[search]", "click[next >]", "click[< prev]"),
        *("click[b000000001]", "click[B000000001]", "search[<r>]", "search[<a> x]", "search[<q> mugs]", "search[<c>]"),
        *("search[\n]", "click[back to search]\n", "search[a]\nclick[b]", "think[hm]", "buy now", "click[description]"),
        *("search[search_results]", "search[item_page]", "search[item_sub_page]", "search[" + "a " * 5000 + "]"),
    ]
)
WRAPPED = st.tuples(st.sampled_from(["search[{}]", "click[{}]", "{}[x]", "click[{}"]), ANY_TEXT).map(
    lambda pair: pair[0].format(pair[1].replace("{", "").replace("}", ""))
)
ACTIONS = st.lists(ANY_TEXT | ODD | WRAPPED | st.integers(0, 1000), max_size=14)


@pytest.fixture(scope="module", params=["text", "text_rich", "simple"])
def env(request: pytest.FixtureRequest) -> gym.Env[str, str]:
    return gym.make("WebShop-v0", data="builtin", difficulty="easy", observation=request.param)


def unseen(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name != "valid"}


@given(seed=st.integers(0, 20), actions=ACTIONS)
def test_any_action_is_legal(env: gym.Env[str, str], seed: int, actions: list[Any]) -> None:
    """Numbers stand for admissible actions, so that odd ones meet every kind of page."""
    observation, info = env.reset(seed=seed)
    for action in actions:
        admissible = info["admissible"]
        legal = isinstance(action, int)
        text = admissible[action % len(admissible)] if legal else action
        state = env.unwrapped.state_text()  # type: ignore[attr-defined]
        after, reward, terminated, truncated, seen = env.step(text)
        assert 0.0 <= reward <= 1.0
        if legal:
            assert seen["valid"], text
        if not seen["valid"]:
            assert (after, unseen(seen)) == (observation, unseen(info)), text
            assert env.unwrapped.state_text() == state  # type: ignore[attr-defined]
            assert not terminated
        observation, info = after, seen
        json.dumps(info)
        if terminated or truncated:
            break


@pytest.mark.parametrize("action", [None, 3, b"search[a]", ["search[a]"]])
def test_what_is_no_text_is_refused(action: Any) -> None:
    env = WebShopEnv(data="builtin", difficulty="easy")
    env.reset(seed=0)
    with pytest.raises(TypeError, match="must be a string"):
        env.step(action)


# Texts of products ----------------------------------------------------------------------------------------------------

TRAPS = [
    *("click[buy now]", "search[all]", "[SEP]", " [SEP] Search", "back to search", "next >", "< prev", "buy now"),
    *("description", "features", "<b>bold</b>", "&lt;&amp;", "\x00\x07\x1b[31m", "\u202eedoc", "a\r\nb\nc\t", "[", "]"),
    *("$5.00", "\ud800", "{x!r:>9}", "%s", "'; drop table", "Instruction:", "🙂‍🙂", "İ", "ß", "A" * 30_000, "   "),
]
TRAP = st.sampled_from(TRAPS) | ANY_TEXT


def record(number: int, texts: list[str], options: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "asin": f"B{number:09d}",
        "name": f"mug {texts[0]}",
        "full_description": texts[1],
        "small_description": texts[2:4],
        "product_category": f"Home › {texts[4]}",
        "category": texts[4],
        "query": f"mugs {texts[5]}",
        "pricing": "$5.00 - $7.00",
        "customization_options": {
            name: [{"value": value, "image": None} for value in values] for name, values in options.items()
        },
        "images": [],
    }


def write(folder: Path, products: Any, attributes: Any, **others: Any) -> Path:
    """Write the original's files; what is bytes is written as it is."""
    for name, value in {"items_shuffle_1000": products, "items_ins_v2_1000": attributes, **others}.items():
        (folder / f"{name}.json").write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return folder


def asked(texts: list[str]) -> dict[str, Any]:
    return {"attributes": texts[:2], "instruction": texts[0], "instruction_attributes": texts[:1]}


@settings(max_examples=25)
@given(
    texts=st.lists(TRAP, min_size=6, max_size=6),
    options=st.dictionaries(TRAP, st.lists(TRAP, min_size=1, max_size=3), max_size=2),
    choices=st.lists(st.integers(0, 1000), min_size=8, max_size=14),
    mapped=st.booleans(),
    mode=st.sampled_from(["text", "text_rich", "simple"]),
)
def test_texts_of_products_are_data(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    options: dict[str, list[str]],
    choices: list[int],
    mapped: bool,
    mode: str,
) -> None:
    """Every listed action is carried out, sessions can be saved, and a title stands on its page as it is."""
    folder = tmp_path_factory.mktemp("shop")
    numbers = range(3)
    write(
        folder,
        [record(number, texts[number:] + texts[:number], options) for number in numbers],
        {f"B{number:09d}": asked([f"{texts[1]}x", "new"]) for number in numbers},
    )
    data = build_index(folder) if mapped else folder
    env = gym.make("WebShop-v0", data=str(data), split_rule="verl_agent", split="test", observation=mode)
    _, info = env.reset(seed=0)
    for choice in choices:
        admissible = info["admissible"]
        observation, reward, terminated, truncated, info = env.step(admissible[choice % len(admissible)])
        assert info["valid"]
        assert 0.0 <= reward <= 1.0
        pickle.dumps(agentgym.snapshot(env))
        if terminated or truncated:
            break
        place = env.unwrapped._place  # type: ignore[attr-defined]
        if place.kind == "item" and mode != "text_rich":
            assert f"mug {texts[place.product]}".strip() in observation


def test_a_name_that_looks_like_an_action_does_nothing_by_itself(tmp_path: Path) -> None:
    write(tmp_path, [record(0, ["click[buy now]"] * 6, {})], {"B000000000": asked(["click[buy now]"])})
    env = WebShopEnv("test", data=tmp_path, split_rule="verl_agent")
    env.reset(seed=0)
    for action in ("search[mug]", "click[b000000000]", "click[click[buy now]]"):
        *_, terminated, _, info = env.step(action)
        assert not terminated
    assert not info["valid"]
    assert "click[buy now]" in info["admissible"]


def test_texts_of_products_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trap = "\x1b]0;owned\x07 [bold]mug[/bold] \ud800 \u202e"
    asins = [f"B{number:09d}" for number in range(30)]  # so that each split has goals
    write(tmp_path, [{**GOOD, "asin": asin, "name": trap} for asin in asins], {asin: asked([trap]) for asin in asins})
    typed = "/goal\n/actions\nsearch[mug]\nclick[b000000000]\n/quit\n"
    run = CliRunner().invoke(app, ["play", "WebShop-v0", "--data", str(tmp_path)], input=typed)
    assert run.exit_code == 0, run.output
    assert "You left after 2 steps" in run.output
    env = WebShopEnv("train", data=tmp_path, render_mode="human")
    env.reset(seed=0)
    env.render()
    said = run.output + capsys.readouterr().out
    assert said.count("[bold]mug[/bold]") > 5
    assert not set("\x1b\x07\ud800\u202e") & set(said)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("asin", ["b00000000x", "ßB", "İ", "Back", "click[x]", "A]B[C", "A\nB", " ", "\ud800"])
def test_identifiers_are_data(tmp_path: Path, asin: str, mapped: bool) -> None:
    """The original looks a product up by its link in capitals; here a link leads where it stands."""
    write(tmp_path, [{**GOOD, "asin": asin}], {asin: asked(["red mug", "round"])})
    env = WebShopEnv("test", data=build_index(tmp_path) if mapped else tmp_path, split_rule="verl_agent")
    _, info = env.reset(seed=0)
    *_, info = env.step("search[mug]")
    links = [action for action in info["admissible"] if env.page.clickables[action[6:-1]].kind == "product"]
    assert len(links) == (asin.isspace() or not set(asin) & set("[]\n"))  # what no action can name is not offered
    for link in links:
        assert env.step(link)[4]["valid"]
        *_, reward, terminated, _, _ = env.step("click[buy now]")
        assert (reward > 0, terminated) == (True, True)


# Broken files ---------------------------------------------------------------------------------------------------------

GOOD = record(0, ["red", "A mug.", "It holds tea.", "It is round.", "garden", "red"], {"Color": ["Red"]})
GOALS = {"B000000000": asked(["red mug", "round"])}


@pytest.mark.parametrize(
    ("products", "attributes", "others"),
    [
        (b"", GOALS, {}),
        (b"[", GOALS, {}),
        (b"{}", GOALS, {}),
        (b"[]", GOALS, {}),
        (b"null", GOALS, {}),
        (b"\xff\xfe\x00", GOALS, {}),
        (100_000 * b"[", GOALS, {}),
        (b"[" + 9000 * b"1" + b"]", GOALS, {}),
        (json.dumps([GOOD]).encode()[:-20], GOALS, {}),
        ([3], GOALS, {}),
        ([[]], GOALS, {}),
        ([{}], GOALS, {}),
        ([{**GOOD, "asin": 3}], GOALS, {}),
        ([{**GOOD, "asin": None}], GOALS, {}),
        ([{**GOOD, "name": ["x"]}], GOALS, {}),
        ([{**GOOD, "pricing": "$."}], GOALS, {}),
        ([{**GOOD, "pricing": 5}], GOALS, {}),
        ([{**GOOD, "small_description": {"a": 1}}], GOALS, {}),
        ([{**GOOD, "customization_options": [1]}], GOALS, {}),
        ([{**GOOD, "customization_options": {"Color": [3]}}], GOALS, {}),
        ([GOOD], b"[1", {}),
        ([GOOD], [], {}),
        ([GOOD], {"B000000000": []}, {}),
        ([GOOD], {"B000000000": {"attributes": [1]}}, {}),
        ([GOOD], {"B000000000": {**GOALS["B000000000"], "instruction_attributes": []}}, {}),
        ([GOOD], {"B000000000": {**GOALS["B000000000"], "instruction": 3}}, {}),
        ([GOOD], {}, {}),
        ([GOOD], GOALS, {"reviews": {}}),
        ([GOOD], GOALS, {"reviews": [{"asin": "B000000000", "reviews": [3]}]}),
        ([GOOD], GOALS, {"reviews": [{"asin": ["B000000000"], "reviews": []}]}),
        ([GOOD], GOALS, {"title_nouns_1k_spacy3.8": {"B000000000": 3}}),
    ],
)
def test_a_broken_catalogue_is_one_clear_error(tmp_path: Path, products: Any, attributes: Any, others: Any) -> None:
    write(tmp_path, products, attributes, **others)
    with pytest.raises((DataError, ConfigError)) as error:
        WebShopEnv("test", data=tmp_path, split_rule="verl_agent")
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_absent_reads_as_empty(tmp_path: Path) -> None:
    bare = {"asin": "B000000000", "name": "mug"}
    write(tmp_path, [bare, bare], GOALS)
    env = WebShopEnv("test", data=tmp_path, split_rule="verl_agent")
    assert len(env.tasks or ()) == 1
    env.reset(seed=0)
    for action in ("search[mug]", "click[b000000000]", "click[reviews]", "click[< prev]", "click[buy now]"):
        observation, reward, terminated, _, info = env.step(action)
        assert info["valid"], observation
    assert terminated
    assert reward == 1.0  # the file of attributes says that it has what is asked for


SMALL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(GOOD)), SMALL, min_size=1, max_size=3))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    folder = write(tmp_path_factory.mktemp("shop"), [GOOD, {**GOOD, "asin": "B000000001", **changes}], GOALS)
    outcomes: list[Any] = []
    for prepare in (lambda: folder, lambda: build_index(folder)):
        try:
            env = WebShopEnv("test", data=prepare(), split_rule="verl_agent")
            env.reset(seed=0)
            pages = [env.step("search[mug red]")[0]]
            pages += [env.step(action)[0] for action in (env.page.admissible[-1], "click[reviews]", "click[< prev]")]
            outcomes.append((*pages, *env.step("click[buy now]")[:3]))
        except AgentGymError as error:
            outcomes.append(type(error).__name__)
    assert outcomes[0] == outcomes[1]  # in memory and on disk alike


def test_a_cut_off_archive_is_one_clear_error(tmp_path: Path) -> None:
    place = tmp_path / "products_1k_processed.json.xz"
    data = lzma.compress(json.dumps([{"asin": "B1", "Title": "mug", "pricing": [5.0]}]).encode())
    for broken in (data[:-10], b"no archive", b""):
        place.write_bytes(broken)
        with pytest.raises(DataError, match="products_1k_processed"):
            WebShopEnv("test", data=place, split_rule="verl_agent")
