from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from agentgym.algos import GRPO, Algorithm, AlgorithmConfig, GiGPO, GiGPOConfig
from agentgym.algos.base import LAWS
from agentgym.batch import StepBatch
from agentgym.contracts import CollectorSpec, TokenBatch
from agentgym.errors import ConfigError
from agentgym.testing import make_batch


class MineConfig(AlgorithmConfig):
    scale: float = 2.0


class Mine(Algorithm[MineConfig]):
    pass


class Child(Mine):
    pass


def test_settings_and_configuration_are_two_ways_to_say_the_same() -> None:
    assert GiGPO(omega=0.5).config == GiGPO(GiGPOConfig(omega=0.5)).config
    assert GiGPO().config == GiGPOConfig()
    assert repr(GiGPO(omega=0.5, std=None)) == "GiGPO(std=None, omega=0.5)"


def test_a_subclass_takes_the_configuration_in_its_brackets_or_its_parents() -> None:
    assert Mine(scale=3).config == MineConfig(scale=3.0)
    assert Child(scale=3).config == MineConfig(scale=3.0)


def test_a_wrong_name_is_answered_with_the_nearest_right_one() -> None:
    with pytest.raises(ConfigError, match=r"GiGPOConfig has no setting 'omgea' \(given 0\.5\)\. Did you mean 'omega'"):
        GiGPO(omgea=0.5)
    with pytest.raises(ConfigError, match="Allowed: clip_low, "):
        GiGPOConfig(zzz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base": "episode"}, r"GiGPOConfig\.base = 'episode': Input should be 'episodes' or 'rows'"),
        ({"gamma": 1.5}, r"gamma = 1\.5: Input should be less than or equal to 1"),
        ({"dual_clip": 1.0}, r"dual_clip = 1\.0: Input should be greater than 1"),
        ({"eps": float("nan")}, r"eps = nan"),
        ({"omega": "much", "std": "both"}, r"std = 'both'.*omega = 'much'"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GiGPO(**settings)


def test_configuration_and_settings_together_or_of_another_class_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a configuration or settings, not both; got \{'omega': 2\}"):
        GiGPO(GiGPOConfig(), omega=2)
    with pytest.raises(ConfigError, match="takes a GiGPOConfig, not MineConfig"):
        GiGPO(MineConfig())  # type: ignore[arg-type]


def test_configurations_are_frozen() -> None:
    config = GiGPOConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.omega = 2.0  # type: ignore[misc]


def test_defaults_of_the_contract() -> None:
    algorithm = Mine()
    assert algorithm.collector() == CollectorSpec("group")
    assert algorithm.learners() == []
    assert algorithm.state_dict() == {}
    algorithm.load_state_dict({})
    with pytest.raises(ConfigError, match=r"Mine keeps no state, but was given \['count'\]"):
        algorithm.load_state_dict({"count": 1})
    with pytest.raises(NotImplementedError, match="Mine does not define credit"):
        algorithm.credit(make_batch(group=[0], episode=[0], t=[0], reward=[0]))


def test_loss_passes_every_setting_on() -> None:
    row = torch.tensor([0, 0, 1])
    tokens = TokenBatch(
        logp=torch.tensor([-1.0, -2.0, -0.5]),
        old_logp=torch.tensor([-2.0, -1.0, -2.5]),
        ref_logp=torch.tensor([-1.5, -1.0, -1.5]),
        entropy=torch.tensor([0.5, 1.0, 2.0]),
        advantage=torch.tensor([1.0, -1.0, -2.0]),
        mask=torch.ones(3, dtype=torch.bool),
        row=row,
        episode=row,
        tokens_in_row=torch.tensor([2.0, 2.0, 1.0]),
        total_tokens=3,
        total_rows=2,
        total_episodes=2,
    )
    plain: dict[str, Any] = {"kl_coef": 0.1}
    base = Mine(**plain).loss(tokens).total.item()
    for changed in (
        {"clip_low": 0.5},
        {"clip_high": 0.5},
        {"dual_clip": 2.0},
        {"kl_coef": 0.2},
        {"kl_estimator": "k1"},
        {"entropy_coef": 0.1},
        {"aggregation": "seq-mean-token-mean"},
        {"aggregation": "seq-mean-token-sum-norm"},
        {"ratio": "sequence"},
    ):
        assert Mine(**{**plain, **changed}).loss(tokens).total.item() != pytest.approx(base), changed


@pytest.mark.parametrize("algorithm", [GRPO, GiGPO])
def test_every_law_is_promised_or_exempt_with_a_reason(algorithm: type[Algorithm[Any]]) -> None:
    assert algorithm.laws | set(algorithm.exemptions) == set(LAWS)
    assert not algorithm.laws & set(algorithm.exemptions)
    assert all(len(reason) > 20 for reason in algorithm.exemptions.values())


def test_credit_needs_no_torch() -> None:
    code = (
        "from agentgym.algos import GiGPO; from agentgym.testing import make_batch; import sys;"
        "GiGPO().credit(make_batch(group=[0], episode=[0], t=[0], reward=[1]));"
        "import agentgym.algos.functional.losses; print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_credit_leaves_the_batch_as_it_was() -> None:
    batch: StepBatch = make_batch(group=[0, 0], episode=[0, 1], t=[0, 0], reward=[0, 1], format_ok=[True, False])
    for algorithm in (GRPO, GiGPO):
        algorithm(base="rows", format_penalty=0.5).credit(batch)
    assert batch.reward.tolist() == [0.0, 1.0]
