"""Compares the native ALFWorld engine with the original on fresh random play.

Needs the real games (AGENTGYM_DATA or ALFWORLD_DATA) and the original engine: pip install 'agentgym-sdk[alfworld]'.
Every state is compared in full: observation, admissible commands, validity, won; the record goes to
benchmarks/results/alfworld_parity.json. Run: python benchmarks/alfworld_parity.py
"""

import argparse
import json
import platform
import random
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from agentgym.envs.alfworld.engine import Play, World
from agentgym.envs.alfworld.sources import RealGames, open_games
from agentgym.envs.alfworld.textworld_backend import OriginalEngine
from agentgym.errors import ConfigError

RESULT = Path(__file__).parent / "results" / "alfworld_parity.json"
SPECIAL = ("microwave", "fridge", "sinkbasin", "knife", "apple", "tomato", "potato", "bread", "lettuce", "egg", "lamp")
ODD = (
    "",
    " ",
    "xyzzy",
    "look around",
    "Look",
    "LOOK",
    "go to nowhere 9",
    "put apple 1 in/on fridge 1",
    "déjà vu 字 🙂",
    "0",
)


def odd_command(play: Play, rng: random.Random) -> str:
    """Return a command that the original may well refuse: foreign, spelt otherwise, or good in another state."""
    known = rng.choice(list(play.world.ops))
    spelt = (known.upper(), known.capitalize(), f"  {known}\t", known.replace(" ", "  "), known + ".", "\u00a0" + known)
    return rng.choice((known, known, rng.choice(spelt), rng.choice(ODD), rng.choice(play.world.item_names)))


def choose(play: Play, rng: random.Random) -> str:
    """Return a command; rare verbs are as likely as common ones, and the way leads to where they are possible."""
    if rng.random() < 0.12:
        return odd_command(play, rng)
    verbs: dict[str, list[str]] = {}
    for command in play.admissible:
        verb = command.split()[0]
        if verb == "examine" and play.held >= 0 and command == f"examine {play.world.item_names[play.held]}":
            verb = "examine item"
        verbs.setdefault(verb, []).append(command)
    for verb in ("look", "inventory", "help", "examine"):
        if rng.random() < 0.7:
            verbs.pop(verb, None)
    commands = verbs[rng.choice(list(verbs))] if verbs else list(play.admissible)
    special = [c for c in commands if any(word in c for word in SPECIAL)]
    return rng.choice(special if special and rng.random() < 0.5 else commands)


def compare(
    games: RealGames, original: OriginalEngine, task_id: str, steps: int, seed: str
) -> tuple[Counter[str], list[str]]:
    """Play one game in both engines; return the verbs carried out and the differences."""
    rng = random.Random(seed)
    game = games.load(task_id)
    ours, theirs = Play(World(game)), original.start(game)
    verbs: Counter[str] = Counter(states=1)
    problems: list[str] = []
    texts = ours.intro(), theirs.intro()
    for command in (None, *range(steps)):
        if command is not None:
            command = choose(ours, rng)
            (text, valid), (their_text, their_valid) = ours.act(command), theirs.act(command)
            texts = text, their_text
            verbs["states"] += 1
            verbs[command.split()[0] if valid else "refused"] += 1
            if valid != their_valid:
                problems.append(f"{task_id}: {command!r} valid {valid}, original {their_valid}")
        if texts[0] != texts[1]:
            problems.append(f"{task_id}: {command!r} answers {texts[0]!r}, original {texts[1]!r}")
        if ours.admissible != theirs.admissible or ours.won != theirs.won:
            difference = sorted(set(ours.admissible) ^ set(theirs.admissible))
            problems.append(
                f"{task_id}: after {command!r} commands differ by {difference}, won {ours.won}, {theirs.won}"
            )
    return verbs, problems


def main() -> None:
    """Play and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=30, help="games from each split")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--splits", nargs="+", default=["train", "valid_seen", "valid_train"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    total: Counter[str] = Counter()
    problems: list[str] = []
    started = time.perf_counter()
    for split in arguments.splits:
        games = open_games(split)
        if not isinstance(games, RealGames):
            raise ConfigError("this comparison needs the real games: set AGENTGYM_DATA or ALFWORLD_DATA")
        original = OriginalEngine(games)
        for task_id in random.Random(f"{arguments.seed} {split}").sample(games.ids, arguments.games):
            seed = f"{arguments.seed} {task_id}"
            verbs, found = compare(games, original, task_id, arguments.steps, seed)
            total["games"] += 1
            total.update(verbs)
            problems += found
            for problem in found:
                print(problem, flush=True)
        print(f"{split}: {total['games']} games, {total['states']} states, {len(problems)} differences", flush=True)
    record = {
        "games": total.pop("games"),
        "states compared": total.pop("states"),
        "differences": len(problems),
        "commands carried out": dict(sorted(total.items())),
        "steps a game": arguments.steps,
        "seed": arguments.seed,
        "splits": arguments.splits,
        "original": {name: version(name) for name in ("alfworld", "textworld", "fast-downward-textworld")},
        "python": platform.python_version(),
        "seconds": round(time.perf_counter() - started),
    }
    RESULT.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
