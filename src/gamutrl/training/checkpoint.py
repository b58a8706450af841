"""Checkpoints: atomic, safetensors and JSON, no pickle.

A checkpoint is a folder (`stage-0-step-000040/`) that either exists whole or not at all: it is written beside its place
under a temporary name, flushed to the disk, then renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

PREFIX = "stage-"


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written or read; the message says which and what is left."""


def name_of(stage_number: int, step: int) -> str:
    """The folder name of a checkpoint; names sort in the order of time."""
    return f"{PREFIX}{stage_number:02d}-step-{step:06d}"


def write(folder: Path, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any], keep: int = 2) -> Path:
    """Write the checkpoint `name` below `folder` and drop all but the newest `keep`.

    tensors: named tensors (any dtype and shape). state: JSON values. On failure nothing of the earlier checkpoints is
    lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    draft = folder / f".draft-{uuid.uuid4().hex[:8]}"
    try:
        draft.mkdir()
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            draft / "tensors.safetensors",
        )
        (draft / "state.json").write_text(json.dumps(state), "utf-8")
        for file in draft.iterdir():
            _flush(file)
        _flush(draft)
        if place.exists():
            shutil.rmtree(place)
        os.replace(draft, place)
        _flush(folder)
    except (OSError, SafetensorError) as error:  # A full disk is the one to us, the other to safetensors.
        shutil.rmtree(draft, ignore_errors=True)
        last = latest(folder)
        raise CheckpointError(
            f"The checkpoint {name} could not be written to {folder} ({getattr(error, 'strerror', None) or error}). "
            f"The last good one is {last.name if last else 'none'}; make room, then `gamut resume {folder.parent}`."
        ) from error
    for old in _all(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return place


def read(place: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of one checkpoint."""
    try:
        return load_file(place / "tensors.safetensors"), json.loads((place / "state.json").read_text("utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {place} cannot be read ({error}).") from error


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint below `folder`."""
    found = _all(folder)
    return found[-1] if found else None


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors and JSON."""
    state = optimizer.state_dict()
    tensors, scalars = {}, {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, {"scalars": scalars, "groups": state["param_groups"]}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], packed: Mapping[str, Any]
) -> None:
    """Put back what `pack_optimizer` took."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *packed["scalars"].items()]:
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": packed["groups"]})


def pack(state: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """A nested `state_dict` (dicts, lists, numbers, strings, tensors) as named tensors and JSON with their names in
    place."""
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            tensors[path] = value
            return {"tensor": path}
        if isinstance(value, Mapping):
            return {"dict": [[key, walk(item, f"{path}.{key}")] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return [walk(item, f"{path}.{number}") for number, item in enumerate(value)]
        return value

    return tensors, walk(state, prefix)


def unpack(tensors: Mapping[str, Tensor], packed: Any) -> Any:
    """Put back what `pack` took apart (tuples come back as lists)."""
    if isinstance(packed, list):
        return [unpack(tensors, item) for item in packed]
    if isinstance(packed, Mapping):
        if "tensor" in packed:
            return tensors[packed["tensor"]]
        return {key: unpack(tensors, item) for key, item in packed["dict"]}
    return packed


def _all(folder: Path) -> list[Path]:
    return sorted(place for place in folder.glob(f"{PREFIX}*") if (place / "state.json").exists())


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
