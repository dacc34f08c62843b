"""Snapshots for environments in plain Python that cannot save themselves: a deep copy of all that they hold."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import gymnasium as gym

from agentgym.errors import SnapshotError, suggest
from agentgym.text_env import reseed

from ._base import TextWrapper

__all__ = ["CopySnapshot"]


class _Layer:
    """Stands in a snapshot for a layer of the stack, so that what refers to it refers to the restored one."""


class CopySnapshot(TextWrapper):
    """Save an environment as a deep copy of all attributes of the world and of the wrappers inside; restore by another.

    Nothing has to be known of the environment, and nothing is played again: it need not be a function of its seed. The
    layers stay the same objects, so references to them stay good. A snapshot can be pickled if the attributes can.

    All that changes must lie in attributes. What lies in another process, behind a handle of the operating system or of
    a library in C, or in a variable of a class or module is not seen; most of it cannot be copied and is refused by
    name, and ``agentgym.testing.check_text_env`` finds the rest. Such an environment takes ``ReplaySnapshot``.

    Args:
        env: Any text environment.
        constant: Attributes of the world that never change, such as tables of rules; they are not copied, which can
            save most of the cost. A branch would share them.

    >>> import agentgym, gymnasium
    >>> env = CopySnapshot(gymnasium.make("KeyRoom-v0"), constant=["mdp"])
    >>> _ = env.reset(seed=0)
    >>> before = agentgym.snapshot(env)
    >>> first = env.step("go to room 1")
    >>> agentgym.restore(env, before)
    >>> env.step("go to room 1") == first
    True
    """

    covers_inner = True

    def __init__(self, env: gym.Env[str, str], constant: Iterable[str] = ()) -> None:
        self._constant = frozenset(constant)
        super().__init__(env, constant=sorted(self._constant))

    def _layers(self) -> list[gym.Env[Any, Any]]:
        """Return every layer inside, the world last, whatever they cover."""
        stack: list[gym.Env[Any, Any]] = [self.env]
        while isinstance(stack[-1], gym.Wrapper):
            stack.append(stack[-1].env)
        return stack

    def reseed(self, fork_id: int) -> None:
        """Reseed the world; its generator is part of the next snapshot."""
        reseed(self.env, fork_id)

    def snapshot_state(self) -> Any:
        """Return a copy of every layer's attributes.

        Raises:
            SnapshotError: If an attribute cannot be copied, or ``constant`` names none; the message names it.
        """
        stack = self._layers()
        world = stack[-1]
        _ = world.np_random  # a generator that is only made when it is first read would be another in every branch
        if unknown := sorted(self._constant - vars(world).keys()):
            raise SnapshotError(
                f"constant={unknown[0]!r} is no attribute of {type(world).__name__}. "
                f"{suggest(unknown[0], vars(world))}It has: {', '.join(sorted(vars(world)))}"
            )
        marks = tuple(_Layer() for _ in (self, *stack))
        memo: dict[int, Any] = {id(layer): mark for layer, mark in zip((self, *stack), marks, strict=True)}
        saved = tuple((_name(layer), self._copy_attributes(layer, memo)) for layer in stack)
        return marks, tuple(sorted(self._constant)), saved

    def _copy_attributes(self, layer: gym.Env[Any, Any], memo: dict[int, Any]) -> dict[str, Any]:
        # Its own __getstate__ may say less: that of gymnasium.utils.EzPickle keeps the constructor's arguments only.
        attributes = object.__getstate__(layer)
        if not isinstance(attributes, dict):
            raise SnapshotError(f"{_name(layer)} keeps state in __slots__; wrap it in agentgym.wrappers.ReplaySnapshot")
        copied = {}
        for name, value in attributes.items():
            if name in self._constant and not isinstance(layer, gym.Wrapper):
                continue
            try:
                copied[name] = copy.deepcopy(value, memo)
            except Exception as error:
                raise SnapshotError(
                    f"cannot copy the attribute {name!r} of {_name(layer)}: {type(error).__name__}: {error}. Name it "
                    "in constant=[...] if it never changes, or wrap the environment in agentgym.wrappers.ReplaySnapshot"
                ) from error
        return copied

    def restore_state(self, state: Any) -> None:
        """Put copies of the saved attributes into the layers.

        Raises:
            SnapshotError: If the layers inside are not those that were saved.
        """
        marks, constant, saved = state
        stack = self._layers()
        here, there = [_name(layer) for layer in stack], [name for name, _ in saved]
        if here != there:
            raise SnapshotError(f"this snapshot was taken of the stack {there}, and cannot be restored into {here}")
        memo: dict[int, Any] = {id(mark): layer for mark, layer in zip(marks, (self, *stack), strict=True)}
        restored = copy.deepcopy([attributes for _, attributes in saved], memo)
        restored[-1].update((name, vars(stack[-1])[name]) for name in constant)
        for layer, attributes in zip(stack, restored, strict=True):
            vars(layer).clear()
            vars(layer).update(attributes)


def _name(layer: gym.Env[Any, Any]) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
