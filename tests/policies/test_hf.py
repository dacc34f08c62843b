from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentgym.errors import ConfigError, PolicyError
from agentgym.policies import HFPolicy, Transcript, Turn, Window
from agentgym.policies.base import Decision, Session
from agentgym.policies.contexts import ChatFormat
from agentgym.policies.scoring import TokenScorer
from tests.policies.models import random_policy

OBSERVATIONS = [
    "You are at place 1 of 3. A key lies here.",
    "You are at place 2 of 3.",
    "déjà vu 🙂",
    "desk 1, lamp 2.",
]
INFO = {"goal": "open the door", "admissible": ("go left", "go right", "take key", "open door")}


def turn(slot: int, text: str, chance: np.random.Generator) -> Turn:
    return Turn(slot, text, INFO, chance)


def play(
    policy: HFPolicy, schedule: list[list[int]], texts: int = 0, greedy: bool = False
) -> dict[int, list[Decision]]:
    """Answer one turn for each listed slot, round by round; a slot that is not listed any more is dropped."""
    session = policy.session(greedy=greedy)
    chance = {slot: np.random.default_rng([7, slot]) for slots in schedule for slot in slots}
    said: dict[int, list[Decision]] = {}
    live: set[int] = set()
    for r, slots in enumerate(schedule):
        for gone in sorted(live - set(slots)):
            session.drop(gone)
        live = set(slots)
        turns = [turn(s, OBSERVATIONS[(s + r + texts) % len(OBSERVATIONS)], chance[s]) for s in slots]
        for slot, decision in zip(slots, session.act(turns), strict=True):
            said.setdefault(slot, []).append(decision)
    return said


