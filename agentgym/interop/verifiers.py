"""Results of verifiers: ``vf-eval --save-results`` and its trainers write ``results.jsonl``, one line per rollout.

Keys that are read, as the package's ``state_to_output`` writes them: ``example_id`` (rollouts of one example are a
group), ``prompt`` and ``completion`` (chats, or text), ``reward`` (of the whole rollout), ``is_truncated`` and ``task``
where they are there. Older versions write no ``is_truncated``.

Each assistant message is a step. What it saw is the messages since the assistant spoke last; the first step saw the
prompt. The reward stands at the last step: verifiers saves none for the turns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentgym.episodes import Step
from agentgym.errors import DataError
from agentgym.interop.imported import Imported, Row, group_up, need, number, step_of

__all__ = ["VERIFIERS_COLUMNS", "from_verifiers"]

VERIFIERS_COLUMNS = ("example_id", "prompt", "completion", "reward")
"""The keys by which results of verifiers are known."""


def from_verifiers(rows: Sequence[Row]) -> Imported:
    """Read results of verifiers.

    Args:
        rows: Lines of ``results.jsonl``.

    Raises:
        DataError: If a key is missing, or a completion has no message of the assistant in any row.
    """
    need(rows, VERIFIERS_COLUMNS, "verifiers result")
    groups: dict[str, list[list[Step]]] = {}
    silent = 0
    for row in rows:
        name = f"{row['task']}/{row['example_id']}" if isinstance(row.get("task"), str) else str(row["example_id"])
        if turns := _turns(row["prompt"], row["completion"]):
            groups.setdefault(name, []).append(_steps(turns, number(row, "reward"), bool(row.get("is_truncated"))))
        else:
            silent += 1
    if not groups:
        raise DataError("no completion of this verifiers file has a message of the assistant")
    notes = [
        "each message of the assistant is a step, anchored by the messages since it spoke last",
        "the reward stands at the last step: verifiers saves none for the turns",
    ]
    if silent:
        notes.append(f"{silent} of {len(rows)} rollouts have no message of the assistant and are left out")
    if not all("is_truncated" in row for row in rows):
        notes.append("no key 'is_truncated': every rollout counts as ended, not cut off")
    return Imported("verifiers", group_up(groups, "Rollouts of one example_id must share their prompt."), tuple(notes))


def _turns(prompt: Any, completion: Any) -> list[tuple[str, str]]:
    """Return what was seen and what was said, turn by turn."""
    if isinstance(completion, str):
        return [(_seen(prompt), completion)]
    if not isinstance(completion, list) or not all(isinstance(m, dict) and "role" in m for m in completion):
        raise DataError(f"a completion must be text or a list of messages, not {completion!r:.80}")
    turns = []
    seen: list[Any] = prompt if isinstance(prompt, list) else [prompt]
    for message in completion:
        if message["role"] == "assistant":
            turns.append((_seen(seen), _said(message)))
            seen = []
        else:
            seen = [*seen, message]
    return turns


def _steps(turns: Sequence[tuple[str, str]], reward: float, truncated: bool) -> list[Step]:
    *before, (seen, said) = turns
    steps = [step_of(observation, action, 0.0) for observation, action in before]
    return [*steps, step_of(seen, said, reward, terminated=not truncated, truncated=truncated)]


def _seen(messages: Any) -> str:
    if isinstance(messages, str):
        return messages
    return "\n".join(f"{m['role']}: {_text(m.get('content'))}" if isinstance(m, dict) else str(m) for m in messages)


def _said(message: dict[str, Any]) -> str:
    """Return the text of a message and the calls of tools in it."""
    calls = [json.dumps(_call(call), sort_keys=True) for call in message.get("tool_calls") or ()]
    return "\n".join([*filter(None, [_text(message.get("content"))]), *calls])


def _call(call: Any) -> Any:
    """Return what a call does, without its id, which differs between equal calls."""
    try:
        call = json.loads(call) if isinstance(call, str) else call
    except ValueError:
        return call
    return {key: value for key, value in call.items() if key != "id"} if isinstance(call, dict) else call


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return json.dumps(content, sort_keys=True, ensure_ascii=False)
