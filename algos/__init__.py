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
    from agentgym.algos.aepo import AEPO as AEPO
    from agentgym.algos.aepo import AEPOConfig as AEPOConfig
    from agentgym.algos.aepo import EntropyARPO as EntropyARPO
    from agentgym.algos.aepo import EntropyARPOConfig as EntropyARPOConfig
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
    from agentgym.algos.forking import Forking as Forking
    from agentgym.algos.gigpo import GiGPO as GiGPO
    from agentgym.algos.gigpo import GiGPOConfig as GiGPOConfig
    from agentgym.algos.grpo import GRPO as GRPO
    from agentgym.algos.grpo import GRPOConfig as GRPOConfig
    from agentgym.algos.gspo import GSPO as GSPO
    from agentgym.algos.gspo import GSPOConfig as GSPOConfig
    from agentgym.algos.hgpo import HGPO as HGPO
    from agentgym.algos.hgpo import HGPOConfig as HGPOConfig
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
    "TEMPO",
    "AEPOConfig",
    "ARPOConfig",
    "Algorithm",
    "AlgorithmConfig",
    "DAPOConfig",
    "DrGRPO",
    "DrGRPOConfig",
    "EMPGConfig",
    "EntropyARPO",
    "EntropyARPOConfig",
    "Forking",
    "GRPOConfig",
    "GSPOConfig",
    "GiGPO",
    "GiGPOConfig",
    "HGPOConfig",
    "MTGRPOConfig",
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
    "arpo": "agentgym.algos.arpo:ARPO",
    "dapo": "agentgym.algos.dapo:DAPO",
    "drgrpo": "agentgym.algos.drgrpo:DrGRPO",
    "empg": "agentgym.algos.empg:EMPG",
    "entropy_arpo": "agentgym.algos.aepo:EntropyARPO",
    "gigpo": "agentgym.algos.gigpo:GiGPO",
    "grpo": "agentgym.algos.grpo:GRPO",
    "gspo": "agentgym.algos.gspo:GSPO",
    "hgpo": "agentgym.algos.hgpo:HGPO",
    "mt_grpo": "agentgym.algos.mt_grpo:MTGRPO",
    "ppo": "agentgym.algos.ppo:PPO",
    "progress_advantage": "agentgym.algos.progress_advantage:ProgressAdvantage",
    "reinforce_pp": "agentgym.algos.reinforce_pp:ReinforcePP",
    "reinforce_pp_baseline": "agentgym.algos.reinforce_pp:ReinforcePPBaseline",
    "remax": "agentgym.algos.remax:ReMax",
    "rloo": "agentgym.algos.rloo:RLOO",
    "scpo": "agentgym.algos.scpo:SCPO",
    "starpo": "agentgym.algos.starpo:StarPO",
    "starpo_ppo": "agentgym.algos.starpo:StarPOPPO",
    "tempo": "agentgym.algos.tempo:TEMPO",
    "tree_grpo": "agentgym.algos.tree_grpo:TreeGRPO",
    "vineppo": "agentgym.algos.vineppo:VinePPO",
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
_SCPO: Mapping[str, Any] = {
    **{"omega": 1.0, "gamma": 0.95, "bonus": 0.5, "threshold": 0.5},
    **{"reference": "longest", "order": "similarity", "text": "observation+action"},
}

# The history of 3SPO has no unit and its rewards are at most 1, so nothing is divided there.
_3SPO: Mapping[str, Any] = {
    **{"alpha": 50.0, "xi": 10.0, "zeta": 0.1, "omega": 0.1, "std": None, "format_penalty": 0.1},
    **{"clip_low": 0.2, "clip_high": 0.2, "kl_coef": 0.01, "kl_estimator": "k3"},
}

