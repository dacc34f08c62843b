"""Checkpoints: a folder that is there whole or not at all, read back without pickle.

::

    iteration-000010/
      model/             loads with AutoModelForCausalLM and AutoTokenizer
      state.json         counters, settings, generators, and the shape of everything below
      state.safetensors  optimiser moments and every other array
      manifest.json      format, and size and digest of each file

It is written under a temporary name, flushed to disk, then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from agentgym.errors import TrainingError

__all__ = ["checkpoints_in", "publish", "read_checkpoint", "resolve_checkpoint", "write_checkpoint"]

_FORMAT = {"format": "agentgym-checkpoint", "version": 1}
_PREFIX = "iteration-"
_TEMPORARY = ".unfinished-"
_ARRAY = "__array__"
_PAIRS = "__pairs__"


def write_checkpoint(
    folder: Path, iteration: int, save_model: Callable[[Path], None], state: Mapping[str, Any], keep: int
) -> Path:
    """Write ``folder/iteration-NNNNNN`` and remove all but the newest ``keep``.

    Args:
        folder: Where checkpoints are.
        iteration: Number of finished iterations.
        save_model: Writes the model into the folder it is given.
        state: Nested dicts, lists, scalars, NumPy arrays and tensors.
        keep: How many checkpoints stay, at least 1.

    Raises:
        TrainingError: If ``state`` holds something that cannot be stored without pickle.
    """

    def fill(path: Path) -> None:
        save_model(path / "model")
        arrays: dict[str, torch.Tensor] = {}
        tree = _encode(state, arrays, "state")
        save_file(arrays, path / "state.safetensors")
        (path / "state.json").write_text(json.dumps(tree), encoding="utf-8")
        files = {str(file.relative_to(path).as_posix()): _fingerprint(file) for file in _files(path)}
        (path / "manifest.json").write_text(json.dumps({**_FORMAT, "files": files}, indent=1), encoding="utf-8")

    target = folder / f"{_PREFIX}{iteration:06d}"
    publish(target, fill)
    for old in checkpoints_in(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def publish(target: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a temporary folder, flush it to disk and rename it to ``target``, which it replaces."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{_TEMPORARY}{target.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        fill(temporary)
        for file in _files(temporary):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())


def resolve_checkpoint(where: str | Path) -> Path:
    """Return the checkpoint meant by a path: a checkpoint, a folder of them, or a run directory; the newest counts.

    Raises:
        TrainingError: If there is none.
    """
    path = Path(where)
    if (path / "manifest.json").is_file():
        return path
    found = checkpoints_in(path / "checkpoints") or checkpoints_in(path)
    if not found:
        raise TrainingError(
            f"no checkpoint at {str(path)!r}: give a checkpoint folder ({_PREFIX}NNNNNN, with a manifest.json) or a "
            "run directory"
        )
    return found[-1]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint, after checking every file in it.

    Raises:
        TrainingError: If it is not a checkpoint of this version, or a file is missing or changed.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        found = {key: manifest[key] for key in _FORMAT}
        files: dict[str, list[Any]] = manifest["files"]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{str(path)!r} is not a checkpoint: its manifest.json is missing or damaged ({error!r})"
        ) from error
    if found != _FORMAT:
        raise TrainingError(
            f"the checkpoint {str(path)!r} has format {found}; this version of agentgym reads {_FORMAT}"
        )
    for name, fingerprint in files.items():
        if not (path / name).is_file() or _fingerprint(path / name) != fingerprint:
            raise TrainingError(
                f"the checkpoint {str(path)!r} is damaged: {name} is missing, truncated or changed. "
                "Resume from another one, or copy it again."
            )
    try:
        arrays = load_file(path / "state.safetensors")
        state = _decode(json.loads((path / "state.json").read_text(encoding="utf-8")), arrays)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise TrainingError(f"the checkpoint {str(path)!r} cannot be read: {error!r}") from error
    assert isinstance(state, dict)
    return state


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def _fingerprint(file: Path) -> list[Any]:
    digest = blake2b(digest_size=16)
    with file.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return [file.stat().st_size, digest.hexdigest()]


def _encode(value: Any, arrays: dict[str, torch.Tensor], where: str) -> Any:
    """Turn nested data into JSON, moving arrays aside."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor | np.ndarray):
        name = str(len(arrays))
        kind = "torch" if isinstance(value, torch.Tensor) else "numpy"
        tensor = value.detach() if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
        # A copy: safetensors refuses tensors that share memory.
        arrays[name] = tensor.cpu().contiguous().clone()
        return {_ARRAY: name, "kind": kind}
    if isinstance(value, list | tuple):
        return [_encode(item, arrays, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _encode(item, arrays, f"{where}.{key}") for key, item in value.items()}
        return {_PAIRS: [[_encode(k, arrays, where), _encode(v, arrays, f"{where}[{k!r}]")] for k, v in value.items()]}
    raise TrainingError(
        f"{where} is a {type(value).__name__}, which a checkpoint cannot hold: "
        "use dicts, lists, numbers, strings, NumPy arrays and tensors in state_dict()"
    )


def _decode(value: Any, arrays: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        tensor = arrays[value[_ARRAY]]
        return tensor if value["kind"] == "torch" else tensor.numpy()
    if _PAIRS in value:
        return {_hashable(_decode(key, arrays)): _decode(item, arrays) for key, item in value[_PAIRS]}
    return {key: _decode(item, arrays) for key, item in value.items()}


def _hashable(key: Any) -> Any:
    return tuple(_hashable(part) for part in key) if isinstance(key, list) else key
