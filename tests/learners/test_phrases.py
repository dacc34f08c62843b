"""Phrases by rule, and the column that says where they begin."""

from __future__ import annotations

import numpy as np
import pytest

from agentgym.algos.functional.segmentation import Phrase, parsed
from agentgym.contracts import ReportingLearner
from agentgym.errors import ConfigError
from agentgym.learners import PhraseColumn
from agentgym.learners.phrases import chunk
from tests.learners.test_critic import context_of, play
from tests.training.small import small_policy


def test_sentences_end_with_marks_tags_and_lines() -> None:
    assert chunk("<think> I see a key. </think>\ngo to the door") == [
        [["<think>"]],
        [["I", "see"], ["a", "key."]],
        [["</think>"]],
        [["go"], ["to", "the", "door"]],
    ]
    assert chunk(" \n") is None
    assert chunk("take key") == [[["take", "key"]]]


def nothing(text: str) -> Phrase | None:
    return None


def letters(text: str) -> Phrase:
    return tuple(text)


@pytest.mark.parametrize(("name", "share"), [("nothing", 1.0), ("letters", 0.0)])
@pytest.mark.parametrize("fallback", [1, 2])
def test_the_column_is_the_parse_or_the_fallback(name: str, share: float, fallback: int) -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    learner = PhraseColumn(f"{__name__}:{name}", cutoff=2, fallback=fallback)
    learner.setup(context_of(policy))
    begins = learner.update(batch, episodes).token_columns["phrase_begins"]
    for start, end in zip(batch.token_offsets[:-1], batch.token_offsets[1:], strict=True):
        ids = batch.token_ids[start:end].tolist()
        pieces = [policy.chat.decode([token]) for token in ids]
        cuts = parsed(pieces, letters(policy.chat.decode(ids)), 2) if name == "letters" else None
        assert np.flatnonzero(begins[start:end]).tolist() == (
            list(range(0, len(ids), fallback)) if cuts is None else cuts
        )
    assert isinstance(learner, ReportingLearner)
    assert learner.metrics() == {"phrases/unmatched_share": share}
    assert learner.state_dict() == {}


def test_the_own_chunker_fits_what_a_policy_says() -> None:
    policy = small_policy(constrain="admissible")
    batch, episodes = play(policy)
    learner = PhraseColumn()
    learner.setup(context_of(policy))
    begins = learner.update(batch, episodes).token_columns["phrase_begins"]
    assert learner.metrics() == {"phrases/unmatched_share": 0.0}
    assert (begins[batch.token_offsets[:-1]] == 1).all()
    empty = learner.update(batch.take(np.zeros(0, np.int64)), [])
    assert empty.token_columns["phrase_begins"].shape == (0,)
    assert learner.metrics() == {}


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(
        ConfigError, match=r"parser 'agentgym\.learners\.phrases:chop' is not a function as module:name"
    ):
        PhraseColumn("agentgym.learners.phrases:chop")
    with pytest.raises(ConfigError, match="cutoff must be at least 2 and fallback at least 1, not 1 and 1"):
        PhraseColumn(cutoff=1)
