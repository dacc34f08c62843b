"""A small problem in the shape of ALFWorld's, and its six goals."""

from __future__ import annotations

from typing import Any

from agentgym.envs.alfworld.game import Goal

__all__ = ["GOALS", "PROBLEM", "RECORD", "with_goal"]

_FACTS = """
(receptacleType Drawer_bar_1 DrawerType) (receptacleType Drawer_bar_2 DrawerType)
(receptacleType Fridge_bar_1 FridgeType) (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
(receptacleAtLocation Drawer_bar_1 loc_bar_1) (receptacleAtLocation Drawer_bar_2 loc_bar_1)
(receptacleAtLocation Fridge_bar_1 loc_bar_3) (receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_2)
(openable Drawer_bar_1) (openable Drawer_bar_2) (openable Fridge_bar_1)
(objectType Apple_bar_1 AppleType) (objectType Bowl_bar_1 BowlType)
(objectType DeskLamp_bar_1 DeskLampType) (objectType Knife_bar_1 KnifeType)
(pickupable Apple_bar_1) (pickupable Bowl_bar_1) (pickupable Egg_bar_1) (pickupable Knife_bar_1)
(cleanable Apple_bar_1) (coolable Apple_bar_1) (sliceable Apple_bar_1) (isCool Apple_bar_1) (cleanable Bowl_bar_1)
(toggleable DeskLamp_bar_1) (isReceptacleObject Bowl_bar_1) (inReceptacleObject Egg_bar_1 Bowl_bar_1)
(inReceptacle Apple_bar_1 Fridge_bar_1) (inReceptacle Bowl_bar_1 Sink_bar_1_bar_SinkBasin)
(inReceptacle Egg_bar_1 Sink_bar_1_bar_SinkBasin)
(inReceptacle DeskLamp_bar_1 Sink_bar_1_bar_SinkBasin)
(inReceptacle Knife_bar_1 Drawer_bar_1)
(objectAtLocation Apple_bar_1 loc_bar_3) (objectAtLocation Bowl_bar_1 loc_bar_2) (objectAtLocation Egg_bar_1 loc_bar_2)
(objectAtLocation DeskLamp_bar_1 loc_bar_2) (objectAtLocation Knife_bar_1 loc_bar_1)
(canContain FridgeType AppleType) (canContain DrawerType KnifeType) (canContain SinkBasinType AppleType)
(canContain SinkBasinType BowlType)
(atLocation agent1 loc_bar_0)
"""

_STATE = "(and (exists (?r - receptacle) (exists (?o - object) (and ({able} ?o) (objectType ?o AppleType) "
_STATE += "(receptacleType ?r FridgeType) ({state} ?o) (inReceptacle ?o ?r)))))"

GOALS: dict[str, Goal] = {
    "(and (exists (?r - receptacle) (exists (?o - object) (and (inReceptacle ?o ?r) (objectType ?o AppleType) "
    "(receptacleType ?r FridgeType)))))": Goal("apple", receptacle_type="fridge"),
    _STATE.format(able="cleanable", state="isClean"): Goal("apple", receptacle_type="fridge", state="clean"),
    _STATE.format(able="heatable", state="isHot"): Goal("apple", receptacle_type="fridge", state="hot"),
    _STATE.format(able="coolable", state="isCool"): Goal("apple", receptacle_type="fridge", state="cool"),
    "(and (exists (?r - receptacle) (exists (?o - object) (and (objectType ?o AppleType) "
    "(receptacleType ?r FridgeType) (inReceptacle ?o ?r) (exists (?p - object) (and (not (= ?o ?p)) "
    "(objectType ?p AppleType) (receptacleType ?r FridgeType) (inReceptacle ?p ?r)))))))": Goal(
        "apple", receptacle_type="fridge", count=2
    ),
    "(and (exists (?t - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?t DeskLampType) "
    "(toggleable ?t) (isToggled ?t) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?t ?r))) "
    "(exists (?o - object ?a - agent) (and (objectType ?o AppleType) (holds ?a ?o))))": Goal(
        "apple", lamp_type="desklamp"
    ),
}


def with_goal(formula: str) -> str:
    """Return the problem with another goal formula."""
    return (
        "\n(define (problem plan_trial)\n(:domain alfred)\n(:objects\nagent1 - agent Apple - object\n)\n"
        f"(:init\n{_FACTS})\n(:goal\n{formula}\n)\n)\n"
    )


PROBLEM = with_goal(next(iter(GOALS)))

RECORD: dict[str, Any] = {
    "id": "train/pick_and_place_simple-Apple-None-Fridge-1/trial_1",
    "task": "Your task is to: put some apple on fridge.",
    "pddl_problem": PROBLEM,
    "walkthrough": ["look"],
    "solvable": True,
}
