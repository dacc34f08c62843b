"""Reads the games of ALFWorld: a PDDL problem, in JSON, becomes a `Game` in about a millisecond.

The problems are written by one program, in one shape: flat facts, one of six goal formulas. The parser takes exactly
that and refuses everything else by name, so that a truncated, foreign or hostile file costs one clear `GameFileError`
and little time or memory.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from agentgym.envs.alfworld.game import Game, Goal, Item, Receptacle
from agentgym.errors import GameFileError

__all__ = ["MAX_GAME_BYTES", "game_from_record", "game_from_tree", "load_json", "parse_problem"]

MAX_GAME_BYTES = 2_000_000
"""Largest game that is read at all; real ones have about 90 kB."""
_MAX_ITEMS = 1000
_MAX_RECEPTACLES = 250
_MAX_GOAL_TOKENS = 400
_MAX_DEPTH = 30

_BINARY = frozenset({
    "atlocation", "receptacleatlocation", "objectatlocation", "inreceptacle", "inreceptacleobject", "receptacletype",
    "objecttype",
})  # fmt: skip
# In the order of the fields of `Item`.
_ITEM_FLAGS = (
    "pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable", "isreceptacleobject",
    "isclean", "ishot", "iscool", "issliced", "istoggled",
)  # fmt: skip
_UNARY = frozenset({"openable", "opened", *_ITEM_FLAGS})
# Facts the rules never read: bookkeeping of the original, and flags without effect on texts, commands and goals.
_IGNORED = frozenset({
    "checked", "examined", "full", "ison", "isreceptacleobjectfull", "moveable", "wasinreceptacle",
})  # fmt: skip
_HEAD = re.compile(
    r"\s*\(\s*define\s*\(\s*problem\s+[^\s()]+\s*\)\s*\(\s*:domain\s+([^\s()]+)\s*\)\s*"
    r"\(\s*:objects\s[^()]*\)\s*\(\s*:init\s"
)
_TAIL = re.compile(r"\)\s*\)\s*\Z")
_TASK_RULE = re.compile(r'("task": \[\s*\{\s*"rhs": )("(?:[^"\\]|\\.)*")')
_STATES = {"clean": ("cleanable", "isclean"), "hot": ("heatable", "ishot"), "cool": ("coolable", "iscool")}

_RULES = {"pddl_domain": "58c3e77f33d002076cb0af181f5999e1", "grammar": "5bf123e01360f878217d485e2b36d294"}
"""Digests of the domain and the grammar (without its task sentence) that games carry and this engine implements."""

_ARITY = "one of its facts has the wrong number of arguments"

Block = frozenset[tuple[str, ...]]


class _Refused(Exception):
    """Why a problem is not one of ALFWorld's."""


