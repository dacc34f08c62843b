"""Rows of verl-agent's rollouts: one row per step, with the columns of ``DataProto.non_tensor_batch``.

Its trajectory collector keeps for each step ``uid`` (group), ``traj_uid`` (episode), ``anchor_obs`` (observation
without history), ``rewards``, ``active_masks``, ``is_action_valid``, ``episode_rewards`` and ``episode_lengths``.
verl-agent writes no such file by itself: dump the dictionary, one row per step, before the trainer reorders the batch,
with ``responses`` as text or token ids. The files that verl's ``rollout_data_dir`` does write (``input``, ``output``,
``score``, ``step``) do not say which rows belong to one episode, and are refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agentgym.episodes import Step
from agentgym.errors import DataError
from agentgym.identity import text_hash, value_hash
from agentgym.interop.imported import Imported, Row, group_up, need, number, step_of

__all__ = ["VERL_AGENT_COLUMNS", "from_verl_agent"]

VERL_AGENT_COLUMNS = ("uid", "traj_uid", "anchor_obs", "rewards")
"""The columns by which rows of verl-agent are known."""

_HINT = "Rows of an episode must lie in the order of play, as before the trainer balances the batch."


def from_verl_agent(rows: Sequence[Row]) -> Imported:
    """Read step rows of verl-agent, in the order of play within each episode.

    Args:
        rows: Rows with the columns of ``VERL_AGENT_COLUMNS``; others are used where they are there.

    Raises:
        DataError: If a column is missing, or the episodes of a group do not begin alike.
    """
    need(rows, VERL_AGENT_COLUMNS, "verl-agent rollout")
    played = [row for row in rows if row.get("active_masks", True)]
    groups: dict[str, dict[str, list[Row]]] = {}
    for row in played:
        groups.setdefault(str(row["uid"]), {}).setdefault(str(row["traj_uid"]), []).append(row)
    owners = Counter(name for members in groups.values() for name in members)
    if twice := [name for name, count in owners.items() if count > 1]:
        raise DataError(f"traj_uid {min(twice)!r} stands in several groups (uid)")
    notes = [
        "an episode counts as won where its rewards sum to more than 0, and as ended, not cut off, at its last row"
    ]
    if not all("responses" in row for row in rows):
        notes.append("no column 'responses': actions are unknown, and near-identical steps are those of one anchor_obs")
    if not all("is_action_valid" in row for row in rows):
        notes.append("no column 'is_action_valid': every action counts as valid")
    if notes_on_length := _lengths(groups):
        notes.append(notes_on_length)
    steps = {uid: [_steps(members[name]) for name in members] for uid, members in groups.items()}
    return Imported("verl-agent", group_up(steps, _HINT), tuple(notes))


def _steps(rows: Sequence[Row]) -> list[Step]:
    return [
        step_of(
            observation=row["anchor_obs"] if isinstance(row["anchor_obs"], str) else json.dumps(row["anchor_obs"]),
            obs_hash=text_hash(row["anchor_obs"])
            if isinstance(row["anchor_obs"], str)
            else value_hash(row["anchor_obs"]),
            action=_response(row.get("responses")),
            reward=number(row, "rewards"),
            valid=bool(row.get("is_action_valid", True)),
            terminated=last,
        )
        for row, last in zip(rows, [False] * (len(rows) - 1) + [True], strict=True)
    ]


def _response(value: Any) -> str:
    """Return a response's text; token ids are named by their numbers, which tells equal ones apart from others."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _lengths(groups: dict[str, dict[str, list[Row]]]) -> str:
    """Say how many episodes have another number of rows than verl-agent counted, as a reordered batch has."""
    episodes = [rows for members in groups.values() for rows in members.values()]
    wrong = sum(len(rows) != number(rows[0], "episode_lengths") for rows in episodes if "episode_lengths" in rows[0])
    return (
        f"{wrong} of {len(episodes)} episodes have another number of rows than 'episode_lengths' says" if wrong else ""
    )
