"""ALFWorld as a Gymnasium environment."""

import os
from collections.abc import Sequence
from typing import Any

from agentgym.envs.alfworld.engine import Play, Saved
from agentgym.envs.alfworld.expert import Memory, SearchingExpert, plan
from agentgym.envs.alfworld.game import Game
from agentgym.envs.alfworld.generator import GeneratorConfig
from agentgym.envs.alfworld.sources import RealGames, open_games, world_of
from agentgym.errors import ConfigError, EnvironmentFault, SnapshotError, unknown_name
from agentgym.text_env import Status, TextEnv

__all__ = ["ALFWorldEnv"]

_BACKENDS = ("native", "textworld")


class ALFWorldEnv(TextEnv):
    """Play household games: find things, clean, heat or cool them, and put them where they belong.

    Observations, admissible commands and scores equal those of the original engine; the reward is 1.0 when the goal is
    reached and 0.0 before. ``task_id`` begins with ``builtin/`` for built-in games and with the split for real ones.

    Args:
        split: ``train``, ``valid_seen``, ``valid_unseen`` or ``valid_train``.
        data: ``"builtin"``; a folder or file of real games; or None for the real games that the environment variables
            ``AGENTGYM_DATA`` or ``ALFWORLD_DATA`` name, and the built-in ones where they name none.
        task_types: Task types to keep; None keeps all six.
        difficulty: Preset (``easy``, ``default``, ``hard``) or configuration of the built-in games.
        backend: ``native``, or ``textworld`` for the original engine, a thousand times slower, on real games.
        render_mode: ``"ansi"`` or ``"human"``.

    Example:
        >>> env = ALFWorldEnv(data="builtin")
        >>> observation, info = env.reset(seed=0)
        >>> observation.splitlines()[0]
        '-= Welcome to TextWorld, ALFRED! =-'
        >>> observation, reward, terminated, truncated, info = env.step("inventory")
        >>> observation
        'You are not carrying anything.'
    """

    def __init__(
        self,
        split: str = "train",
        data: str | os.PathLike[str] | None = None,
        task_types: Sequence[str] | None = None,
        difficulty: str | GeneratorConfig = "default",
        backend: str = "native",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        if backend not in _BACKENDS:
            raise unknown_name("backend", backend, _BACKENDS)
        self._games = open_games(split, data, task_types, difficulty)
        self._play: Any = None
        self._original: Any = None
        self._expert: SearchingExpert | None = None
        if backend == "textworld":
            if not isinstance(self._games, RealGames):
                raise ConfigError("backend='textworld' plays real games only; name their folder with data=...")
            from agentgym.envs.alfworld.textworld_backend import OriginalEngine

            self._original = OriginalEngine(self._games)

    @property
    def tasks(self) -> tuple[str, ...] | None:
        """Ids of the split's games; None for built-in games, which are endless."""
        return self._games.ids

    @property
    def held_out(self) -> dict[str, str]:
        """Arguments that give games held out from training: built-in rooms never seen, or ``valid_seen``."""
        return {"split": "valid_unseen" if self.tasks is None else "valid_seen"}

    @property
    def game(self) -> Game:
        """The game in progress."""
        # A restored game may come from another split than this environment's.
        return self._play.world.game if isinstance(self._play, Play) else self._games.load(self.task_id)

    def _begin(self, task: str | None) -> str:
        task_id = self._games.draw(self.np_random) if task is None else task
        if self._original is None:
            world = world_of(self._games, task_id)
            self._play, game = Play(world), world.game
        else:
            game = self._games.load(task_id)
            self._play = self._original.start(game)
        self.task_id, self.task_type, self.goal = task_id, game.task_type, game.goal_text
        self._expert = None
        text: str = self._play.intro()
        return text

    def expert_action(self, searching: bool = True) -> str:
        """Return what an expert would do now.

        Args:
            searching: Whether the expert acts only on what the texts have shown; ask it every step, and snapshots keep
                what it has seen. Otherwise it knows where everything is and takes a shortest or near-shortest way to
                the goal.

        Raises:
            EnvironmentFault: If no native game is running, or the goal is out of reach.
        """
        if not isinstance(self._play, Play):
            raise EnvironmentFault("the expert needs a running game of the native backend: call reset() first")
        if searching:
            self._expert = self._expert or SearchingExpert()
            return self._expert.act(self._play, self._last_text or "")
        steps = plan(self._play.world.game, self._play)
        if not steps:
            raise EnvironmentFault(f"no plan reaches the goal of {self.task_id!r} from here")
        return steps[0]

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        play = self._play
        observation, valid = play.act(action)
        return observation, 1.0 if play.won else 0.0, play.won, valid

    def _status(self) -> Status:
        play = self._play
        won = play.won
        return Status(play.admissible, won, 1.0 if won else 0.0, play.state_hash)

    def state_text(self) -> str:
        """Describe the hidden state in full: equal texts mean equal states."""
        if self._play is None:
            raise EnvironmentFault("there is no state before the first reset()")
        text: str = self._play.state_text()
        return text

    def _get_state(self) -> tuple[Saved, Memory | None] | None:
        if self._original is not None:
            raise SnapshotError(
                "the original engine cannot save its state; use backend='native', or wrap the environment in "
                "agentgym.wrappers.ReplaySnapshot"
            )
        memory = None if self._expert is None else self._expert.memory
        return None if self._play is None else (self._play.save(), memory)

    def _set_state(self, state: tuple[Saved, Memory | None] | None) -> None:
        play, memory = (None, None) if state is None else state
        self._play = None if play is None else Play(play.world, play)
        self._expert = None if memory is None else SearchingExpert(memory=memory)
