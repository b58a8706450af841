"""A finite set of rows: what views choose from and orders draw from."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from gamutrl.core import Prompt


@runtime_checkable
class Rows(Protocol):
    """A finite set of rows, any of which can be had alone. `column` gives one value a row without opening media."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Prompt: ...

    def column(self, name: str) -> list[Any]: ...
