"""Recipes and presets to JSON and back: dataclasses by their import path and fields, functions by their import path.

No pickle and no evaluation: reading a configuration imports the modules that it names, and only from the packages
allowed.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALLOWED_PACKAGES = ("gamutrl",)


class ConfigError(ValueError):
    """A configuration that cannot be written, read or overridden; the message says what to do."""


def to_json(value: Any) -> Any:
    """A value of a preset as plain JSON; `ConfigError` for what has no import path (lambdas, open files, …)."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": _path_of(type(value)), **fields}
    if isinstance(value, tuple):
        return {"tuple": [to_json(item) for item in value]}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {"dict": {str(key): to_json(item) for key, item in value.items()}}
    if callable(value):
        return {"function": _path_of(value)}
    raise ConfigError(f"A configuration cannot hold {value!r} ({type(value).__name__}).")


def from_json(value: Any, allowed: Sequence[str] = ALLOWED_PACKAGES) -> Any:
    """What `to_json` wrote, as the values it was made from."""
    if isinstance(value, list):
        return [from_json(item, allowed) for item in value]
    if not isinstance(value, dict):
        return value
    if "class" in value:
        cls = _find(value["class"], allowed)
        if not dataclasses.is_dataclass(cls):
            raise ConfigError(f"The configuration names {value['class']}, which is not a dataclass.")
        known = {field.name for field in dataclasses.fields(cls)}
        fields = {key: from_json(item, allowed) for key, item in value.items() if key != "class"}
        if unknown := sorted(set(fields) - known):
            raise ConfigError(
                f"{value['class']} has no field {', '.join(unknown)}: the configuration was written by another version."
            )
        return typing.cast(Any, cls)(**fields)
    if "tuple" in value:
        return tuple(from_json(item, allowed) for item in value["tuple"])
    if "dict" in value:
        return {key: from_json(item, allowed) for key, item in value["dict"].items()}
    if "function" in value:
        return _find(value["function"], allowed)
    raise ConfigError(f"Not a configuration value: {value!r}.")


def override(value: Any, path: str, text: str) -> Any:
    """A copy of a preset with one field, named by its dotted path, read from text.

    Elements of a tuple are named by number or by their own `name` (`rl.optimizer.lr`, `stages.0.steps`,
    `rewards.format.weight`); at the top level a stage's name stands for itself. The text is read as the field's type.
    """
    return _override(value, path.split("."), text, path)


