"""Data under one mapping: opened and scanned once, then read row by row."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gamutrl.core import Prompt
from gamutrl.data.columns import Columns, reads, value_of
from gamutrl.data.files import SPLITS, Splits, open_tables
from gamutrl.data.layouts import Reader, check_media, decode, reader
from gamutrl.data.media import MediaOptions
from gamutrl.data.problems import BadRow, DataError, Problem, bad_rows, missing_column
from gamutrl.data.selectors import condition
from gamutrl.data.tables import Table
from gamutrl.data.writer import METADATA, written_reader, written_types


class Opened:
    """Tables under one mapping; shared by whoever differs only in which rows it takes and how it draws them.

    `good` are the places (numbers over all tables) of the rows that can be used and meet `where`; media are looked for
    but not opened. `types` says what each column holds. `undivided`: train and test are still to be drawn apart.
    """

    def __init__(self, tables: Sequence[Table], columns: Columns, where: str, media: MediaOptions, undivided: bool):
        self.tables, self.media, self.undivided = tables, media, undivided
        self._starts = [0, *accumulate(len(table) for table in tables)]
        self.total = self._starts[-1]
        if not self.total:
            raise DataError(f"There are no rows in {', '.join(table.file for table in tables)}.")
        self.written = columns == Columns() and all(METADATA in table.metadata for table in tables)
        self.columns = columns
        self._readers: list[Reader]
        if self.written:
            self.types = {name: kind for table in reversed(tables) for name, kind in written_types(table).items()}
            self.media = replace(media, max_frames=1 << 30, fps=None, max_side=0)
            self._readers = [written_reader(table.metadata) for table in tables]
        else:
            self.types = {name: kind for table in reversed(tables) for name, kind in table.types.items()}
            if not self.types and (problems := _unread(tables)):
                raise bad_rows(problems, self.total)
            self.columns = columns.resolved(self.types)
            heavy = {name for table in tables for name in table.heavy}
            self._readers = [reader(columns, self.types, heavy)] * len(tables)
        self._cache = Cache(media.cache_pixels)
        self._problems: dict[int, Problem] = {}
        self._lock = threading.Lock()
        self.good = self._scan(where)

    def prompt(self, place: int) -> Prompt:
        """One row with its media. Raises `BadRow`, again each time it is asked for a bad one."""
        if place in self._problems:
            raise BadRow(self._problems[place].reason)
        kept = self._cache.get(place)
        if kept is not None:
            return kept
        k, row = self._find(place)
        table = self.tables[k]
        prompt = decode(self._read(k, table[row]), table.root, self.media)
        prompt = replace(prompt, id=prompt.id or f"{table.file}:{row}")
        self._cache.put(place, prompt)
        return prompt

    def values(self, name: str, places: np.ndarray) -> list[Any]:
        """A column's, an extra column's or a path's value for some rows in file order; "answer" is the rows' answer."""
        extra = {"answer": "", **dict(self.columns.extra)}
        value = extra.get(name, name)
        for column in reads(value, self.types) if value else ():
            if column not in self.types:
                raise missing_column(column, [*self.types, *extra])
        get = value_of(value, self.types) if value else None
        wanted = set(places.tolist())
        values = []
        for place, (table, row) in enumerate(self._rows()):
            if place not in wanted or isinstance(row, BadRow):
                continue
            if get is None:
                values.append(self._read(table, row).answer)
            else:
                values.append(get(self._values(self._read(table, row), row) if self.written else row))
        return values

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The rows found unusable so far."""
        return tuple(self._problems.values())

    def note(self, place: int, reason: str) -> Problem:
        """Remember that a row cannot be used."""
        k, row = self._find(place)
        with self._lock:
            return self._problems.setdefault(place, Problem(self.tables[k].file, row, reason))

    def _scan(self, where: str) -> np.ndarray:
        test = condition(where) if where else None
        for column in test.columns if test else ():
            if column not in self.types:
                raise missing_column(column, self.types)
        good = []
        for place, (table, row) in enumerate(self._rows()):
            try:
                prompt = self._read(table, row)
                if test is None or test(self._values(prompt, row)):
                    check_media(prompt, self.tables[table].root, self.media)
                    good.append(place)
            except BadRow as bad:
                self.note(place, str(bad))
        return np.array(good, dtype=np.int64)

    def _rows(self) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Every row, scanned, with the number of its table."""
        for k, table in enumerate(self.tables):
            for row in table.scan():
                yield k, row

    def _read(self, table: int, row: dict[str, Any] | BadRow) -> Prompt:
        if isinstance(row, BadRow):
            raise row
        return self._readers[table](row)

    def _values(self, prompt: Prompt, row: Any) -> Mapping[str, Any]:
        """What conditions and columns are read from: the row, or what it was when it was written."""
        return {**prompt.columns, "answer": prompt.answer} if self.written else row

    def _find(self, place: int) -> tuple[int, int]:
        k = bisect_right(self._starts, place) - 1
        return k, place - self._starts[k]


def _unread(tables: Sequence[Table]) -> list[Problem]:
    """The rows whose text could not be read, so that they have no columns."""
    rows = ((table.file, number, row) for table in tables for number, row in enumerate(table.scan()))
    return [Problem(file, number, str(row)) for file, number, row in rows if isinstance(row, BadRow)]


def open_rows(path: str, subset: str, columns: Columns, split: str, where: str, media: MediaOptions) -> Opened:
    """Data that have train and test are opened by split ("train", "test", "all"); others once for both."""
    stamp = _stamp(path)
    tables = _tables(path, subset, stamp)
    folded = {name.lower(): name for name in tables}
    ours = {side: [folded[name] for name in names if name in folded] for side, names in SPLITS.items()}
    undivided = split != "all" and not (ours["train"] and ours["test"])
    if split == "all":
        names = list(tables)
    elif undivided:
        names = ours["train"][:1] or list(tables)
    else:
        names = ours[split][:1]
    return _opened(path, subset, stamp, tuple(names), columns, where, media, undivided)


@lru_cache(maxsize=8)
def _opened(
    path: str,
    subset: str,
    stamp: int,
    names: tuple[str, ...],
    columns: Columns,
    where: str,
    media: MediaOptions,
    undivided: bool,
) -> Opened:
    splits = _tables(path, subset, stamp)
    return Opened([table for name in names for table in splits[name]], columns, where, media, undivided)


@lru_cache(maxsize=8)
def _tables(path: str, subset: str, stamp: int) -> Splits:
    return open_tables(path, subset)


def _stamp(path: str) -> int:
    """Changes when the file is written anew, so that a later stage reads what an earlier one wrote."""
    place = Path(path).expanduser()
    return place.stat().st_mtime_ns if place.exists() else 0


class Cache:
    """Decoded rows, the last used kept, up to so many pixels."""

    def __init__(self, pixels: int):
        self.limit, self.held = pixels, 0
        self._rows: OrderedDict[int, tuple[Prompt, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: int) -> Prompt | None:
        with self._lock:
            if place not in self._rows:
                return None
            self._rows.move_to_end(place)
            return self._rows[place][0]

    def put(self, place: int, prompt: Prompt) -> None:
        beside = (value for value in prompt.columns.values() if isinstance(value, Image.Image))
        pixels = sum(map(_pixels, (*(part.value for part in prompt.media), *beside)))
        with self._lock:
            if pixels > self.limit or place in self._rows:
                return
            self._rows[place] = (prompt, pixels)
            self.held += pixels
            while self.held > self.limit:
                self.held -= self._rows.popitem(last=False)[1][1]


def _pixels(value: Any) -> int:
    if isinstance(value, Image.Image):
        return value.width * value.height
    return sum(map(_pixels, value)) if isinstance(value, tuple) else np.size(value)
