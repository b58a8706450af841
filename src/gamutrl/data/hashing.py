"""What a source is made of, as one hash, so that what was made from equal rows can be kept and found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gamutrl
from gamutrl.data.files import SUFFIXES, TEXT
from gamutrl.data.rows import FileRows
from gamutrl.data.sources import WorldRows


def content_hash(source: Any) -> str:
    """SHA-256 over what a source gives, 64 hexadecimal digits.

    Files count by their bytes, not by their name or date; pictures beside them by name and size; data sets of the hub
    by their id; worlds by their arguments and this package's version; functions by their import path.
    """
    return hashlib.sha256(json.dumps(_told(source), sort_keys=True).encode()).hexdigest()


def _told(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Image.Image):
        return hashlib.sha256(f"{value.mode}{value.size}".encode() + value.tobytes()).hexdigest()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes()).hexdigest()
    if isinstance(value, Mapping):
        return {str(key): _told(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_told(member) for member in value]
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _told(getattr(value, field.name)) for field in fields(value) if field.init}
        if isinstance(value, FileRows):
            parts["path"] = _files(value.path)
        if isinstance(value, WorldRows):
            parts["version"] = gamutrl.__version__
        return [type(value).__qualname__, parts]
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"A source that holds a {type(value).__name__} has no content hash.")


def _files(path: str) -> Any:
    place = Path(path).expanduser()
    if place.is_file():
        return _digest(place, place.stat().st_mtime_ns)
    if not place.is_dir():
        return path
    found = []
    for file in sorted(file for file in place.rglob("*") if file.is_file()):
        state = file.stat()
        name = str(file.relative_to(place))
        found.append(
            [name, _digest(file, state.st_mtime_ns) if file.suffix.lower() in (*SUFFIXES, TEXT) else state.st_size]
        )
    return found


@lru_cache(maxsize=256)
def _digest(file: Path, changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
