"""Rows of files as prompts: opened once, checked whole, split without leaking, decoded when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from gamutrl.core import Prompt
from gamutrl.data.columns import Columns
from gamutrl.data.media import MediaOptions
from gamutrl.data.opened import Opened, open_rows
from gamutrl.data.orders import Shuffled
from gamutrl.data.problems import BadRow, DataError, Problem, bad_rows

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
                return self.opened.prompt(place)
            except BadRow as bad:
                problem = self.opened.note(place, str(bad))
                if self.on_bad_row == "fail":
                    raise bad_rows([problem], len(self)) from None
        raise bad_rows(self.problems, len(self))

    def batch(self, index: int, size: int, seed: int = 0) -> list[Prompt]:
        """The draw's rows; see `Shuffled`."""
        return Shuffled(self).batch(index, size, seed)

    def column(self, name: str) -> list[Any]:
        """A column's (or path's) value for every row."""
        return self.opened.values(name, self.places)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The rows that were found unusable so far."""
        return self.opened.problems

    @cached_property
    def opened(self) -> Opened:
        """The data behind the rows, opened at the first use."""
        return open_rows(self.path, self.subset, self.columns, self.split, self.where, self.media)

    @cached_property
    def places(self) -> np.ndarray:
        """Which rows of the opened tables these are, in file order."""
        opened = self.opened
        if opened.problems and self.on_bad_row == "fail":
            raise bad_rows(opened.problems, opened.total)
        places = opened.good
        if not len(places):
            reasons = f" ({opened.problems[0]})" if opened.problems else ""
            met = f" No row meets {self.where!r}." if self.where and not opened.problems else ""
            raise DataError(f"{self.path} has no usable row among {opened.total}.{met}{reasons}")
        if opened.undivided:
            groups = opened.values(self.split_by, places) if self.split_by else None
            test = held_out(places, groups, self.held_out, self.split_seed)
            places = places[test] if self.split == "test" else places[~test]
        if self.limit and len(places) > self.limit:
            places = places[np.linspace(0, len(places) - 1, self.limit).round().astype(np.int64)]
        return places


def train_and_test(path: str, columns: str = "", **settings: Any) -> tuple[FileRows, FileRows]:
    """The two sides of data, as `--data` and `--columns` name them; `settings` are further fields of `FileRows`."""
    mapping = Columns.parse(columns)
    return (FileRows(path, mapping, "train", **settings), FileRows(path, mapping, "test", **settings))


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