PRESETS: Mapping[str, Preset] = {
    "3spo_paper": Preset(
        "3spo",
        "3SPO, arXiv 2606.09961: states of all tasks share a history; its scripts run GRPO, so no run had these",
        {**_3SPO, "scope": "global"},
    ),
    "3spo_task": Preset(
        "3spo",
        "as 3spo_paper, with a history for each task, as observations collide between tasks",
        {**_3SPO, "scope": "task"},
    ),
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
            # There a right answer earns 1, so nothing is divided.
            **{**_WITH_STD, "eps": 1e-6, "format_penalty": 0.01, "kl_coef": 0.001, "entropy_coef": 0.0},
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
    "scpo_ours": Preset(
        "scpo",
        "ours, as the settings are not public: GiGPO without std, by which a small bonus cannot grow, and shared words",
        {**_WITHOUT_STD, **_SCPO, "matcher": "token-overlap"},
    ),
    "scpo_bge": Preset(
        "scpo",
        "as scpo_ours, with the paper's matcher, a cross-encoder from the Hugging Face Hub",
        {
            **{**_WITHOUT_STD, **_SCPO, "matcher": "cross-encoder"},
            "matcher_options": {"model": "BAAI/bge-reranker-v2-m3"},
        },
    ),
    "drgrpo_paper": Preset(
        "drgrpo", "Dr. GRPO, arXiv 2503.20783: no KL, generation budget of 3,000 tokens", {"norm_tokens": 3000}
    ),
    "rloo_verl_agent": Preset(
        "rloo",
        "verl-agent's RLOO scripts for ALFWorld and WebShop: one row left out, not one episode",
        {**_WITHOUT_STD},
    ),
    "reinforce_pp_openrlhf": Preset(
        "reinforce_pp",
        "OpenRLHF's example scripts of REINFORCE++: γ = 1 and a KL penalty of 0.01 in the token rewards",
        {"gamma": 1.0, "kl_reward_coef": 0.01},
    ),
    "reinforce_pp_verl": Preset(
        "reinforce_pp",
        "verl's estimator as its line for agents runs it: returns within a row, dual clip",
        {"gamma": 1.0, "scope": "row", "dual_clip": 3.0},
    ),
    "reinforce_pp_baseline_verl": Preset(
        "reinforce_pp_baseline",
        "verl's estimator with the mean of the group: over rows, a lone one keeps its score, dual clip",
        {"base": "rows", "lone": "raw", "dual_clip": 3.0},
    ),
    "dapo_paper": Preset(
        "dapo",
        "DAPO, arXiv 2503.14476, Qwen2.5-32B: no KL, soft limit at 20,480 tokens; dual clip 10 as in its script",
        {
            "clip_low": 0.2,
            "clip_high": 0.28,
            "dual_clip": 10.0,
            "aggregation": "token-mean",
            "overlong_limit": 20480,
            "overlong_buffer": 4096,
            "overlong_factor": 1.0,
            "max_batches": 10,
        },
    ),
    "dapo_verl_agent": Preset(
        "dapo",
        "verl-agent's DAPO scripts: statistics over rows, with std; the KL term is kept, lengths are not shaped",
        {**_WITH_STD, "clip_high": 0.28, "max_batches": 10},
    ),
    "arpo_paper": Preset(
        "arpo",
        "ARPO (replay), arXiv 2505.16282, and its code: 128 tasks solved at least once in probing, no KL",
        {
            **{"capacity": 8, "threshold": 0.1, "max_std": 0.05, "max_mean": 0.2, "old_logp": "recompute"},
            # 16 probes a task is from memory; everything else is in the published code.
            **{"pool": 128, "select": True, "probes": 16, "rate_low": 0.0, "rate_high": 1.0},
            **{"std": "sample", "eps": 1e-6, "format_weight": 0.5, "clip_low": 0.2, "clip_high": 0.3, "kl_coef": 0.0},
        },
    ),
    "entropy_arpo_paper": Preset(
        "entropy_arpo",
        "ARPO (entropy), arXiv 2507.19849: half of the paths are forks, wherever the entropy rose; no KL",
        {
            **{"shared": "soft", "initial": None, "alpha": 0.5, "beta": 0.2, "threshold": 0.5, "rule": "threshold"},
            "kl_coef": 0.0,
        },
    ),
    "entropy_arpo_code": Preset(
        "entropy_arpo",
        "ARPO's released code: forks by chance, with a probability of 0.5 that the entropy moves; no KL",
        {"shared": "soft", "initial": None, "alpha": 0.5, "beta": 0.2, "rule": "chance", "branches": 1, "kl_coef": 0.0},
    ),
    "aepo_code": Preset(
        "aepo",
        "AEPO's released code with all of its parts on: forks by chance, penalty 0.05, entropy weight 0.2; no KL",
        {
            **{"shared": "soft", "alpha": 0.5, "beta": 0.2, "rule": "chance", "branches": 1, "kl_coef": 0.0},
            **{"sensitivity": 0.5, "penalty": 0.05, "entropy_weight": 0.2, "keep_clipped": True},
        },
    ),
    "gspo_paper": Preset(
        "gspo", "GSPO, arXiv 2507.18071, section 5.1: no KL", {"clip_low": 3e-4, "clip_high": 4e-4, "kl_coef": 0.0}
    ),
    "gspo_verl_agent": Preset(
        "gspo",
        "verl-agent's GSPO script: GRPO's advantage over rows, with std, and the KL term kept",
        {**_WITH_STD, "clip_low": 3e-4, "clip_high": 4e-4, "dual_clip": None, "aggregation": "seq-mean-token-mean"},
    ),
    "starpo_ragen": Preset(
        "starpo_ppo",
        "RAGEN's base configuration (StarPO-S): PPO over the episode's tokens, a quarter of the groups, no KL",
        {
            "keep": 0.25,
            "clip_low": 0.2,
            "clip_high": 0.28,
            "level": "token",
            "gamma": 1.0,
            "lam": 1.0,
            "critic_rate": 10.0,
            "kl_coef": 0.0,
            "entropy_coef": 0.001,
        },
    ),
    "empg_arlarena": Preset(
        "empg", "ARLArena's implementation of EMPG: k = k' = 1, ζ = 0.05", {"k": 1.0, "k_future": 1.0, "zeta": 0.05}
    ),
    "mt_grpo_paper": Preset(
        "mt_grpo",
        "MT-GRPO, arXiv 2505.11821, and its released script: both weights 1, no KL",
        {"turn_weight": 1.0, "outcome_weight": 1.0, "kl_coef": 0.0},
    ),
    "ppo_verl_agent": Preset(
        "ppo",
        "verl-agent's PPO scripts for ALFWorld and WebShop: tokens of one response, nothing bootstrapped, whitened",
        {
            **{"level": "token", "scope": "row", "gamma": 1.0, "lam": 1.0, "whiten": True},
            # The value clip of 0.5 is on rewards of 10 as well.
            **{"value_coef": 1.0, "value_clip": 0.05, "critic_rate": 10.0, "format_penalty": 0.01},
            **{"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0, "kl_coef": 0.01, "entropy_coef": 0.001},
        },
    ),
    "turn_ppo": Preset(
        "ppo",
        "Turn-PPO, arXiv 2512.17008: turns as steps, ratios of whole turns, the γ and λ its ablations favour",
        {"level": "turn", "gamma": 0.99, "lam": 0.9, "ratio": "sequence"},
    ),
    "progress_advantage_paper": Preset(
        "progress_advantage", "Progress Advantage, arXiv 2606.26080: the score alone, as used there", {"outcome": False}
    ),
    "tree_grpo_paper": Preset(
        "tree_grpo",
        "Tree-GRPO, arXiv 2509.21240, at its smallest budget: two trees, forked in one round; KL weight 0.001",
        {"trees": 2, "rounds": 1, "intra_weight": 1.0, "std": "sample", "eps": 1e-6, "kl_coef": 0.001},
    ),
    "vineppo_released": Preset(
        "vineppo",
        "VinePPO's released configuration for MATH, DeepSeekMath 7B: nine forks, whitened, KL in the loss",
        {"forks": 9, "gamma": 1.0, "whiten": True, "clip_low": 0.2, "clip_high": 0.2, "kl_coef": 1e-4},
    ),
}
"""Published settings by name, on the unit reward scale; ``get_algorithm`` takes these names too."""


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
    "DAPO": "agentgym.algos.dapo",
    "DAPOConfig": "agentgym.algos.dapo",
    "DrGRPO": "agentgym.algos.drgrpo",
    "DrGRPOConfig": "agentgym.algos.drgrpo",
    "EMPG": "agentgym.algos.empg",
    "EMPGConfig": "agentgym.algos.empg",
    "EntropyARPO": "agentgym.algos.aepo",
    "EntropyARPOConfig": "agentgym.algos.aepo",
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
