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
from typing import TYPE_CHECKING, Any

from agentgym.algos.presets import PRESETS as PRESETS
from agentgym.algos.presets import Preset as Preset
from agentgym.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from agentgym.algos.aepo import AEPO as AEPO
    from agentgym.algos.aepo import AEPOConfig as AEPOConfig
    from agentgym.algos.aepo import EntropyARPO as EntropyARPO
    from agentgym.algos.aepo import EntropyARPOConfig as EntropyARPOConfig
    from agentgym.algos.archer import ArCHer as ArCHer
    from agentgym.algos.archer import ArCHerConfig as ArCHerConfig
    from agentgym.algos.archer import ArCHerOffline as ArCHerOffline
    from agentgym.algos.archer import ArCHerOfflineConfig as ArCHerOfflineConfig
    from agentgym.algos.arpo import ARPO as ARPO
    from agentgym.algos.arpo import ARPOConfig as ARPOConfig
    from agentgym.algos.base import Algorithm as Algorithm
    from agentgym.algos.base import AlgorithmConfig as AlgorithmConfig
    from agentgym.algos.dapo import DAPO as DAPO
    from agentgym.algos.dapo import DAPOConfig as DAPOConfig
    from agentgym.algos.drgrpo import DrGRPO as DrGRPO
    from agentgym.algos.drgrpo import DrGRPOConfig as DrGRPOConfig
    from agentgym.algos.empg import EMPG as EMPG
    from agentgym.algos.empg import EMPGConfig as EMPGConfig
    from agentgym.algos.filtered_bc import FilteredBC as FilteredBC
    from agentgym.algos.filtered_bc import FilteredBCConfig as FilteredBCConfig
    from agentgym.algos.forking import Forking as Forking
    from agentgym.algos.gigpo import GiGPO as GiGPO
    from agentgym.algos.gigpo import GiGPOConfig as GiGPOConfig
    from agentgym.algos.grpo import GRPO as GRPO
    from agentgym.algos.grpo import GRPOConfig as GRPOConfig
    from agentgym.algos.gspo import GSPO as GSPO
    from agentgym.algos.gspo import GSPOConfig as GSPOConfig
    from agentgym.algos.hgpo import HGPO as HGPO
    from agentgym.algos.hgpo import HGPOConfig as HGPOConfig
    from agentgym.algos.ma_ppo import MacroPPO as MacroPPO
    from agentgym.algos.ma_ppo import MacroPPOConfig as MacroPPOConfig
    from agentgym.algos.mt_grpo import MTGRPO as MTGRPO
    from agentgym.algos.mt_grpo import MTGRPOConfig as MTGRPOConfig
    from agentgym.algos.ppo import PPO as PPO
    from agentgym.algos.ppo import PPOConfig as PPOConfig
    from agentgym.algos.progress_advantage import ProgressAdvantage as ProgressAdvantage
    from agentgym.algos.progress_advantage import ProgressAdvantageConfig as ProgressAdvantageConfig
    from agentgym.algos.reinforce_pp import ReinforcePP as ReinforcePP
    from agentgym.algos.reinforce_pp import ReinforcePPBaseline as ReinforcePPBaseline
    from agentgym.algos.reinforce_pp import ReinforcePPBaselineConfig as ReinforcePPBaselineConfig
    from agentgym.algos.reinforce_pp import ReinforcePPConfig as ReinforcePPConfig
    from agentgym.algos.remax import ReMax as ReMax
    from agentgym.algos.remax import ReMaxConfig as ReMaxConfig
    from agentgym.algos.rloo import RLOO as RLOO
    from agentgym.algos.rloo import RLOOConfig as RLOOConfig
    from agentgym.algos.scpo import SCPO as SCPO
    from agentgym.algos.scpo import SCPOConfig as SCPOConfig
    from agentgym.algos.spa import SPA as SPA
    from agentgym.algos.spa import SPAConfig as SPAConfig
    from agentgym.algos.spa import SPAEstimator as SPAEstimator
    from agentgym.algos.starpo import StarPO as StarPO
    from agentgym.algos.starpo import StarPOConfig as StarPOConfig
    from agentgym.algos.starpo import StarPOPPO as StarPOPPO
    from agentgym.algos.starpo import StarPOPPOConfig as StarPOPPOConfig
    from agentgym.algos.tempo import TEMPO as TEMPO
    from agentgym.algos.tempo import TEMPOConfig as TEMPOConfig
    from agentgym.algos.three_spo import SearchBudget as SearchBudget
    from agentgym.algos.three_spo import ThreeSPO as ThreeSPO
    from agentgym.algos.three_spo import ThreeSPOConfig as ThreeSPOConfig
    from agentgym.algos.tree_grpo import TreeGRPO as TreeGRPO
    from agentgym.algos.tree_grpo import TreeGRPOConfig as TreeGRPOConfig
    from agentgym.algos.vineppo import VinePPO as VinePPO
    from agentgym.algos.vineppo import VinePPOConfig as VinePPOConfig

