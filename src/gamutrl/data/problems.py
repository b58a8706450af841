"""What can be wrong with data, said so that a person can mend it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Problem:
    """One row that cannot be used. `row` counts from 0 within its file."""

    file: str
    row: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.row}: {self.reason}"


class DataError(ValueError):
    """The data cannot be used as asked. `problems` names the rows, where rows are to blame."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()):
        super().__init__(message)
        self.problems = tuple(problems)


class BadRow(ValueError):
    """One row cannot be used; the message is the reason, and whoever knows file and row makes a `Problem` of it."""


def bad_rows(problems: Sequence[Problem], rows: int, shown: int = 5) -> DataError:
    """The error for rows that cannot be used, naming the first few."""
    lines = "\n".join(f"  {problem}" for problem in problems[:shown])
    more = f"\n  … and {len(problems) - shown} more" if len(problems) > shown else ""
    way_out = " (mend them, or leave them out with --on-bad-row skip)" if len(problems) < rows else ""
    return DataError(f"{len(problems)} of {rows} rows cannot be used{way_out}:\n{lines}{more}", problems)


def missing_column(name: str, present: Collection[str]) -> DataError:
    """The error for a column that the data lacks: what it has, and the nearest name."""
    folded = {column.lower(): column for column in present}
    near = get_close_matches(name.lower(), folded, n=1)
    hint = f" Did you mean {folded[near[0]]!r}?" if near else ""
    return DataError(f"There is no column {name!r}; the columns are: {', '.join(present) or 'none'}.{hint}")
