from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym.algos import AEPO, GRPO, EntropyARPO, Forking, get_algorithm
from agentgym.algos.aepo import entropy_factor, shared_mean
from agentgym.batch import StepBatch
from agentgym.contracts import CollectorSpec
from agentgym.errors import AlgorithmError, ConfigError
from agentgym.testing import make_batch
from tests.algos.functional.test_losses import token_batch

# Three paths: 0 and 1 share their first two decisions, all others are their own. Returns 1, 0 and 1/4.
NODES = [0, 1, 2, 0, 1, 3, 4, 5]


def tree(**columns: object) -> StepBatch:
    return make_batch(
        group=[0] * 8,
        episode=[0, 0, 0, 1, 1, 1, 2, 2],
        t=[0, 1, 2, 0, 1, 2, 0, 1],
        reward=[0, 0, 1, 0, 0, 0, 0.25, 0],
        node=NODES,
        **columns,
    )


def test_soft_gives_each_path_its_own_and_hard_the_mean_of_those_that_share() -> None:
    mean = 1.25 / 3
    own = [1 - mean] * 3 + [-mean] * 3 + [0.25 - mean] * 2
    soft, hard = (EntropyARPO(std=None, shared=how).credit(tree()) for how in ("soft", "hard"))
    assert soft.advantage == pytest.approx(own)
    both = 0.5 - mean
    assert hard.advantage == pytest.approx([both, both, 1 - mean, both, both, -mean, 0.25 - mean, 0.25 - mean])
    assert soft.diagnostics["shared_row_share"] == hard.diagnostics["shared_row_share"] == 0.5
    for credit in (soft, hard):
        assert list(credit.components) == ["episode"]
        assert credit.components["episode"].tolist() == credit.advantage.tolist()


def test_soft_is_grpo_and_so_is_hard_where_nothing_is_shared() -> None:
    straight = make_batch(group=[0] * 4, episode=[0, 0, 1, 2], t=[0, 1, 0, 0], reward=[0, 1, 0, 0.5])
    assert EntropyARPO().credit(tree()).advantage.tolist() == GRPO().credit(tree()).advantage.tolist()
    assert EntropyARPO(shared="hard").credit(straight).advantage.tolist() == GRPO().credit(straight).advantage.tolist()


def test_before_the_clip_hard_and_soft_have_the_same_gradient() -> None:
    """The rows of a shared decision have the same tokens, so what counts is the sum over them."""
    batch = tree()
    gradients = []
    for how in ("soft", "hard"):
        algorithm = EntropyARPO(std=None, shared=how)
        advantage = torch.from_numpy(algorithm.credit(batch).advantage).double()
        logp = torch.zeros(len(set(NODES)), dtype=torch.float64, requires_grad=True)
        tokens = token_batch([[True]] * 8, advantage=advantage, old_logp=torch.zeros(8, dtype=torch.float64))
        tokens = type(tokens)(**{f: getattr(tokens, f) for f in tokens.__slots__} | {"logp": logp[torch.tensor(NODES)]})
        algorithm.loss(tokens).total.backward()
        assert logp.grad is not None
        gradients.append(logp.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().max() > 0


@given(st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 3)), min_size=1, max_size=12), st.randoms())
def test_means_of_decisions_do_not_depend_on_the_order_of_rows(rows: list[tuple[int, int]], random: object) -> None:
    values = np.array([value * 0.1 for value, _ in rows])
    nodes = np.array([node for _, node in rows])
    mean = shared_mean(values, nodes)
    for node in set(nodes.tolist()):
        assert mean[nodes == node] == pytest.approx(np.full(np.sum(nodes == node), values[nodes == node].mean()))
    order = np.arange(len(rows))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert shared_mean(values[order], nodes[order]).tolist() == mean[order].tolist()


def test_equal_values_are_their_own_mean_to_the_last_bit() -> None:
    value = 10 * 0.95**7
    assert shared_mean(np.full(7, value), np.zeros(7, np.int64)).tolist() == [value] * 7