def load_json(data: bytes | str, where: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        data: The text, at most `MAX_GAME_BYTES` long.
        where: File (and line) that errors name.

    Raises:
        GameFileError: If it is too large, not JSON, or not an object.
    """
    if len(data) > MAX_GAME_BYTES:
        _fail(where, f"it has {len(data):,} bytes, a game has at most {MAX_GAME_BYTES:,}")
    try:
        record = json.loads(data)
    except RecursionError:
        _fail(where, "its JSON is nested too deeply")
    except ValueError as error:
        _fail(where, f"it is not JSON, or was cut off ({error})")
    if not isinstance(record, dict):
        _fail(where, f"it holds a JSON {type(record).__name__}, not an object")
    return record


def game_from_record(record: Mapping[str, Any], where: str) -> Game:
    """Build the game of one packed line: ``id``, ``task``, ``pddl_problem`` and perhaps ``walkthrough``.

    Raises:
        GameFileError: If a field is missing, of the wrong type, or not a game of ALFWorld.
    """
    return parse_problem(
        _text(record, "pddl_problem", where),
        where=where,
        task_id=_text(record, "id", where),
        task=_text(record, "task", where),
        walkthrough=_walkthrough(record, where),
    )


def game_from_tree(record: Mapping[str, Any], where: str, task_id: str) -> Game:
    """Build the game of an original ``game.tw-pddl`` file.

    Raises:
        GameFileError: If a field is missing or of the wrong type, if the file brings other rules or texts than ALFWorld
            0.4's, or if its problem is not a game of ALFWorld.
    """
    rules = _TASK_RULE.split(_text(record, "grammar", where))
    if len(rules) != 4:
        _fail(where, "its grammar has no single task sentence")
    texts = {"pddl_domain": _text(record, "pddl_domain", where), "grammar": rules[0] + rules[1] + rules[3]}
    for name, text in texts.items():
        if rules_digest(text) != _RULES[name]:
            _fail(
                where,
                f"its {name} is not ALFWorld 0.4's, so the native engine could not play it exactly; "
                "download the games again with alfworld-download, or play this file with backend='textworld'",
            )
    task = load_json(f'{{"task": {rules[2]}}}', where)["task"]
    return parse_problem(
        _text(record, "pddl_problem", where),
        where=where,
        task_id=task_id,
        task=task,
        walkthrough=_walkthrough(record, where),
    )


def rules_digest(text: str) -> str:
    """Name a domain or grammar by its content, whatever its comments and white space."""
    bare = " ".join(re.sub(r"^\s*;.*|;;.*", "", text, flags=re.MULTILINE).split())
    return hashlib.blake2b(bare.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def parse_problem(
    problem: str, *, where: str, task_id: str, task: str, walkthrough: tuple[str, ...] | None = None
) -> Game:
    """Build a game from the text of a PDDL problem.

    Args:
        problem: The text.
        where: File (and line) that errors name.
        task_id: Id of the game.
        task: Goal line that the first observation shows.
        walkthrough: Commands that win.

    Raises:
        GameFileError: If the text is not a problem of ALFWorld's domain.
    """
    try:
        return _Reader(problem).game(task_id, task, walkthrough)
    except _Refused as error:
        _fail(where, str(error))


def _fail(where: str, reason: str) -> NoReturn:
    raise GameFileError(f"{where} is not a game of ALFWorld: {reason}.")


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        _fail(where, f"its {key!r} is {'missing' if value is None else type(value).__name__ + ', not text'}")
    return value


def _walkthrough(record: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    commands = record.get("walkthrough")
    if commands is None:
        return None
    if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
        _fail(where, "its 'walkthrough' is not a list of commands")
    return tuple(commands)


class _Reader:
    """The facts of one problem, by predicate; everything in lower case, as the original reads it."""

    def __init__(self, problem: str) -> None:
        text = problem.lower()
        if ";" in text:
            text = re.sub(r";[^\n]*", "", text)
        head, goal = _HEAD.match(text), text.rfind("(:goal")
        if head is None or goal < head.end() or not _TAIL.search(text, goal):
            raise _Refused(
                "its PDDL is not one (define (problem ..) (:domain ..) (:objects ..) (:init ..) (:goal ..)), "
                "or was cut off"
            )
        if head[1] != "alfred":
            raise _Refused(f"its PDDL domain is {head[1][:40]!r}, not 'alfred'")
        self.goal_text = text[goal:].rstrip()[:-1]
        facts = text[head.end() : goal].rstrip()
        if facts[-1:] != ")":
            raise _Refused("its initial state is not closed")
        # Half of all facts say what fits where, in one block that few games have to themselves.
        start = facts.find("(cancontain")
        end = facts.find(")", facts.rfind("(cancontain")) + 1 if start >= 0 else start
        self.can_contain = _can_contain(facts[start:end])
        found = _read_facts(facts[:start] + facts[end:-1] if start >= 0 else facts[:-1])
        try:
            self.pairs = {name: [(first, second) for _, first, second in found["(" + name]] for name in _BINARY}
            self.names = {name: [first for _, first in found["(" + name]] for name in _UNARY}
        except ValueError:
            raise _Refused(_ARITY) from None

    def game(self, task_id: str, task: str, walkthrough: tuple[str, ...] | None) -> Game:
        pairs = self.pairs
        kinds = {name: _kind(kind) for name, kind in self._once("receptacletype").items()}
        item_kinds = {name: _kind(kind) for name, kind in self._once("objecttype").items()}
        spot_of = self._once("receptacleatlocation")
        # Cracked eggs and their like have facts but no type: they can be taken, and fit nowhere.
        untyped = {pair[0] for fact in ("inreceptacle", "objectatlocation") for pair in pairs[fact]}
        untyped.update(*(self.names[fact] for fact in _ITEM_FLAGS))
        receptacle_ids, item_ids = sorted(kinds), sorted(untyped.union(item_kinds))
        if len(receptacle_ids) > _MAX_RECEPTACLES or len(item_ids) > _MAX_ITEMS:
            raise _Refused(
                f"it has {len(receptacle_ids)} receptacles and {len(item_ids)} things; "
                f"at most {_MAX_RECEPTACLES} and {_MAX_ITEMS} are read"
            )
        if not kinds.keys().isdisjoint(item_ids):
            raise _Refused(f"{min(kinds.keys() & item_ids)[:60]!r} is both a receptacle and a thing")
        if missing := [name for name in receptacle_ids if name not in spot_of]:
            raise _Refused(f"its receptacle {missing[0]!r} has no location")
        if len(pairs["atlocation"]) != 1:
            raise _Refused(f"its agent is at {len(pairs['atlocation'])} locations")
        start = pairs["atlocation"][0][1]
        spots = {start, *spot_of.values(), *(location for _, location in pairs["objectatlocation"])}
        location = {name: number for number, name in enumerate(sorted(spots))}
        names = _names([*receptacle_ids, *item_ids])
        openable, opened = self._flagged("openable", kinds), self._flagged("opened", kinds)
        return Game(
            id=task_id,
            task=task,
            receptacles=tuple(
                Receptacle(names[name], kinds[name], location[spot_of[name]], name in openable, name in opened)
                for name in receptacle_ids
            ),
            items=self._items(item_ids, item_kinds, names, receptacle_ids, location),
            can_contain=self.can_contain,
            start_location=location[start],
            goal=_read_goal(self.goal_text),
            walkthrough=walkthrough,
        )

    def _items(
        self,
        ids: list[str],
        kinds: Mapping[str, str],
        names: Mapping[str, str],
        receptacle_ids: list[str],
        location: Mapping[str, int],
    ) -> tuple[Item, ...]:
        index = {name: number for number, name in enumerate(ids)}
        places = {name: number for number, name in enumerate(receptacle_ids)}
        inside = self._grouped("inreceptacle", index, places)
        spots = self._grouped("objectatlocation", index, location)
        contents = self._grouped("inreceptacleobject", index, index, outer_last=True)
        flags = [frozenset(self.names[fact]) for fact in _ITEM_FLAGS]
        return tuple(
            Item(
                names[name],
                kinds.get(name, ""),
                inside.get(name, ()),
                spots.get(name, ()),
                contents.get(name, ()),
                *[name in having for having in flags],
            )
            for name in ids
        )

    def _once(self, fact: str) -> dict[str, str]:
        """Return a fact that may hold once for each name."""
        found: dict[str, str] = {}
        for name, value in self.pairs[fact]:
            if found.setdefault(name, value) != value:
                raise _Refused(f"its fact {fact!r} gives {name[:60]!r} two values, {found[name]!r} and {value!r}")
        return found

    def _grouped(
        self, fact: str, keys: Mapping[str, int], values: Mapping[str, int], outer_last: bool = False
    ) -> dict[str, tuple[int, ...]]:
        """Return, for each name, the indices of what a fact links it to."""
        found: dict[str, set[int]] = {}
        for pair in self.pairs[fact]:
            value, name = pair if outer_last else pair[::-1]
            if name not in keys or value not in values:
                raise _Refused(f"its fact {fact!r} links {pair[0][:60]!r} and {pair[1][:60]!r}: one is undefined")
            found.setdefault(name, set()).add(values[value])
        return {name: tuple(sorted(numbers)) for name, numbers in found.items()}

    def _flagged(self, fact: str, known: Mapping[str, str]) -> frozenset[str]:
        names = frozenset(self.names[fact])
        if unknown := names - known.keys():
            raise _Refused(f"its fact {fact!r} names {min(unknown)[:60]!r}, which is no receptacle")
        return names


def _read_facts(text: str) -> dict[str, list[list[str]]]:
    """Return the words of flat facts by predicate, which keeps its parenthesis."""
    *facts, rest = text.split(")")
    found: dict[str, list[list[str]]] = {"(" + name: [] for name in (*_BINARY, *_UNARY, *_IGNORED, "cancontain")}
    try:
        for words in map(str.split, facts):
            found[words[0]].append(words)
    except (IndexError, KeyError):
        shown = " ".join(words)[:60]
        raise _Refused(f"its initial state has {shown!r} where a fact of its domain should be") from None
    if rest.strip() or text.count("(") != len(facts):
        raise _Refused("its initial state is not a plain list of facts")
    return found


@lru_cache(maxsize=128)
def _can_contain(block: str) -> frozenset[tuple[str, str]]:
    """Read what fits where; games with the same block share the table."""
    found = _read_facts(block)
    facts = found.pop("(cancontain")
    if any(found.values()):
        raise _Refused("its facts of what fits where are scattered among others")
    try:
        return frozenset((_kind(receptacle), _kind(item)) for _, receptacle, item in facts)
    except ValueError:
        raise _Refused(_ARITY) from None


def _kind(name: str) -> str:
    if not name.endswith("type"):
        raise _Refused(f"its type {name[:40]!r} does not end in 'Type'")
    return name[:-4]


def _names(ids: Iterable[str]) -> dict[str, str]:
    """Name things as the original does: the n of one kind, by rising id, are called n, n - 1, .., 1."""
    kinds: dict[str, str] = {}
    left: dict[str, int] = {}
    ordered = sorted(ids)
    for name in ordered:
        kind, bar, _ = name.partition("_bar_")
        if not bar:
            raise _Refused(f"its name {name[:60]!r} has no '_bar_'")
        kinds[name] = kind = kind + "basin" if "basin" in name else kind
        left[kind] = left.get(kind, 0) + 1
    names: dict[str, str] = {}
    for name in ordered:
        kind = kinds[name]
        names[name] = f"{kind} {left[kind]}"
        left[kind] -= 1
    return names


# The goal -------------------------------------------------------------------------------------------------------------


def _read_goal(text: str) -> Goal:
    tokens = re.findall(r"[()]|[^\s()]+", text[: 50 * _MAX_GOAL_TOKENS])
    if len(tokens) > _MAX_GOAL_TOKENS:
        raise _Refused(f"its goal has more than {_MAX_GOAL_TOKENS} symbols")
    stack: list[list[Any]] = [[]]
    for token in tokens:
        if token == "(":
            if len(stack) > _MAX_DEPTH:
                raise _Refused(f"its goal is nested more than {_MAX_DEPTH} deep")
            stack.append([])
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) == 1:
            raise _Refused("its goal closes more parentheses than it opens")
        else:
            inner = stack.pop()
            stack[-1].append(inner)
    match stack:
        case [[[":goal", ["and", *parts]]]]:
            blocks = [_flatten(part, frozenset(), set()) for part in parts]
        case _:
            raise _Refused("its goal is not one conjunction, or was cut off")
    goal = _placing_goal(blocks[0]) if len(blocks) == 1 else _lamp_goal(*blocks) if len(blocks) == 2 else None
    if goal is None:
        raise _Refused("its goal is none of the six tasks (slicing and movable receptacles are no text games)")
    return goal


def _flatten(formula: Any, scope: frozenset[str], quantified: set[str]) -> Block:
    """Return the literals of nested conjunctions and existential quantifiers, whose order carries no meaning."""
    match formula:
        case ["and", *parts]:
            return frozenset().union(*(_flatten(part, scope, quantified) for part in parts))
        case ["exists", [*declared], body]:
            fresh = [word for word in declared if isinstance(word, str) and word.startswith("?")]
            if quantified.intersection(fresh):
                raise _Refused("its goal quantifies a variable twice")
            quantified.update(fresh)
            return _flatten(body, scope.union(fresh), quantified)
        case ["not", ["=", str(first), str(second)]] if {first, second} <= scope:
            return frozenset({("not =", *sorted((first, second)))})
        case [str(_), *terms] if all(isinstance(term, str) and (term[0] != "?" or term in scope) for term in terms):
            return frozenset({tuple(formula)})
    raise _Refused("its goal is not made of and, exists, not = and facts of quantified variables")


def _placing_goal(block: Block) -> Goal | None:
    """Recognise a goal by writing out, for each candidate, the literals it would have in these variables."""
    places = [literal[1:] for literal in block if literal[0] == "receptacletype" and len(literal) == 3]
    wanted = sorted(literal[1:] for literal in block if literal[0] == "objecttype" and len(literal) == 3)
    if len(places) != 1 or not 1 <= len(wanted) <= 2 or wanted[0][1] != wanted[-1][1]:
        return None
    place, place_type = places[0]
    item_type = wanted[0][1]
    variables = [variable for variable, _ in wanted]
    plain: set[tuple[str, ...]] = {("receptacletype", place, place_type)}
    for variable in variables:
        plain |= {("objecttype", variable, item_type), ("inreceptacle", variable, place)}
    if len(variables) == 2:
        plain.add(("not =", *variables))
    if block == plain:
        return Goal(_kind(item_type), receptacle_type=_kind(place_type), count=len(variables))
    for state, facts in _STATES.items():
        if len(variables) == 1 and block == plain | {(fact, variables[0]) for fact in facts}:
            return Goal(_kind(item_type), receptacle_type=_kind(place_type), state=state)
    return None


def _lamp_goal(first: Block, second: Block) -> Goal | None:
    lamp, item = (first, second) if len(first) > len(second) else (second, first)
    facts = {literal[0]: literal[1:] for literal in lamp}
    held = {literal[0]: literal[1:] for literal in item}
    match [facts.get("objecttype"), facts.get("receptacleatlocation"), facts.get("atlocation"), held.get("objecttype")]:
        case [(light, lamp_type), (place, spot), (agent, _), (thing, item_type)]:
            expected_lamp = {
                ("objecttype", light, lamp_type),
                ("toggleable", light),
                ("istoggled", light),
                ("inreceptacle", light, place),
                ("receptacleatlocation", place, spot),
                ("atlocation", agent, spot),
            }
            holders = held.get("holds", ("",))
            if lamp == expected_lamp and item == {("objecttype", thing, item_type), ("holds", holders[0], thing)}:
                return Goal(_kind(item_type), lamp_type=_kind(lamp_type))
    return None
