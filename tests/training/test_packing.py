from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import GRPO
from agentgym.batch import Credit, StepBatch
from agentgym.episodes import Context, Episode, Group, Step
from agentgym.policies import Transcript, Window
from agentgym.policies.packing import TrainSequence, bins, pack, sequences_of
from agentgym.policies.scoring import TokenScorer
from agentgym.rollouts import GroupCollector
from agentgym.training.packing import TokenColumns, split_minibatches
from tests.training.small import make_corridor, small_policy


def _credit(values: npt.ArrayLike) -> Credit:
    return Credit(np.asarray(values, np.float32), level="token")


def _step(prompt: int, response: int, first: int) -> Step:
    ids = tuple(range(first, first + prompt + response))
    return Step(
        observation="o",
        action="a",
        reward=0.0,
        shaped_reward=0.0,
        terminated=False,
        truncated=False,
        valid=True,
        obs_hash="h",
        prompt_ids=ids[:prompt],
        response_ids=ids[prompt:],
        logprobs=tuple(-float(i) for i in ids[prompt:]),
    )


def _episode(index: int, context: Context, lengths: list[tuple[int, int]]) -> Episode:
    steps = tuple(_step(prompt, response, 1000 * index + 50 * t) for t, (prompt, response) in enumerate(lengths))
    return Episode("g", index, 0, "t", "k", "", steps, False, 0.0, "failure", context=context)


lengths = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 9)), max_size=6)