def paths(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf that `override` can set, by dotted path."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            if field.init:
                found |= paths(getattr(value, field.name), f"{prefix}{field.name}.")
        return found
    if isinstance(value, tuple) and value and all(dataclasses.is_dataclass(item) for item in value):
        found = {}
        for number, item in enumerate(value):
            found |= paths(item, f"{prefix}{getattr(item, 'name', None) or number}.")
        return found
    if isinstance(value, Mapping) and value and all(dataclasses.is_dataclass(item) for item in value.values()):
        return {k: v for name, item in value.items() for k, v in paths(item, f"{prefix}{name}.").items()}
    return {prefix[:-1]: value}


def _override(value: Any, keys: list[str], text: str, path: str) -> Any:
    key, rest = keys[0], keys[1:]
    if isinstance(value, tuple):
        number = _element(value, key, path)
        item = _override(value[number], rest, text, path) if rest else _read(text, type(value[number]), path)
        return (*value[:number], item, *value[number + 1 :])
    if isinstance(value, Mapping):
        if rest and key not in value:
            raise ConfigError(f"--{path}: no element {key!r}{_nearest(key, list(map(str, value)))}")
        if rest:
            return {**value, key: _override(value[key], rest, text, path)}
        return {**value, key: _read(text, type(value.get(key, "")), path)}
    if not dataclasses.is_dataclass(value):
        raise ConfigError(f"--{path}: {type(value).__name__} has no fields to set.")
    names = [field.name for field in dataclasses.fields(value)]
    if key not in names:
        for container in ("stages",):
            elements = getattr(value, container, None)
            if isinstance(elements, tuple) and any(getattr(item, "name", None) == key for item in elements):
                return dataclasses.replace(
                    typing.cast(Any, value), **{container: _override(elements, keys, text, path)}
                )
        raise ConfigError(f"--{path}: no field {key!r}{_nearest(key, names)}")
    current = getattr(value, key)
    if rest:
        if current is None:
            current = _make(value, key, path)
        new = _override(current, rest, text, path)
    else:
        new = _read(text, _field_type(value, key), path)
    try:
        return dataclasses.replace(typing.cast(Any, value), **{key: new})
    except ValueError as error:
        raise ConfigError(f"--{path} {text}: {error}") from error


def _element(value: tuple, key: str, path: str) -> int:
    names = [getattr(item, "name", None) for item in value]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(value):
        return int(key)
    options = [str(name) for name in names if name] or [f"0 to {len(value) - 1}"]
    raise ConfigError(f"--{path}: no element {key!r}{_nearest(key, options)}")


def _make(owner: Any, key: str, path: str) -> Any:
    """The default value of an optional dataclass field that is None, so that `--model.lora.rank 8` switches LoRA on."""
    for option in typing.get_args(_field_type(owner, key)):
        if dataclasses.is_dataclass(option):
            return typing.cast(Any, option)()
    raise ConfigError(f"--{path}: {key} is not set, so it has no fields.")


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _field_type(owner: Any, key: str) -> Any:
    return typing.cast(Any, _hints)(type(owner))[key]


def _read(text: str, kind: Any, path: str) -> Any:
    """Text as a value of a type: the scalar types, optionals, literals and tuples of them (comma-separated)."""
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if type(None) in options and text.lower() in ("none", "null"):
            return None
        for option in options:
            if option is type(None):
                continue
            try:
                return _read(text, option, path)
            except ConfigError:
                continue
        raise ConfigError(f"--{path}: {text!r} is none of {', '.join(map(str, options))}.")
    if origin is typing.Literal:
        for option in options:
            if str(option) == text:
                return option
        raise ConfigError(f"--{path}: choose one of {', '.join(map(str, options))}, not {text!r}.")
    if origin is tuple and not (options and typing.get_origin(options[0]) is tuple):
        items = [item.strip() for item in text.split(",") if item.strip()]
        return tuple(_read(item, options[0] if options else str, path) for item in items)
    if kind is bool:
        if text.lower() in ("true", "yes", "1", "on"):
            return True
        if text.lower() in ("false", "no", "0", "off"):
            return False
        raise ConfigError(f"--{path}: true or false, not {text!r}.")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ConfigError(f"--{path}: {text!r} is not {'a whole number' if kind is int else 'a number'}.") from None
    if kind in (str, Any) or kind is Path:
        return kind(text) if kind is Path else text
    raise ConfigError(f"--{path} cannot be set from the command line; from Python use dataclasses.replace.")


def _path_of(thing: Any) -> str:
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or "<" in name:
        raise ConfigError(
            f"A configuration can hold functions only by import path, and {thing!r} has none: "
            "give it a name at the top of a module."
        )
    return f"{module}:{name}"


def _find(path: str, allowed: Sequence[str]) -> Any:
    module, _, name = str(path).partition(":")
    if module.split(".")[0] not in allowed:
        raise ConfigError(
            f"The configuration names {path}, outside of {', '.join(allowed)}. "
            "If you trust it, allow its package (from Python: `allowed=`; on the command line: --allow PACKAGE)."
        )
    try:
        thing: Any = importlib.import_module(module)
        for part in name.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"The configuration names {path}, which is not in this version of gamutrl ({error})."
        ) from error
    return thing


def _nearest(key: str, options: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(key, options, n=1)
    listed = ", ".join(options)
    return f"; did you mean {close[0]!r}? There are: {listed}." if close else f"; there are: {listed}."
