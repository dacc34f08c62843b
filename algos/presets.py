"""Published settings of the algorithms by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PRESETS", "Preset"]


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

_MA_PPO: Mapping[str, Any] = {
    **{"termination": "fixed", "length": 5, "value_of": "equal", "lone_last": True, "gamma": 1.0, "lam": 0.95},
    **{"kl_reward_coef": 0.05, "clip_low": 0.2, "clip_high": 0.2, "whiten": False},
    **{"value_coef": 0.5, "value_clip": 0.2, "critic_rate": 1.0},
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
    "3spo_ours": Preset(
        "3spo",
        "ours: no reward for reaching states that were given up, the likelier of equals first, no KL",
        {
            **{**_3SPO, "kl_coef": 0.0, "format_penalty": 0.0},
            **{"scope": "global", "given_up": "unresolved", "ties": "frequency"},
        },
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
    "archer_paper": Preset(
        "archer",
        "ArCHer, arXiv 2402.19446, and its code on Twenty Questions: 50 critic and 3 actor steps, of 256 turns",
        {
            **{"gamma": 0.95, "tau": 0.1, "actions": "fresh", "steps": 50, "minibatch": 256, "capacity": 100_000},
            **{"actor": "fresh", "actor_steps": 3, "actor_minibatch": 256},
            # The published 2e-5 is on gradients summed over 32 batches, but Adam does not see the scale.
            **{"warmup": 20, "critic_learning_rate": 2e-5},
        },
    ),
    "archer_offline_paper": Preset(
        "archer_offline",
        "OfflineArcher's code on Twenty Questions: expectile 0.9, inverse temperature 1, weights without a bound",
        {
            **{"gamma": 0.99, "tau": 0.05, "expectile": 0.9, "beta_inv": 1.0, "max_weight": None},
            **{"minibatch": 128, "critic_learning_rate": 1e-5},
        },
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
    "spa_paper": Preset(
        "spa",
        "SPA, arXiv 2505.20732: estimates and grounding, the estimator's optimiser as released; PPO's settings are not",
        {
            **{"redistribution": "progress", "alpha": 1.0, "beta": 0.5, "level": "turn"},
            "estimator": {"learning_rate": 3e-6, "weight_decay": 0.01, "epochs": 1, "min_r2": None},
        },
    ),
    "spa_released": Preset(
        "spa",
        "SPA's released code: leave-one-out returns in place of estimates, over tokens; the last turn earns nothing",
        {
            **{"redistribution": "loo", "alpha": 1.0, "beta": 0.5, "ground_last": True, "level": "token"},
            "legacy_horizon_weight": True,
        },
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
    "ma_ppo_paper": Preset(
        "ma_ppo",
        "MA-RLHF, arXiv 2410.02743, with Gemma: five tokens a macro action, ratios of macro actions, KL summed",
        {**_MA_PPO, "ratio": "macro", "kl_agg": "sum", "discount": "token"},
    ),
    "ma_ppo_code": Preset(
        "ma_ppo",
        "MA-RLHF's released code: as the paper, but ratios of tokens, and KL penalties averaged in a macro action",
        {**_MA_PPO, "ratio": "token", "kl_agg": "mean", "discount": "macro"},
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
        {"forks": 9, "whiten": True, "clip_low": 0.2, "clip_high": 0.2, "kl_coef": 1e-4},
    ),
}
"""Published settings by name, on the unit reward scale; ``get_algorithm`` takes these names too."""