@given(
    context=st.sampled_from(["transcript", "window"]),
    episodes=st.lists(lengths, min_size=1, max_size=8),
    budget=st.integers(1, 200),
    processes=st.integers(1, 4),
    minibatches=st.integers(1, 3),
)
def test_every_response_token_is_in_exactly_one_microbatch(
    context: Context, episodes: list[list[tuple[int, int]]], budget: int, processes: int, minibatches: int
) -> None:
    recorded = [_episode(i, context, steps) for i, steps in enumerate(episodes)]
    batch = StepBatch.from_groups([Group("g", tuple(recorded))])
    sequences = sequences_of(recorded)
    columns = TokenColumns(batch, _credit(np.zeros(len(batch.token_ids))), torch.device("cpu"))
    seen: list[int] = []
    counted = np.zeros(3, int)
    for part in split_minibatches(sequences, minibatches, np.random.default_rng(0)):
        counted += columns.totals(part)
        packed = pack(part, budget, processes)
        assert len(packed) % processes == 0
        assert all(len({len(packed[rank::processes]) for rank in range(processes)}) == 1 for _ in packed)
        for micro in packed:
            width = micro.ids.shape[1]
            assert micro.ids.numel() <= max(budget, width)
            assert width == int(micro.lengths.max())
            # What a micro-batch calls token k is token k of the batch, with its id and its recorded log-prob.
            assert micro.ids.reshape(-1)[micro.select].tolist() == batch.token_ids[micro.tokens.numpy()].tolist()
            assert bool((micro.select % width >= 1).all())
            assert bool((micro.select % width < micro.lengths[micro.select // width]).all())
            if not micro.idle:
                seen += micro.tokens.tolist()
    assert sorted(seen) == list(range(len(batch.token_ids)))
    rows = int((np.diff(batch.token_offsets) > 0).sum())
    spoke = {int(e) for e, n in zip(batch.episode, np.diff(batch.token_offsets), strict=True) if n}
    assert counted[0] == len(batch.token_ids)
    if minibatches == 1:
        assert counted.tolist() == [len(batch.token_ids), rows, len(spoke)]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 100))
def test_bins_run_from_long_to_short_and_respect_the_budget(sizes: list[int], budget: int) -> None:
    sequences = [TrainSequence(np.zeros(n, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)) for n in sizes]
    packed = bins(sequences, budget)
    widths = [len(part[0].ids) for part in packed]
    assert widths == sorted(widths, reverse=True)
    assert sorted(len(s.ids) for part in packed for s in part) == sorted(sizes)
    assert all(len(part) == 1 or len(part) * len(part[0].ids) <= budget for part in packed)


def test_an_idle_microbatch_counts_no_token() -> None:
    episode = _episode(0, "transcript", [(3, 2), (1, 4)])
    batch = StepBatch.from_groups([Group("g", (episode,))])
    columns = TokenColumns(batch, _credit(np.ones(6)), torch.device("cpu"))
    real, idle = pack(sequences_of([episode]), 100, processes=2)
    logp = torch.zeros(6, requires_grad=True)
    tokens = columns.take(idle, columns.totals(sequences_of([episode])), logp, None, None)
    assert not tokens.mask.any()
    loss = GRPO().loss(tokens).total
    loss.backward()
    assert loss == 0
    assert logp.grad is not None
    assert not logp.grad.any()
    assert columns.take(real, (6, 2, 1), logp, None, None).mask.all()


def test_token_columns_repeat_their_row() -> None:
    episodes = [_episode(0, "transcript", [(3, 2), (1, 1)]), _episode(1, "transcript", [(2, 3)])]
    batch = StepBatch.from_groups([Group("g", tuple(episodes))])
    columns = TokenColumns(batch, _credit(np.arange(6)), torch.device("cpu"))
    assert columns.row.tolist() == [0, 0, 1, 2, 2, 2]
    assert columns.episode.tolist() == [0, 0, 0, 1, 1, 1]
    assert columns.tokens_in_row.tolist() == [2, 2, 1, 3, 3, 3]


def test_macro_actions_reach_the_loss() -> None:
    episodes = [_episode(0, "transcript", [(3, 2), (1, 1)]), _episode(1, "transcript", [(2, 3)])]
    batch = StepBatch.from_groups([Group("g", tuple(episodes))])
    macro = np.array([0, 0, 1, 2, 2, 3])
    [real] = pack(sequences_of(episodes), 100)
    logp = torch.zeros(6)
    for codes in (macro, None):
        credit = Credit(np.ones(6, np.float32), level="token", macro=codes)
        tokens = TokenColumns(batch, credit, torch.device("cpu")).take(real, (6, 3, 2), logp, None, None)
        if codes is None:
            assert tokens.macro is None
        else:
            assert tokens.macro is not None
            assert tokens.macro.tolist() == macro[real.tokens.numpy()].tolist()


@pytest.mark.parametrize(("level", "mask"), [("row", [1, 0, 1, 1, 0, 0]), ("token", [1] * 6)])
def test_a_value_has_a_target_at_each_token_or_at_the_first_of_a_row(level: str, mask: list[int]) -> None:
    episodes = [_episode(0, "transcript", [(3, 2), (1, 1)]), _episode(1, "transcript", [(2, 3)])]
    batch = StepBatch.from_groups([Group("g", tuple(episodes))])
    size = 3 if level == "row" else 6
    values, returns = np.arange(size) / 4, np.arange(size, dtype=np.float32) + 1
    valued = batch.with_columns(value=values) if level == "row" else batch.with_token_columns(value=values)
    credit = Credit(np.ones(size, np.float32), level=level, returns=returns)  # type: ignore[arg-type]
    columns = TokenColumns(valued, credit, torch.device("cpu"))
    real, idle = pack(sequences_of(episodes), 100, processes=2)
    now = torch.zeros(6)
    tokens = columns.take(real, (6, 3, 2), torch.zeros(6), None, None, now)
    repeated = np.repeat(np.arange(3), [2, 1, 3]) if level == "row" else np.arange(6)
    assert tokens.values is now
    assert tokens.value_mask is not None
    assert tokens.returns is not None
    assert tokens.old_values is not None
    at = real.tokens.numpy()
    assert tokens.value_mask.tolist() == np.array(mask, bool)[at].tolist()
    assert tokens.returns.tolist() == returns[repeated[at]].tolist()
    assert tokens.old_values.tolist() == values[repeated[at]].tolist()
    nothing = columns.take(idle, (6, 3, 2), torch.zeros(6), None, None, now)
    assert nothing.value_mask is not None
    assert not nothing.value_mask.any()


@pytest.mark.parametrize("context", [Transcript(instruction=None), Window(2, instruction=None, show_admissible=False)])
def test_no_gradient_reaches_an_observation_token(context: Transcript | Window) -> None:
    """The loss must not depend on how likely an observation is: only logits before a response token have a gradient."""
    policy = small_policy(context=context)
    groups = GroupCollector(make_corridor, policy, groups=2, group_size=2).collect(0).groups
    episodes = [episode for group in groups for episode in group.episodes]
    batch = StepBatch.from_groups(groups)
    sequences = sequences_of(episodes)
    (micro,) = pack(sequences, 10**6)
    columns = TokenColumns(batch, _credit(np.ones(len(batch.token_ids))), torch.device("cpu"))
    states: list[torch.Tensor] = []
    decoder = policy.model.get_decoder()
    handle = decoder.register_forward_hook(lambda *call: states.append(call[2].last_hidden_state))
    scorer = TokenScorer(policy.model).train()
    logp, _ = scorer(micro.ids, micro.lengths, micro.select)
    handle.remove()
    states[0].retain_grad()
    GRPO().loss(columns.take(micro, columns.totals(sequences), logp, None, None)).total.backward()
    gradient = states[0].grad
    assert gradient is not None
    reached = gradient.abs().sum(-1).reshape(-1) > 0
    expected = torch.zeros_like(reached)
    expected[micro.select - 1] = True  # the state before a token predicts it
    assert torch.equal(reached, expected)
    order = sorted(sequences, key=lambda s: -len(s.ids))
    responses = [{int(p) for p in s.positions} for s in order]
    assert all(0 < len(found) < len(s.ids) for found, s in zip(responses, order, strict=True))
