"""Furniture in a room: which places a relation allows, and what collides (MetaSpatial, 2503.18470).

Metres; x to the east, y to the north, z up; a position is a box's centre, a size its length, width and height, an angle
in quarter turns of degrees about z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

Point = tuple[float, float, float]
Range = tuple[float, float]
Relation = Literal[
    "on", "in the middle of", "under", "left of", "right of", "in front", "behind", "above", "in the corner"
]
_SIDES: Mapping[str, Sequence[str]] = {
    "left of": ("-x", "+y", "+x", "-y"),
    "right of": ("+x", "-y", "-x", "+y"),
    "in front": ("+y", "+x", "-y", "-x"),
    "behind": ("-y", "-x", "+y", "+x"),
}
"""The side of the reference that a relation names, for its angles 0, 90, 180, 270."""


@dataclass(frozen=True)
class Thing:
    """A piece of furniture, or a wall, the ceiling, the middle of the room."""

    name: str
    size: Point
    position: Point | None = None
    angle: float = 0.0
    on_floor: bool = False
    relations: tuple[tuple[str, str, bool], ...] = field(default=())
    """`(relation, the other's name, adjacent)`, of which one must hold."""

    @property
    def extent(self) -> Point:
        """The size along x, y and z."""
        length, width, height = self.size
        return (width, length, height) if self.angle % 180 == 90 else self.size


def allowed(
    thing: Thing, other: Thing, relation: str, adjacent: bool, room: Point, *, margin: float | None = None
) -> tuple[Range, Range, Range]:
    """Where the centre of a thing may be, along x, y and z, to lie to another as a relation says.

    margin: how far beyond the other's ends a thing that is not adjacent may be centred; half its own size, or so many
    metres (released: 0.5, by the order of operators). Raises ValueError for a relation or an angle that is not known.
    """
    if other.position is None or other.angle % 90:
        raise ValueError(f"{other.name!r} needs a position and an angle of 0, 90, 180 or 270 degrees.")
    half = tuple(side / 2 for side in thing.extent)
    if relation in ("on", "in the middle of"):
        ranges = _on(thing, other, half)
        return _fit(ranges, half, room, axes=3)
    if relation in _SIDES:
        return _fit(_beside(thing, other, relation, adjacent, room, half, margin), half, room, axes=2)
    x, y, z = other.position
    length, width, height = (side / 2 for side in other.size)
    across, deep = (width, length) if other.angle % 180 == 90 else (length, width)
    if relation == "under":
        top = half[2] if thing.on_floor else z - height - half[2]
        return _fit((_about(x, across + half[0]), _about(y, deep + half[1]), (half[2], top)), half, room, axes=3)
    if relation == "above":
        low = max(half[2], min(half[2] if thing.on_floor else z + height + half[2], room[2] - half[2]))
        ranges = (_about(x, across + half[0]), _about(y, deep + half[1]), (low, half[2] if thing.on_floor else room[2]))
        return _fit(ranges, half, room, axes=2)
    if relation == "in the corner":
        level = half[2] if thing.on_floor else z - height + half[2]
        ahead = 1 if other.angle % 360 < 180 else -1
        if other.angle % 180:
            along, beyond = _about(y, length - half[1]), x + ahead * (width + half[0])
            return (beyond, beyond), along, (level, level)
        along, beyond = _about(x, length - half[0]), y + ahead * (width + half[1])
        return along, (beyond, beyond), (level, level)
    raise ValueError(f"No rule for the relation {relation!r}.")


def is_placed(thing: Thing, things: Mapping[str, Thing], room: Point, *, margin: float | None = None) -> bool:
    """Whether one of a thing's relations holds. A thing without any that can be checked is not placed."""
    if thing.position is None:
        return False
    for relation, name, adjacent in thing.relations:
        other = things.get(name)
        if other is not None and other.position is not None:
            ranges = allowed(thing, other, relation, adjacent, room, margin=margin)
            if all(low <= here <= high for here, (low, high) in zip(thing.position, ranges)):
                return True
    return False


def collide(one: Thing, other: Thing, *, tolerance: float = 1e-3, thin: float = 40.0) -> bool:
    """Whether two things share space: on every axis, by more than the tolerance. Thin ones (rugs) never do."""
    if one.position is None or other.position is None or any(_is_thin(thing, thin) for thing in (one, other)):
        return False
    for a, b, size_a, size_b in zip(one.position, other.position, one.extent, other.extent):
        low, high = a - size_a / 2 - (b + size_b / 2), a + size_a / 2 - (b - size_b / 2)
        if not (low < -tolerance and high > tolerance):
            return False
    return True


