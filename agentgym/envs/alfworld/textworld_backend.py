"""The original engine behind the same interface, for comparison: ``ALFWorldEnv(backend="textworld")``.

It needs the packages ``textworld`` and ``alfworld``, takes about a second to start a game, and cannot save a state.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentgym.envs.alfworld.game import Game
from agentgym.envs.alfworld.sources import RealGames
from agentgym.errors import missing_extra
from agentgym.identity import text_hash

__all__ = ["OriginalEngine", "OriginalPlay"]

# Facts that only say what the agent has looked at, and negations, which the original keeps as a by-product of its
# changes. Of these, ``look`` reads one.
_SILENT = ("checked", "examined", "not_", "new-axiom")
_HEARD = "not_inreceptacle"


class OriginalEngine:
    """Start games in the original engine.

    Args:
        games: The real games, which bring their own rules or lie beside them.

    Raises:
        MissingExtraError: If ``textworld`` or ``alfworld`` is not installed.
    """

    def __init__(self, games: RealGames) -> None:
        self._games = games
        with _unchanged_process():
            try:
                import textworld
                from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
                from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH
                from textworld.envs.pddl import PddlEnv
            except ImportError as error:
                package = "textworld" if "textworld" in str(error) else "alfworld"
                raise missing_extra(package, "alfworld", "backend='textworld'") from error
            infos = textworld.EnvInfos(won=True, admissible_commands=True)
            self._env = AlfredDemangler(PddlEnv(infos), shuffle=False)
        self._rules = [Path(ALFRED_PDDL_PATH), Path(ALFRED_TWL2_PATH)]
        beside = [Path(games.origin).parent / path.name for path in self._rules]
        if all(path.is_file() for path in beside):
            self._rules = beside
        self._loaded = ""

    def start(self, game: Game) -> "OriginalPlay":
        """Start a game; the game before it, if any, is over."""
        with _unchanged_process():
            if self._loaded != game.id:
                self._env.load(self._data(game))
                self._loaded = game.id
            return OriginalPlay(self._env, self._env.reset())

    def _data(self, game: Game) -> dict[str, Any]:
        record, _ = self._games.record(game.id)
        if "grammar" in record:
            return record
        domain, grammar = (path.read_text(encoding="utf-8") for path in self._rules)
        task = json.dumps(game.task)[1:-1]
        grammar = grammar.replace("{TASK}", task).replace("Your task is to: UNKNOWN GOAL.", task)
        return {**record, "pddl_domain": domain, "grammar": grammar}


class OriginalPlay:
    """One game in progress in the original engine.

    Args:
        env: The original environment, loaded.
        state: What its ``reset`` returned.

    Attributes:
        admissible: Commands that do something now, sorted.
        won: Whether the goal holds.
    """

    def __init__(self, env: Any, state: Any) -> None:
        self._env = env
        self._take(state)

    def _take(self, state: Any) -> None:
        self._state = state
        self.admissible: tuple[str, ...] = tuple(state["admissible_commands"])
        self.won = bool(state["won"])

    def intro(self) -> str:
        """Return the first observation."""
        return str(self._state.feedback)

    def act(self, command: str) -> tuple[str, bool]:
        """Carry out a command; return the observation and whether the world understood."""
        valid = command.strip() in self.admissible
        with _unchanged_process():
            state, _, _ = self._env.step(command)
        self._take(state)
        return str(state.feedback), valid

    @property
    def state_hash(self) -> str:
        """The state's hash; it is not the native engine's, which names the same states otherwise."""
        return text_hash(self.state_text())

    def state_text(self) -> str:
        """List the facts that texts, commands and the goal depend on."""
        facts = (str(fact) for fact in self._state["_facts"])
        return "\n".join(sorted(fact for fact in facts if fact.startswith(_HEARD) or not fact.startswith(_SILENT)))


@contextlib.contextmanager
def _unchanged_process() -> Iterator[None]:
    """Undo what the original does to its process: it rewrites ``sys.argv`` and sets ``ALFWORLD_DATA``."""
    arguments, folder = sys.argv, os.environ.get("ALFWORLD_DATA")
    try:
        yield
    finally:
        sys.argv = arguments
        if folder is None:
            os.environ.pop("ALFWORLD_DATA", None)
