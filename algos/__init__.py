"""Credit-assignment methods: one module per paper, pure functions over a ``StepBatch`` plus a thin class.

>>> from agentgym.algos import get_algorithm
>>> get_algorithm("gigpo", omega=0.5)
GiGPO(omega=0.5)

Third parties add a name by the entry point group ``agentgym.algos``. Importing this package loads no torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentgym.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from agentgym.algos.base import Algorithm as Algorithm
    from agentgym.algos.base import AlgorithmConfig as AlgorithmConfig
    from agentgym.algos.gigpo import GiGPO as GiGPO
    from agentgym.algos.gigpo import GiGPOConfig as GiGPOConfig
    from agentgym.algos.grpo import GRPO as GRPO
    from agentgym.algos.grpo import GRPOConfig as GRPOConfig
    from agentgym.algos.hgpo import HGPO as HGPO
    from agentgym.algos.hgpo import HGPOConfig as HGPOConfig

__all__ = [
    "ALGORITHMS",
    "GRPO",
    "HGPO",
    "PRESETS",
    "Algorithm",
    "AlgorithmConfig",
    "GRPOConfig",
    "GiGPO",
    "GiGPOConfig",
    "HGPOConfig",
    "Preset",
    "get_algorithm",
    "list_algorithms",
]

ALGORITHMS: Mapping[str, str] = {
    "gigpo": "agentgym.algos.gigpo:GiGPO",
    "grpo": "agentgym.algos.grpo:GRPO",
    "hgpo": "agentgym.algos.hgpo:HGPO",
}
"""Name of each algorithm here to its module and class."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Published settings by name.

    Attributes:
        algorithm: Name of the algorithm.
        source: Where the settings were published, and what they are.
        settings: Settings that differ from the defaults, or that the publication fixes.
    """

    algorithm: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)


# The reference code multiplies success by 10; here it is 1. Dividing its ε, penalty and, where no standard deviation
# rescales the advantage, its KL and entropy weights by 10 gives the same direction of every update.
_VERL_AGENT: Mapping[str, Any] = {
    "base": "rows",
    "lone": "raw",
    "eps": 1e-7,
    "format_penalty": 0.01,
    "clip_low": 0.2,
    "clip_high": 0.2,
    "dual_clip": 3.0,
    "kl_estimator": "k3",
    "aggregation": "token-mean",
}
_WITH_STD: Mapping[str, Any] = {**_VERL_AGENT, "std": "sample", "kl_coef": 0.01, "entropy_coef": 0.001}
_WITHOUT_STD: Mapping[str, Any] = {**_VERL_AGENT, "std": None, "kl_coef": 0.001, "entropy_coef": 0.0001}
_HGPO: Mapping[str, Any] = {"std": "population", "history": 2, "alpha": 1.0, "gamma": 0.95, "base_group": False}

PRESETS: Mapping[str, Preset] = {
    "grpo_verl_agent": Preset(
        "grpo", "verl-agent's GRPO scripts for ALFWorld and WebShop: statistics over rows, with std", _WITH_STD
    ),
    "gigpo_alfworld": Preset(
        "gigpo",
        "verl-agent's GiGPO script for ALFWorld: statistics over rows, with std",
        {**_WITH_STD, "omega": 1.0, "gamma": 0.95},
    ),
    "gigpo_webshop": Preset(
        "gigpo",
        "verl-agent's GiGPO script for WebShop: statistics over rows, without std",
        {**_WITHOUT_STD, "omega": 1.0, "gamma": 0.95},
    ),
    "gigpo_search": Preset(
        "gigpo",
        "verl-agent's GiGPO script for search questions: as for ALFWorld, anchors of similar observations",
        {
            **{**_WITH_STD, "format_penalty": 0.001, "kl_coef": 0.001, "entropy_coef": 0.0},
            **{"omega": 1.0, "gamma": 0.95, "anchor": "similar", "similarity": 0.9},
        },
    ),
    "hgpo_paper": Preset(
        "hgpo",
        "HGPO's ALFWorld settings with the paper's weights 1, 2, 3; items of 0 count",
        {**_WITH_STD, **_HGPO, "weights": "paper", "drop_zero": False},
    ),
    "hgpo_code": Preset(
        "hgpo",
        "HGPO's ALFWorld settings as the released code computes them: weights 2, 3, 4, items of 0 dropped",
        {**_WITH_STD, **_HGPO, "weights": "code", "drop_zero": True, "weight_eps": 1e-6},
    ),
}
"""Published settings by name, on the unit reward scale; ``get_algorithm`` takes these names too."""


def _third_party() -> dict[str, str]:
    return {point.name: point.value for point in importlib.metadata.entry_points(group="agentgym.algos")}


def list_algorithms() -> tuple[str, ...]:
    """Return the names of all algorithms, installed third-party ones included."""
    return tuple(sorted({**_third_party(), **ALGORITHMS}))


def get_algorithm(name: str, **overrides: Any) -> Algorithm[Any]:
    """Build an algorithm by its name or by the name of a preset.

    Args:
        name: A name out of ``list_algorithms()`` or ``PRESETS``.
        overrides: Settings that replace the defaults or the preset's.

    Raises:
        ConfigError: If the name or a setting is unknown, or a value is out of range.
    """
    from agentgym.algos.base import Algorithm

    preset = PRESETS.get(name, Preset(name, ""))
    targets = {**_third_party(), **ALGORITHMS}
    if preset.algorithm not in targets:
        raise unknown_name("algorithm", name, [*targets, *PRESETS])
    module, _, attribute = targets[preset.algorithm].partition(":")
    algorithm = getattr(importlib.import_module(module), attribute)
    if not (isinstance(algorithm, type) and issubclass(algorithm, Algorithm)):
        raise ConfigError(
            f"algorithm {name!r} is {targets[name]!r}, which is not a subclass of agentgym.algos.Algorithm"
        )
    return algorithm(**{**preset.settings, **overrides})


# Classes are imported on first use, so that importing the package stays cheap however long the table gets.
_LAZY = {
    "Algorithm": "agentgym.algos.base",
    "AlgorithmConfig": "agentgym.algos.base",
    "GRPO": "agentgym.algos.grpo",
    "GRPOConfig": "agentgym.algos.grpo",
    "HGPO": "agentgym.algos.hgpo",
    "HGPOConfig": "agentgym.algos.hgpo",
    "GiGPO": "agentgym.algos.gigpo",
    "GiGPOConfig": "agentgym.algos.gigpo",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'agentgym.algos' has no attribute {name!r}")


if __name__ != "agentgym.algos":
    raise ImportError(f"import 'agentgym.algos'; {__name__!r} is a second copy")
