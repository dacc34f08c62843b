"""Twenty Questions and Guess My City as Gymnasium environments."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from agentgym.envs.guessing.expert import best_question
from agentgym.envs.guessing.oracle import Game, city_game, thing_game
from agentgym.errors import ConfigError, EnvironmentFault, unknown_name
from agentgym.identity import text_hash
from agentgym.text_env import Status, TextEnv

__all__ = ["GuessMyCityEnv", "GuessingEnv", "TwentyQuestionsEnv"]

_SPLITS: Final = ("all", "train", "validation")
_HELD_OUT: Final = 5
_WON: Final = "Yes, it is {}. You found it."


class _State(NamedTuple):
    """The whole state of a game: what is hidden, and what the answers have left possible (nothing once it is found)."""

    secret: int
    left: int


class GuessingEnv(TextEnv):
    """A game of questions about a hidden secret, answered truly from a table; naming the secret wins.

    An action is a question in plain words. ``info["admissible"]`` lists those that are understood in any case; others
    are understood if their words point to exactly one of these. What is not understood is refused and is not valid, but
    takes a turn like any other. ``info["score"]`` says how much of the way the answers have come: ``1 - log(1 + n) /
    log(1 + N)`` with ``n`` of ``N`` secrets still possible, and 1 once the secret is found. ``task_type`` names the
    group of the secret, for reports; it is not for the player's eyes.

    Args:
        game: The secrets and the questions.
        opening: The first observation.
        goal: What ``info["goal"]`` says.
        refusal: The answer to what is not understood.
        split: ``all`` secrets, as in the original, or those of ``train`` or ``validation``: every fifth is held out.
        size: Number of secrets that may be hidden, spread evenly over the split; None for all of them. Questions stay
            the same.
        turn_cost: What every turn costs, in [0, 1]. The winning turn is paid 1 besides, so that 1.0 is the original's
            scheme: -1 a turn and 0 for the winning one.
        render_mode: ``"ansi"`` or ``"human"``.
    """

    def __init__(
        self,
        game: Game,
        opening: str,
        goal: str,
        refusal: str,
        split: str,
        size: int | None,
        turn_cost: float,
        render_mode: str | None,
    ) -> None:
        super().__init__(render_mode)
        if split not in _SPLITS:
            raise unknown_name("split", split, _SPLITS)
        if not 0 <= turn_cost <= 1:
            raise ConfigError(f"turn_cost={turn_cost!r}: must be in [0, 1]")
        self._game, self._opening, self._goal, self._refusal = game, opening, goal, refusal
        self._split, self._turn_cost = split, turn_cost
        numbers = [i for i in range(len(game.secrets)) if split == "all" or (i % _HELD_OUT == 2) == (split != "train")]
        if size is not None:
            if not 1 <= size <= len(numbers):
                raise ConfigError(
                    f"size={size!r}: must be between 1 and {len(numbers)}, the secrets of split {split!r}"
                )
            numbers = [numbers[k * len(numbers) // size] for k in range(size)]
        self._tasks = {f"builtin/{split}/{i}": i for i in numbers}
        self._admissible = tuple(question.text for question in game.questions)
        self._state = _State(numbers[0], game.everything)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids of the split's secrets; a number does not name its secret."""
        return tuple(self._tasks)

    @property
    def held_out(self) -> dict[str, str | None]:
        """Arguments that give secrets held out from training; none where every secret is played with."""
        return {} if self._split == "all" else {"split": "validation", "size": None}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of a secret, in lower case, as it stands in a guess."""
        return tuple(name.lower() for name in self._game.secrets)

    @property
    def texts(self) -> tuple[str, ...]:
        """What the game may say, and every question in its standard wording."""
        replies = dict.fromkeys(reply for question in self._game.questions for reply in question.replies)
        won = (_WON.format(spoken) for spoken in self._game.spoken)
        return (self._opening, self._refusal, *replies, *won, *self._admissible)

    def _begin(self, task: str | None) -> str:
        if task is None:
            task = self.tasks[int(self.np_random.integers(len(self._tasks)))]
        if task not in self._tasks:
            raise self._task_not_found(task, self.tasks)
        secret = self._tasks[task]
        self.task_id, self.task_type, self.goal = task, self._game.kinds[secret], self._goal
        self._state = _State(secret, self._game.everything)
        return self._opening

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        secret, left = self._state
        question = self._game.parse(action)
        if question is None:
            return self._refusal, 0.0 - self._turn_cost, False, False  # a plain minus would give -0.0
        if question.guess == secret:
            self._state = _State(secret, 0)
            return _WON.format(self._game.spoken[secret]), 1.0 - self._turn_cost, True, True
        reply = question.answer(secret)
        self._state = _State(secret, left & question.holds[reply])
        return question.replies[reply], 0.0 - self._turn_cost, False, True

    def _status(self) -> Status:
        left = self._state.left.bit_count()
        score = 1.0 - math.log1p(left) / math.log1p(len(self._game.secrets))
        return Status(self._admissible, left == 0, score, text_hash(self.state_text()))

    def state_text(self) -> str:
        """Describe the hidden state in full: the secret, and what the answers have left possible."""
        secret, left = self._state
        names = self._game.secrets
        possible = ", ".join(name for i, name in enumerate(names) if left >> i & 1)
        return f"hidden: {names[secret]}\nleft: {possible or 'nothing, it is found'}"

    def expert_action(self) -> str:
        """Return the question that tells the most, by the answers so far alone.

        Raises:
            EnvironmentFault: If no game is running.
        """
        if self._over:
            raise EnvironmentFault("the expert needs a running game: call reset() first")
        return best_question(self._game, self._state.left).text

    def _get_state(self) -> _State:
        return self._state

    def _set_state(self, state: _State) -> None:
        self._state = state


class TwentyQuestionsEnv(GuessingEnv):
    """Find out by questions for yes or no which everyday thing is hidden.

    See `GuessingEnv` for what is understood, the score and the arguments.

    Args:
        split: ``train``, ``validation`` or ``all``.
        size: Number of things that may be hidden; None for all of the split.
        turn_cost: What every turn costs, in [0, 1]; 1.0 is the original's scheme.
        render_mode: ``"ansi"`` or ``"human"``.

    Example:
        >>> env = TwentyQuestionsEnv()
        >>> observation, info = env.reset(seed=0)
        >>> observation
        'I am thinking of a thing. Ask me questions to be answered by yes or no.'
        >>> env.step("Could it fly?")[0]
        'No.'
    """

    def __init__(
        self, split: str = "train", size: int | None = None, turn_cost: float = 0.0, render_mode: str | None = None
    ) -> None:
        super().__init__(
            thing_game(),
            "I am thinking of a thing. Ask me questions to be answered by yes or no.",
            "find out which thing I am thinking of, and name it",
            "I do not understand. Ask one thing at a time, to be answered by yes or no.",
            split,
            size,
            turn_cost,
            render_mode,
        )


class GuessMyCityEnv(GuessingEnv):
    """Find out by questions, open ones too, from which city somebody comes.

    No answer names the city or its country; whether it is in a given country may be asked. See `GuessingEnv` for what
    is understood, the score and the arguments.

    Args:
        split: ``train``, ``validation`` or ``all``.
        size: Number of cities that may be hidden; None for all of the split.
        turn_cost: What every turn costs, in [0, 1]; 1.0 is the original's scheme.
        render_mode: ``"ansi"`` or ``"human"``.

    Example:
        >>> env = GuessMyCityEnv()
        >>> observation, info = env.reset(options={"task": "builtin/train/0"})
        >>> env.step("What is your city famous for?")[0]
        'It is known for business.'
    """

    def __init__(
        self, split: str = "train", size: int | None = None, turn_cost: float = 0.0, render_mode: str | None = None
    ) -> None:
        super().__init__(
            city_game(),
            "I come from a large city. Ask me questions about it.",
            "find out which city I come from, and name it",
            "I would rather not say. Ask one thing at a time, about the city.",
            split,
            size,
            turn_cost,
            render_mode,
        )