def rescore(policy: HFPolicy, decisions: list[Decision], transcript: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return recorded and recomputed log-probabilities of what was said."""
    scorer = TokenScorer(policy.model, policy.temperature, chunk_size=5)
    sequences = [decisions] if transcript else [[d] for d in decisions]
    recorded, scored = [], []
    for parts in sequences:
        ids: list[int] = []
        select: list[int] = []
        for d in parts:
            assert d.prompt_ids is not None
            assert d.response_ids is not None
            assert d.logprobs is not None
            ids += d.prompt_ids
            select += range(len(ids), len(ids) + len(d.response_ids))
            ids += d.response_ids
            recorded += d.logprobs
        allowed = None if parts[0].allowed_ids is None else [a for d in parts for a in d.allowed_ids or ()]
        logp, _ = scorer(torch.tensor([ids]), torch.tensor([len(ids)]), torch.tensor(select), False, allowed)
        scored.append(logp.detach())
    return torch.tensor(recorded), torch.cat(scored)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("context", [Transcript(instruction=None), Window(2, instruction=None, show_admissible=False)])
@pytest.mark.parametrize("constrain", ["none", "admissible"])
def test_recorded_logprobs_are_those_of_the_model(architecture: str, context: Any, constrain: Any) -> None:
    policy = random_policy(architecture, context=context, constrain=constrain, temperature=0.7)
    for decisions in play(policy, [[0, 1, 2], [0, 1, 2], [0, 2], [2, 0]]).values():
        recorded, scored = rescore(policy, decisions, context.kind == "transcript")
        torch.testing.assert_close(recorded, scored, atol=2e-4, rtol=1e-4)


def test_the_prompt_is_the_template_and_nothing_is_tokenised_twice() -> None:
    policy = random_policy()
    [decisions] = play(policy, [[0], [0], [0]]).values()
    ids = [i for d in decisions for i in (*(d.prompt_ids or ()), *(d.response_ids or ()))]
    text = policy.tokenizer.decode(ids)
    position = 0
    for r, d in enumerate(decisions):
        position = text.index(OBSERVATIONS[r % len(OBSERVATIONS)], position)
        assert d.response.strip() == d.action


@settings(max_examples=15)
@given(st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=6), st.integers(0, 3))
def test_an_episode_does_not_depend_on_its_batch(rounds: list[set[int]], texts: int) -> None:
    policy = random_policy()
    # Slots may only leave: one that was dropped must not come back under the same number.
    schedule, live = [], set(range(5))
    for wanted in rounds:
        live = live & wanted or live
        schedule.append(sorted(live))
    together = play(policy, schedule, texts)
    for slot, decisions in together.items():
        alone = play(policy, [[slot] for slots in schedule if slot in slots], texts)[slot]
        assert [d.response_ids for d in alone] == [d.response_ids for d in decisions]
        for a, b in zip(alone, decisions, strict=True):
            np.testing.assert_allclose(a.logprobs or (), b.logprobs or (), atol=1e-4)


def test_a_new_episode_may_take_the_place_of_one_that_ended() -> None:
    policy = random_policy()
    mixed = play(policy, [[0, 1, 2], [0, 2], [0, 2, 3], [3, 2], [3]])
    alone = play(policy, [[3]] * 3, texts=2)
    assert [d.response_ids for d in mixed[3]] == [d.response_ids for d in alone[3]]


def test_a_text_that_no_tokenizer_takes_is_read_with_a_question_mark() -> None:
    chat = random_policy().chat
    assert chat.encode(["a \ud800 mug", "a mug"]) == chat.encode(["a ? mug", "a mug"])
    assert chat.opening(["\udfff"]) == chat.opening(["?"])


def test_special_tokens_in_what_a_world_says_are_text() -> None:
    policy = random_policy()
    chat, special = policy.chat, policy.tokenizer.all_special_tokens

    def count(ids: list[int]) -> int:
        return sum(i in policy.tokenizer.all_special_ids for i in ids)

    said = [f"a mug{token} take key" for token in special]
    plain = count(chat.opening(["a mug"])[0])
    assert len(special) > 1
    assert [count(ids) for ids in chat.opening(said)] == [plain] * len(said)
    following = chat.following([*said, "a mug"], [0] * (len(said) + 1))
    assert len({count(ids) for ids in following}) == 1


def test_a_special_token_of_one_character_cannot_be_broken() -> None:
    tokenizer = copy.deepcopy(random_policy().tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["~"]})
    [ids] = ChatFormat(tokenizer, None).opening(["a ~ mug"])
    assert tokenizer.decode(ids).count("a ~ mug") == 1


def test_greedy_takes_the_most_likely_token() -> None:
    policy = random_policy()
    [first] = play(policy, [[0]], greedy=True)[0]
    ids, logits = list(first.prompt_ids or ()), []
    for token in first.response_ids or ():
        with torch.no_grad():
            logits.append(policy.model(torch.tensor([ids])).logits[0, -1])
        assert int(logits[-1].argmax()) == token
        ids.append(token)


def test_constrained_choice_is_among_the_admissible_commands() -> None:
    policy = random_policy(constrain="admissible")
    said = play(policy, [[0, 1, 2]] * 6)
    actions = {d.action for decisions in said.values() for d in decisions}
    assert actions <= set(INFO["admissible"])
    assert len(actions) > 1
    for d in said[0]:
        assert d.allowed_ids is not None
        assert all(token in allowed for token, allowed in zip(d.response_ids or (), d.allowed_ids, strict=True))


def test_a_command_too_long_for_the_limit_is_named() -> None:
    policy = random_policy(constrain="admissible", max_new_tokens=1)
    with pytest.raises(PolicyError, match="max_new_tokens"):
        play(policy, [[0]])


def test_a_full_context_ends_the_episode_and_leaves_the_others() -> None:
    policy = random_policy(max_tokens=60, max_new_tokens=6)
    session: Session = policy.session()
    chance = np.random.default_rng(0)
    ends = []
    for r in range(12):
        live = [s for s in (0, 1) if s not in ends]
        if not live:
            break
        texts = {0: "a b c d e f g h" if r else "x", 1: "x"}
        for slot, decision in zip(live, session.act([turn(s, texts[s], chance) for s in live]), strict=True):
            if decision.action is None:
                ends.append(slot)
    assert ends == [0, 1]


def test_a_running_slot_without_a_turn_is_refused() -> None:
    policy = random_policy()
    session = policy.session()
    chance = np.random.default_rng(0)
    session.act([turn(0, "x", chance), turn(1, "x", chance)])
    with pytest.raises(PolicyError, match=r"\[1\]"):
        session.act([turn(0, "x", chance)])


def test_a_template_that_rewrites_the_past_is_refused() -> None:
    policy = random_policy()
    policy.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' and not loop.last %}[cut]{% else %}{{ m['content'] }}"
        "{% endif %}{% endfor %}"
    )
    with pytest.raises(PolicyError, match="prefix-stable"):
        HFPolicy(policy.model, policy.tokenizer)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"temperature": 0}, "greedy"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new"),
        ({"constrain": "x"}, "'x'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        random_policy(**options)


def test_saved_folder_loads_with_plain_transformers(tmp_path: Any) -> None:
    policy = random_policy()
    policy.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "You are at place 2 of 3.\n\ngo left <|end|>"
    assert tokenizer(text)["input_ids"] == policy.tokenizer(text)["input_ids"]
    for a, b in zip(model.parameters(), policy.model.parameters(), strict=True):
        assert torch.equal(a, b)
    again = HFPolicy.from_pretrained(tmp_path)
    assert play(again, [[0]])[0][0].response_ids == play(policy, [[0]])[0][0].response_ids


def test_a_missing_model_is_named() -> None:
    with pytest.raises(PolicyError, match="no/such"):
        HFPolicy.from_pretrained("./no/such/folder")


def test_scoring_gives_no_gradient_through_the_targets_of_other_tokens() -> None:
    policy = random_policy()
    ids = torch.randint(0, 50, (2, 9))
    scorer = TokenScorer(policy.model).train()
    select = torch.tensor([3, 4, 9 + 5])
    logp, entropy = scorer(ids, torch.tensor([9, 7]), select, True)
    assert entropy is not None
    direct = torch.log_softmax(policy.model(ids, attention_mask=torch.ones_like(ids)).logits, -1)
    expected = torch.stack([direct[0, 2, ids[0, 3]], direct[0, 3, ids[0, 4]], direct[1, 4, ids[1, 5]]])
    torch.testing.assert_close(logp, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy[0], -(direct[0, 2].exp() * direct[0, 2]).sum(), atol=1e-5, rtol=1e-5)


def test_empty_selection_scores_nothing_but_has_a_gradient_path() -> None:
    policy = random_policy()
    logp, _ = TokenScorer(policy.model)(
        torch.zeros(1, 4, dtype=torch.long), torch.tensor([4]), torch.zeros(0, dtype=torch.long)
    )
    assert logp.shape == (0,)
    logp.sum().backward()
