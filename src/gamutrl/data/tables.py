"""Rows by number, whatever holds them: Arrow tables (in memory or mapped from disk), JSON Lines, lists.

Nothing here knows prompts. A table gives one row at a time, without loading the others, and can be walked through
cheaply: `scan` leaves out the bytes of pictures and says only how many there are.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from gamutrl.data.problems import BadRow


class Bytes:
    """Stands in a scanned row for bytes that were not read."""

    def __repr__(self) -> str:
        return "<bytes not read>"


UNREAD = Bytes()


class Table(Protocol):
    """One file's rows. `root` is where its relative paths start; `types` says what each column holds."""

    file: str
    root: Path

    @property
    def types(self) -> dict[str, str]: ...

    @property
    def heavy(self) -> frozenset[str]:
        """Columns that hold bytes."""

    @property
    def metadata(self) -> dict[str, str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> dict[str, Any]:
        """One row whole. Raises `BadRow`."""

    def scan(self) -> Iterator[dict[str, Any] | BadRow]:
        """Every row in order, with `UNREAD` for bytes."""


class ArrowTable:
    """An Arrow table, opened when its rows are first asked for; `rows` picks and orders some of it.

    Where the schema says that a column's numbers stand for class names (Hugging Face's `ClassLabel`), it gives the
    names.
    """

    def __init__(
        self, opened: Callable[[], pa.Table], schema: pa.Schema, file: str, root: Path, rows: np.ndarray | None = None
    ):
        self._opened, self.schema, self.file, self.root, self.rows = opened, schema, file, root, rows

    @cached_property
    def table(self) -> pa.Table:
        return self._opened()

    @cached_property
    def types(self) -> dict[str, str]:
        return {field.name: str(field.type) for field in self.schema}

    @cached_property
    def heavy(self) -> frozenset[str]:
        return frozenset(field.name for field in self.schema if _holds_bytes(field.type))

    @cached_property
    def metadata(self) -> dict[str, str]:
        return {k.decode(): v.decode(errors="replace") for k, v in (self.schema.metadata or {}).items()}

    @cached_property
    def _classes(self) -> dict[str, list[str]]:
        try:
            features = json.loads(self.metadata.get("huggingface", "{}"))["info"]["features"]
            return {name: list(kind["names"]) for name, kind in features.items() if kind.get("_type") == "ClassLabel"}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def __len__(self) -> int:
        return self.table.num_rows if self.rows is None else len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        place = row if self.rows is None else int(self.rows[row])
        return self._named(self.table.slice(place, 1).to_pylist()[0])

    def scan(self) -> Iterator[dict[str, Any]]:
        light = self.table.select([name for name in self.table.column_names if name not in self.heavy])
        counted = {name: _presence(self.table.column(name)) for name in self.table.column_names if name in self.heavy}
        order = range(len(self)) if self.rows is None else self.rows
        for start in range(0, len(self), 1024):
            places = np.asarray(order[start : start + 1024])
            block = light.slice(start, 1024) if self.rows is None else light.take(pa.array(places))
            rows = block.to_pylist() if light.num_columns else [{} for _ in places]
            for place, row in zip(places, rows):
                yield {**self._named(row), **{name: _unread(counts, place) for name, counts in counted.items()}}

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        for name, classes in self._classes.items():
            if isinstance(row.get(name), int) and 0 <= row[name] < len(classes):
                row[name] = classes[row[name]]
        return row


class JsonLines:
    """A file of one JSON object a line, found again by its line's place in the file."""

    def __init__(self, path: Path, file: str = ""):
        self.path, self.file, self.root = path, file or path.name, path.parent

    heavy: frozenset[str] = frozenset()
    metadata: dict[str, str] = {}  # noqa: RUF012

    @cached_property
    def types(self) -> dict[str, str]:
        return types_of(row for row in self.scan() if isinstance(row, dict))

    @cached_property
    def _places(self) -> np.ndarray:
        """Start, end and line number of every line that is not blank, `[rows, 3]`."""
        places = []
        with self.path.open("rb") as file:
            start = 0
            for number, line in enumerate(file, 1):
                if line.strip():
                    places.append((start, start + len(line), number))
                start += len(line)
        return np.array(places, dtype=np.int64).reshape(-1, 3)

    @cached_property
    def _bytes(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> dict[str, Any]:
        start, end, number = self._places[row].tolist()
        try:
            value = json.loads(self._bytes[start:end].decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise BadRow(f"line {number} is not UTF-8.") from None
        except (ValueError, RecursionError) as error:
            raise BadRow(f"line {number} is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise BadRow(f"line {number} holds a {type(value).__name__}; an object {{…}} was expected.")
        return value

    def scan(self) -> Iterator[dict[str, Any] | BadRow]:
        for row in range(len(self)):
            try:
                yield self[row]
            except BadRow as bad:
                yield bad


class ListTable:
    """Rows that are in memory. An entry that is no row is a `BadRow`."""

    def __init__(self, rows: Sequence[dict[str, Any] | BadRow], file: str, root: Path):
        self._rows, self.file, self.root = rows, file, root

    heavy: frozenset[str] = frozenset()
    metadata: dict[str, str] = {}  # noqa: RUF012

    @cached_property
    def types(self) -> dict[str, str]:
        return types_of(row for row in self._rows if isinstance(row, dict))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        value = self._rows[row]
        if isinstance(value, BadRow):
            raise value
        return value

    def scan(self) -> Iterator[dict[str, Any] | BadRow]:
        yield from self._rows


def types_of(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Every column of some rows with the kinds of value it holds. All rows count: pictures may come late in a file."""
    kinds: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in row.items():
            seen = kinds.setdefault(name, {})
            if value is not None:
                seen[type(value).__name__] = None
    return {name: " | ".join(seen) or "null" for name, seen in kinds.items()}


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    if pa.types.is_struct(kind):
        return any(name in ("bytes", "array") for name in (field.name for field in kind)) and any(
            _holds_bytes(field.type) or field.name == "array" for field in kind
        )
    return _is_list(kind) and _holds_bytes(kind.value_type)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _presence(column: pa.ChunkedArray) -> np.ndarray:
    """How many media each row of a heavy column has: −1 for one that stands alone, 0 for none, n for a list of n."""
    lengths = []
    for chunk in column.chunks:
        valid = np.asarray(chunk.is_valid())
        if _is_list(chunk.type):
            counts = np.asarray(pa.compute.fill_null(pa.compute.list_value_length(chunk), 0), dtype=np.int64)
            lengths.append(np.where(valid, counts, 0))
        else:
            if pa.types.is_struct(chunk.type):
                inner = [np.asarray(field.is_valid()) for field in chunk.flatten()]
                valid = valid & np.any(inner, axis=0)
            lengths.append(np.where(valid, -1, 0))
    return np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int64)


def _unread(counts: np.ndarray, place: int) -> Any:
    count = int(counts[place])
    return UNREAD if count < 0 else [UNREAD] * count if count else None
