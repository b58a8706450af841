"""Rows of files as prompts: opened once, checked whole, split without leaking, decoded when asked for."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from gamutrl.core import Prompt
from gamutrl.data.columns import Columns, reads, value_of
from gamutrl.data.files import SPLITS, Splits, open_tables
from gamutrl.data.layouts import Reader, check_media, decode, reader
from gamutrl.data.media import MediaOptions
from gamutrl.data.orders import Shuffled
from gamutrl.data.problems import BadRow, DataError, Problem, bad_rows, missing_column
from gamutrl.data.selectors import condition
from gamutrl.data.tables import Table

Split = Literal["train", "test", "all"]


@dataclass(frozen=True)
class FileRows:
    """The rows of a file, a folder, or a data set of the Hugging Face hub; a source, shuffled anew each epoch.

    path: see `gamutrl.data.files.open_tables`. columns: see `Columns`; empty parts are found by their usual names.
    split: "train" or "test" as found on disk, "all" for both. Where the data have no test split, `held_out` of them (a
    share below 1, or a number of rows) are drawn by `split_seed`: whole groups of rows that agree in the column (or
    path) `split_by`, so that no group is on both sides. where: a condition that rows must meet (`permutation=0`).
    limit: at most so many rows, evenly spread. subset: a hub data set's configuration.
    on_bad_row: "fail" raises at the first use, naming every row that cannot be used; "skip" leaves them out and lists
    them in `problems`. A medium is opened only when its row is drawn; if it proves damaged, "skip" gives the next good
    row in its place.
    """

    path: str
    columns: Columns = Columns()
    split: Split = "train"
    split_by: str = ""
    held_out: float = 0.1
    split_seed: int = 0
    where: str = ""
    limit: int = 0
    subset: str = ""
    on_bad_row: Literal["fail", "skip"] = "fail"
    media: MediaOptions = field(default_factory=MediaOptions)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> Prompt:
        """One row, its media opened. Raises `DataError` for a bad one, unless bad rows are skipped."""
        if not 0 <= row < len(self):
            raise IndexError(f"Row {row} was asked of {len(self)}.")
        for offset in range(len(self)):
            place = int(self.places[(row + offset) % len(self)])
            try:
                return self._opened.prompt(place)
            except BadRow as bad:
                problem = self._opened.note(place, str(bad))
                if self.on_bad_row == "fail":
                    raise bad_rows([problem], len(self)) from None
        raise bad_rows(self.problems, len(self))

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        """The draw's rows; see `Shuffled`."""
        return Shuffled(self).batch(index, size, seed)

    def column(self, name: str) -> list[Any]:
        """A column's (or path's) value for every row."""
        return self._opened.values(name, self.places)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The rows that were found unusable so far."""
        return self._opened.problems

    @cached_property
    def _opened(self) -> _Opened:
        return _open(self.path, self.subset, self.columns, self.split, self.where, self.media)

    @cached_property
    def places(self) -> np.ndarray:
        """Which rows of the opened tables these are, in file order."""
        opened = self._opened
        if opened.problems and self.on_bad_row == "fail":
            raise bad_rows(opened.problems, opened.total)
        places = opened.good
        if not len(places):
            reasons = f" ({opened.problems[0]})" if opened.problems else ""
            met = f" No row meets {self.where!r}." if self.where and not opened.problems else ""
            raise DataError(f"{self.path} has no usable row among {opened.total}.{met}{reasons}")
        if opened.drawn:
            groups = opened.values(self.split_by, places) if self.split_by else None
            test = held_out(places, groups, self.held_out, self.split_seed)
            places = places[test] if self.split == "test" else places[~test]
        if self.limit and len(places) > self.limit:
            places = places[np.linspace(0, len(places) - 1, self.limit).round().astype(np.int64)]
        return places


def held_out(places: np.ndarray, groups: Sequence[Any] | None, share: float, seed: int) -> np.ndarray:
    """Which rows are held out, bool: whole groups in an order drawn by `seed`, until `share` of the rows is reached.

    The order is a hash of each group's value, so that it does not depend on how rows are sorted or what else there is.
    Raises `DataError` where a split would leave one side empty.
    """
    if share <= 0:
        raise DataError(f"--held-out must be a share of the rows or their number, not {share:g}.")
    keys = [str(value) for value in (groups if groups is not None else places.tolist())]
    sizes: dict[str, int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
    if len(sizes) < 2:
        what = "group" if groups is not None else "row"
        raise DataError(f"A single {what} cannot be split into train and test; give the test rows apart.")
    wanted = max(1, round(share * len(keys)) if share < 1 else round(share))
    chosen: set[str] = set()
    reached = 0
    for key in sorted(sizes, key=lambda key: hashlib.sha256(f"{seed}\0{key}".encode()).digest()):
        if reached >= wanted or len(chosen) == len(sizes) - 1:
            break
        chosen.add(key)
        reached += sizes[key]
    if reached < wanted and share >= 1:
        raise DataError(f"--held-out {share:g} leaves nothing to train on: there are {len(keys)} rows.")
    return np.array([key in chosen for key in keys])


class _Opened:
    """Tables under one mapping, scanned once; shared by every `FileRows` that differs only in how it draws."""

    def __init__(self, tables: Sequence[Table], columns: Columns, where: str, media: MediaOptions, drawn: bool):
        self.tables, self.media, self.drawn = tables, media, drawn
        self.starts = [0, *accumulate(len(table) for table in tables)]
        self.total = self.starts[-1]
        if not self.total:
            raise DataError(f"There are no rows in {', '.join(table.file for table in tables)}.")
        self.types = {name: kind for table in reversed(tables) for name, kind in table.types.items()}
        self.columns = columns.resolved(self.types)
        heavy = {name for table in tables for name in table.heavy}
        self.read: Reader = reader(columns, self.types, heavy)
        self.cache = Cache(media.cache_pixels)
        self._problems: dict[int, Problem] = {}
        self._lock = threading.Lock()
        self.good = self._scan(where)

    def _scan(self, where: str) -> np.ndarray:
        test = condition(where) if where else None
        good = []
        for place, row in enumerate(self._rows()):
            try:
                if isinstance(row, BadRow):
                    raise row
                if test is not None and not test(row):
                    continue
                check_media(self.read(row), self.table(place)[0].root, self.media)
                good.append(place)
            except BadRow as bad:
                self.note(place, str(bad))
        return np.array(good, dtype=np.int64)

    def _rows(self) -> Iterator[dict[str, Any] | BadRow]:
        for table in self.tables:
            yield from table.scan()

    def table(self, place: int) -> tuple[Table, int]:
        """The table of a row, and its number there."""
        k = bisect_right(self.starts, place) - 1
        return self.tables[k], place - self.starts[k]

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(self._problems.values())

    def note(self, place: int, reason: str) -> Problem:
        table, row = self.table(place)
        with self._lock:
            return self._problems.setdefault(place, Problem(table.file, row, reason))

    def prompt(self, place: int) -> Prompt:
        """One row with its media. Raises `BadRow`, again each time it is asked for a bad one."""
        if place in self._problems:
            raise BadRow(self._problems[place].reason)
        kept = self.cache.get(place)
        if kept is not None:
            return kept
        table, row = self.table(place)
        prompt = replace(decode(self.read(table[row]), table.root, self.media), id=f"{table.file}:{row}")
        self.cache.put(place, prompt)
        return prompt

    def values(self, name: str, places: np.ndarray) -> list[Any]:
        for column in reads(name, self.types):
            if column not in self.types and name not in dict(self.columns.extra):
                raise missing_column(column, self.types)
        value = value_of(dict(self.columns.extra).get(name, name), self.types)
        wanted = iter(places.tolist())
        following, values = next(wanted, None), []
        for place, row in enumerate(self._rows()):
            if place == following and isinstance(row, dict):
                values.append(value(row))
                following = next(wanted, None)
        return values


def _open(path: str, subset: str, columns: Columns, split: Split, where: str, media: MediaOptions) -> _Opened:
    """Data that have train and test are opened by split; others once for both, to be drawn apart afterwards."""
    stamp = _stamp(path)
    tables = _tables(path, subset, stamp)
    ours = _sides(tables)
    drawn = split != "all" and not (ours["train"] and ours["test"])
    if split == "all":
        names = list(tables)
    elif drawn:
        names = ours["train"][:1] or list(tables)
    else:
        names = ours[split][:1]
    return _opening(path, subset, stamp, tuple(names), columns, where, media, drawn)


@lru_cache(maxsize=8)
def _opening(
    path: str,
    subset: str,
    stamp: int,
    names: tuple[str, ...],
    columns: Columns,
    where: str,
    media: MediaOptions,
    drawn: bool,
) -> _Opened:
    splits = _tables(path, subset, stamp)
    return _Opened([table for name in names for table in splits[name]], columns, where, media, drawn)


@lru_cache(maxsize=8)
def _tables(path: str, subset: str, stamp: int) -> Splits:
    return open_tables(path, subset)


def _stamp(path: str) -> int:
    """Changes when the file is written anew, so that a later stage reads what an earlier one wrote."""
    place = Path(path).expanduser()
    return place.stat().st_mtime_ns if place.exists() else 0


def _sides(tables: Mapping[str, Any]) -> dict[str, list[str]]:
    """The split names on disk that mean train or test, the usual one first."""
    folded = {name.lower(): name for name in tables}
    return {side: [folded[name] for name in names if name in folded] for side, names in SPLITS.items()}


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
        pixels = sum(_pixels(part.value) for part in prompt.media)
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