__all__ = [
    "AEPO",
    "ALGORITHMS",
    "ARPO",
    "DAPO",
    "EMPG",
    "GRPO",
    "GSPO",
    "HGPO",
    "MTGRPO",
    "PPO",
    "PRESETS",
    "RLOO",
    "SCPO",
    "SPA",
    "TEMPO",
    "AEPOConfig",
    "ARPOConfig",
    "Algorithm",
    "AlgorithmConfig",
    "ArCHer",
    "ArCHerConfig",
    "ArCHerOffline",
    "ArCHerOfflineConfig",
    "DAPOConfig",
    "DrGRPO",
    "DrGRPOConfig",
    "EMPGConfig",
    "EntropyARPO",
    "EntropyARPOConfig",
    "FilteredBC",
    "FilteredBCConfig",
    "Forking",
    "GRPOConfig",
    "GSPOConfig",
    "GiGPO",
    "GiGPOConfig",
    "HGPOConfig",
    "MTGRPOConfig",
    "MacroPPO",
    "MacroPPOConfig",
    "PPOConfig",
    "Preset",
    "ProgressAdvantage",
    "ProgressAdvantageConfig",
    "RLOOConfig",
    "ReMax",
    "ReMaxConfig",
    "ReinforcePP",
    "ReinforcePPBaseline",
    "ReinforcePPBaselineConfig",
    "ReinforcePPConfig",
    "SCPOConfig",
    "SPAConfig",
    "SPAEstimator",
    "SearchBudget",
    "StarPO",
    "StarPOConfig",
    "StarPOPPO",
    "StarPOPPOConfig",
    "TEMPOConfig",
    "TreeGRPO",
    "TreeGRPOConfig",
    "VinePPO",
    "VinePPOConfig",
    "get_algorithm",
    "list_algorithms",
]

ALGORITHMS: Mapping[str, str] = {
    "3spo": "agentgym.algos.three_spo:ThreeSPO",
    "aepo": "agentgym.algos.aepo:AEPO",
    "archer": "agentgym.algos.archer:ArCHer",
    "archer_offline": "agentgym.algos.archer:ArCHerOffline",
    "arpo": "agentgym.algos.arpo:ARPO",
    "dapo": "agentgym.algos.dapo:DAPO",
    "drgrpo": "agentgym.algos.drgrpo:DrGRPO",
    "empg": "agentgym.algos.empg:EMPG",
    "entropy_arpo": "agentgym.algos.aepo:EntropyARPO",
    "filtered_bc": "agentgym.algos.filtered_bc:FilteredBC",
    "gigpo": "agentgym.algos.gigpo:GiGPO",
    "grpo": "agentgym.algos.grpo:GRPO",
    "gspo": "agentgym.algos.gspo:GSPO",
    "hgpo": "agentgym.algos.hgpo:HGPO",
    "ma_ppo": "agentgym.algos.ma_ppo:MacroPPO",
    "mt_grpo": "agentgym.algos.mt_grpo:MTGRPO",
    "ppo": "agentgym.algos.ppo:PPO",
    "progress_advantage": "agentgym.algos.progress_advantage:ProgressAdvantage",
    "reinforce_pp": "agentgym.algos.reinforce_pp:ReinforcePP",
    "reinforce_pp_baseline": "agentgym.algos.reinforce_pp:ReinforcePPBaseline",
    "remax": "agentgym.algos.remax:ReMax",
    "rloo": "agentgym.algos.rloo:RLOO",
    "scpo": "agentgym.algos.scpo:SCPO",
    "spa": "agentgym.algos.spa:SPA",
    "starpo": "agentgym.algos.starpo:StarPO",
    "starpo_ppo": "agentgym.algos.starpo:StarPOPPO",
    "tempo": "agentgym.algos.tempo:TEMPO",
    "tree_grpo": "agentgym.algos.tree_grpo:TreeGRPO",
    "vineppo": "agentgym.algos.vineppo:VinePPO",
}
"""Name of each algorithm here to its module and class."""


def _third_party() -> dict[str, str]:
    return {point.name: point.value for point in importlib.metadata.entry_points(group="agentgym.algos")}


def list_algorithms() -> tuple[str, ...]:
    """Return the names of all algorithms, installed third-party ones included."""
    return tuple(sorted({**_third_party(), **ALGORITHMS}))


def _settings(name: str, given: str) -> dict[str, Any]:
    """Read ``key=value+key=value``."""
    import yaml

    settings = {}
    for item in given.split("+") if given else ():
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"'{name}:{given}': settings are written {name}:key=value+key=value")
        settings[key] = yaml.safe_load(value)
    return settings