def collision_ratio(things: Sequence[Thing]) -> float:
    """The share of pairs that collide; 0 for fewer than two things."""
    pairs = list(combinations(things, 2))
    return sum(collide(one, other) for one, other in pairs) / len(pairs) if pairs else 0.0


def shell(room: Point) -> list[Thing]:
    """The walls, the middle of the room and the ceiling, as things of no thickness."""
    x, y, z = room
    return [
        Thing("south_wall", (x, 0, z), (x / 2, 0, z / 2), 180),
        Thing("north_wall", (x, 0, z), (x / 2, y, z / 2), 0),
        Thing("east_wall", (0, y, z), (x, y / 2, z / 2), 90),
        Thing("west_wall", (0, y, z), (0, y / 2, z / 2), 270),
        Thing("middle of the room", (x, y, 0), (x / 2, y / 2, 0)),
        Thing("ceiling", (x, y, 0), (x / 2, y / 2, z)),
    ]


def thing_of(entry: Mapping[str, Any]) -> Thing:
    """A thing from a scene graph's entry: `new_object_id`, `size_in_meters`, `position`, `rotation`, `placement`."""
    size, position, placement = entry["size_in_meters"], entry.get("position"), entry.get("placement") or {}
    relations = [
        (link["preposition"], link[key], bool(link.get("is_adjacent", True)))
        for group, key in (("objects_in_room", "object_id"), ("room_layout_elements", "layout_element_id"))
        for link in placement.get(group, ())
    ]
    return Thing(
        entry["new_object_id"],
        (size["length"], size["width"], size["height"]),
        (position["x"], position["y"], position["z"]) if position else None,
        float((entry.get("rotation") or {}).get("z_angle", 0.0)),
        bool(entry.get("is_on_the_floor")),
        tuple(relations),
    )


def _on(thing: Thing, other: Thing, half: Sequence[float]) -> tuple[Range, Range, Range]:
    assert other.position is not None
    x, y, z = other.position
    across, deep, height = (side / 2 for side in other.extent)
    if not other.name.endswith("_wall"):
        level = z - height - half[2] if other.name == "ceiling" else z + height + half[2]
        level = half[2] if thing.on_floor and other.name != "ceiling" else level
        return _about(x, across - half[0]), _about(y, deep - half[1]), (level, level)
    level_range = (half[2], half[2]) if thing.on_floor else _about(z, height - half[2])
    if other.name in ("west_wall", "east_wall"):
        at = x + (across + half[0]) * (1 if other.name == "west_wall" else -1)
        return (at, at), _about(y, deep - half[1]), level_range
    at = y + (deep + half[1]) * (1 if other.name == "south_wall" else -1)
    return _about(x, across - half[0]), (at, at), level_range


def _beside(
    thing: Thing,
    other: Thing,
    relation: str,
    adjacent: bool,
    room: Point,
    half: Sequence[float],
    margin: float | None,
) -> tuple[Range, Range, Range]:
    assert other.position is not None
    side = _SIDES[relation][int(other.angle % 360) // 90]
    length, width, height = (size / 2 for size in other.size)
    reach, lateral = (length, width) if relation in ("left of", "right of") else (width, length)
    axis = "xy".index(side[1])
    sign = 1 if side[0] == "+" else -1
    near = other.position[axis] + sign * (reach + half[axis])
    far = near if adjacent else (room[axis] - half[axis] if sign > 0 else half[axis])
    slack = -half[1 - axis] if adjacent else half[1 - axis] if margin is None else margin
    along = _about(other.position[1 - axis], lateral + slack)
    level = (half[2], half[2]) if thing.on_floor else (other.position[2] - height + half[2], room[2] - half[2])
    return ((near, far), along, level) if axis == 0 else (along, (near, far), level)


def _fit(
    ranges: tuple[Range, Range, Range], half: Sequence[float], room: Point, *, axes: int
) -> tuple[Range, Range, Range]:
    """The first so many ranges in order and inside the room."""
    fitted = list(ranges)
    for axis in range(axes):
        low, high = min(ranges[axis]), max(ranges[axis])
        fitted[axis] = (max(low, half[axis]), max(half[axis], min(high, room[axis] - half[axis])))
    return fitted[0], fitted[1], fitted[2]


def _about(center: float, reach: float) -> Range:
    return center - reach, center + reach


def _is_thin(thing: Thing, ratio: float) -> bool:
    return min(thing.size) > 0 and max(thing.size) / min(thing.size) >= ratio