def test_a_token_is_louder_the_more_unsure_the_policy_was() -> None:
    batch = make_batch(
        group=[0, 0], episode=[0, 1], t=[0, 0], reward=[1, 0],
        token_offsets=[0, 2, 4], token_ids=[1, 2, 3, 4], logprobs=np.zeros(4, np.float32),
    )  # fmt: skip
    # Entropies 0, 1, 1, 2 have mean 1 and sample standard deviation sqrt(2/3).
    unsure = batch.with_token_columns(entropy=np.array([0.0, 1.0, 1.0, 2.0]))
    credit = AEPO(std=None, entropy_weight=0.2).credit(unsure)
    step = 0.2 / math.sqrt(2 / 3)
    assert credit.level == "token"
    assert credit.advantage == pytest.approx([0.5 * (1 - step), 0.5, -0.5, -0.5 * (1 + step)])
    assert credit.components["episode"].tolist() == [0.5, 0.5, -0.5, -0.5]
    assert credit.components["entropy"] == pytest.approx([-0.5 * step, 0, 0, -0.5 * step])
    assert (
        AEPO(entropy_weight=0).credit(unsure).advantage.tolist()
        == np.repeat(EntropyARPO().credit(batch).advantage, 2).tolist()
    )


def test_no_entropy_turns_the_sign_of_an_advantage() -> None:
    entropy = np.array([0.0] + [5.0] * 99)
    factor = entropy_factor(entropy, 0.2)
    assert factor[0] == 0.0
    assert (factor[1:] > 1).all()
    assert entropy_factor(np.full(4, 0.3), 0.2).tolist() == [1.0] * 4
    assert entropy_factor(np.zeros(0), 0.2).tolist() == []


def test_without_entropies_it_says_who_brings_them() -> None:
    [spec] = AEPO().learners()
    assert (spec.name, dict(spec.options)) == ("agentgym.learners:EntropyColumn", {"tokens": True})
    with pytest.raises(AlgorithmError, match=r"token column 'entropy'.*EntropyColumn"):
        AEPO().credit(tree())
    assert EntropyARPO().learners() == []


def test_a_batch_without_rows_has_no_credit() -> None:
    batch = make_batch(group=[], episode=[], t=[], reward=[]).with_token_columns(entropy=np.zeros(0))
    for algorithm in (EntropyARPO(shared="hard"), AEPO()):
        assert algorithm.credit(batch).advantage.shape == (0,)


def test_good_tokens_beyond_the_bound_teach_aepo_alone() -> None:
    """Ratio 2 and advantage 1: the loss is the bound's for both, the gradient 1 + ε_high or 0."""
    tokens = token_batch(
        [[True]], advantage=torch.ones(1).double(), old_logp=torch.zeros(1).double(), logp=torch.zeros(1).double()
    )
    gradients = {}
    for algorithm in (EntropyARPO(clip_high=0.25), AEPO(clip_high=0.25)):
        logp = torch.full((1,), math.log(2), dtype=torch.float64, requires_grad=True)
        moved = type(tokens)(**{f: getattr(tokens, f) for f in tokens.__slots__} | {"logp": logp})
        loss = algorithm.loss(moved)
        loss.total.backward()
        assert loss.total.item() == pytest.approx(-1.25)
        assert loss.metrics["clip_ratio/high_mean"] == 1
        gradients[type(algorithm).__name__] = None if logp.grad is None else logp.grad.item()
    assert gradients == {"EntropyARPO": 0.0, "AEPO": pytest.approx(-1.25)}


def test_they_ask_for_the_collector_that_forks_by_entropy() -> None:
    asked = EntropyARPO(initial=3, forking=Forking(snapshots="replay", max_nodes=90)).collector()
    assert asked == CollectorSpec(
        "entropy",
        {
            **{"initial": 3, "tokens": 20, "alpha": 0.5, "beta": 0.2, "threshold": 0.5, "rule": "threshold"},
            **{"branches": 1, "snapshots": "replay", "max_nodes": 90},
        },
    )
    options = AEPO().collector().options
    assert (options["penalty"], options["sensitivity"]) == (0.05, 0.5)
    assert "penalty" not in EntropyARPO().collector().options


def test_settings_can_be_written_behind_the_name() -> None:
    algorithm = get_algorithm("aepo:shared=hard+forking={snapshots: copy, max_depth: 4}")
    assert algorithm.config.forking == Forking(snapshots="copy", max_depth=4)
    with pytest.raises(ConfigError, match=r"forking\.max_depth"):
        get_algorithm("entropy_arpo", forking={"max_depth": 0})
    with pytest.raises(ConfigError, match="shared"):
        EntropyARPO(shared="firm")