def get_algorithm(name: str, **overrides: Any) -> Algorithm[Any]:
    """Build an algorithm by its name or by the name of a preset.

    Args:
        name: A name out of ``list_algorithms()`` or ``PRESETS``, with settings behind a colon if wanted:
            ``"gigpo:gamma=1+std=null"``, values as in YAML.
        overrides: Settings that replace the defaults, the preset's and those in the name.

    Raises:
        ConfigError: If the name or a setting is unknown, or a value is out of range.
    """
    from agentgym.algos.base import Algorithm

    name, _, given = name.partition(":")
    overrides = {**_settings(name, given), **overrides}
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
    "AEPO": "agentgym.algos.aepo",
    "AEPOConfig": "agentgym.algos.aepo",
    "ARPO": "agentgym.algos.arpo",
    "ARPOConfig": "agentgym.algos.arpo",
    "Algorithm": "agentgym.algos.base",
    "AlgorithmConfig": "agentgym.algos.base",
    "ArCHer": "agentgym.algos.archer",
    "ArCHerConfig": "agentgym.algos.archer",
    "ArCHerOffline": "agentgym.algos.archer",
    "ArCHerOfflineConfig": "agentgym.algos.archer",
    "DAPO": "agentgym.algos.dapo",
    "DAPOConfig": "agentgym.algos.dapo",
    "DrGRPO": "agentgym.algos.drgrpo",
    "DrGRPOConfig": "agentgym.algos.drgrpo",
    "EMPG": "agentgym.algos.empg",
    "EMPGConfig": "agentgym.algos.empg",
    "EntropyARPO": "agentgym.algos.aepo",
    "EntropyARPOConfig": "agentgym.algos.aepo",
    "FilteredBC": "agentgym.algos.filtered_bc",
    "FilteredBCConfig": "agentgym.algos.filtered_bc",
    "Forking": "agentgym.algos.forking",
    "GRPO": "agentgym.algos.grpo",
    "GRPOConfig": "agentgym.algos.grpo",
    "GSPO": "agentgym.algos.gspo",
    "GSPOConfig": "agentgym.algos.gspo",
    "GiGPO": "agentgym.algos.gigpo",
    "GiGPOConfig": "agentgym.algos.gigpo",
    "HGPO": "agentgym.algos.hgpo",
    "HGPOConfig": "agentgym.algos.hgpo",
    "MTGRPO": "agentgym.algos.mt_grpo",
    "MTGRPOConfig": "agentgym.algos.mt_grpo",
    "MacroPPO": "agentgym.algos.ma_ppo",
    "MacroPPOConfig": "agentgym.algos.ma_ppo",
    "PPO": "agentgym.algos.ppo",
    "PPOConfig": "agentgym.algos.ppo",
    "ProgressAdvantage": "agentgym.algos.progress_advantage",
    "ProgressAdvantageConfig": "agentgym.algos.progress_advantage",
    "RLOO": "agentgym.algos.rloo",
    "RLOOConfig": "agentgym.algos.rloo",
    "ReMax": "agentgym.algos.remax",
    "ReMaxConfig": "agentgym.algos.remax",
    "ReinforcePP": "agentgym.algos.reinforce_pp",
    "ReinforcePPBaseline": "agentgym.algos.reinforce_pp",
    "ReinforcePPBaselineConfig": "agentgym.algos.reinforce_pp",
    "ReinforcePPConfig": "agentgym.algos.reinforce_pp",
    "SCPO": "agentgym.algos.scpo",
    "SCPOConfig": "agentgym.algos.scpo",
    "SPA": "agentgym.algos.spa",
    "SPAConfig": "agentgym.algos.spa",
    "SPAEstimator": "agentgym.algos.spa",
    "SearchBudget": "agentgym.algos.three_spo",
    "StarPO": "agentgym.algos.starpo",
    "StarPOConfig": "agentgym.algos.starpo",
    "StarPOPPO": "agentgym.algos.starpo",
    "StarPOPPOConfig": "agentgym.algos.starpo",
    "TEMPO": "agentgym.algos.tempo",
    "TEMPOConfig": "agentgym.algos.tempo",
    "ThreeSPO": "agentgym.algos.three_spo",
    "ThreeSPOConfig": "agentgym.algos.three_spo",
    "TreeGRPO": "agentgym.algos.tree_grpo",
    "TreeGRPOConfig": "agentgym.algos.tree_grpo",
    "VinePPO": "agentgym.algos.vineppo",
    "VinePPOConfig": "agentgym.algos.vineppo",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'agentgym.algos' has no attribute {name!r}")


if __name__ != "agentgym.algos":
    raise ImportError(f"import 'agentgym.algos'; {__name__!r} is a second copy")
