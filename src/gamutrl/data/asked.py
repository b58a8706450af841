"""What a row asks a picture to show, in GenEval's flat columns: `objects`, `counts`, `colors`, `relation`, `cells`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RELATIONS: Mapping[str, str] = {
    "on the left of": "left",
    "left of": "left",
    "on the right of": "right",
    "right of": "right",
    "below": "bottom",
    "under": "bottom",
    "bottom of": "bottom",
    "on the bottom of": "bottom",
    "above": "top",
    "top of": "top",
    "on top of": "top",
    "on the top of": "top",
    "next to": "near",
    "near": "near",
    "on side of": "near",
}
"""T2I-CompBench's relations; GenEval's four are among them."""


@dataclass(frozen=True)
class Asked:
    """Names of objects, how many of each, of which color; how the first lies to the second, or in which cells they lie.

    A color, the relation and the cells may be None, which asks for nothing.
    """

    objects: tuple[str, ...]
    counts: tuple[int, ...]
    colors: tuple[str | None, ...]
    relation: str | None = None
    cells: tuple[str, ...] | None = None

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Asked | None:
        """From a row's columns; None for a row that names no objects. A missing count is 1.

        Raises ValueError where a list is not as long as `objects`, a count is no whole number, or the relation is none
        that is known.
        """
        objects = listed(columns.get("objects"))
        if not objects or not all(isinstance(name, str) for name in objects):
            return None
        counts = listed(columns.get("counts")) or [1] * len(objects)
        colors = listed(columns.get("colors")) or [None] * len(objects)
        cells = listed(columns.get("cells"))
        for name, values in (("counts", counts), ("colors", colors), ("cells", cells)):
            if values and len(values) != len(objects):
                raise ValueError(f"the column {name} has {len(values)} values for {len(objects)} objects.")
        relation = columns.get("relation") or None
        if relation and (len(objects) < 2 or relation not in RELATIONS):
            raise ValueError(f"{relation!r} is no relation of two objects; known are {', '.join(RELATIONS)}.")
        return cls(
            tuple(objects),
            tuple(_whole(count) for count in counts),
            tuple(str(color) if color else None for color in colors),
            relation,
            tuple(map(str, cells)) if cells else None,
        )


def listed(value: Any) -> list[Any]:
    """A column as a list: `a, b` for two, a value alone for itself."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, Sequence) else [value]


def _whole(count: Any) -> int:
    try:
        number = int(count)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0 or (isinstance(count, float) and count != number):
        raise ValueError(f"the column counts holds {count!r}, which is no number of objects.")
    return number
