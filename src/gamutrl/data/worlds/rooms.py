"""Rooms from above: furniture to be placed as relations ask (`place`), and what changed between two views (`changes`).

place: after MetaSpatial (arXiv 2503.18470): a room, its things with sizes and relations, positions to be found. Every
row has a placement that keeps all relations and collides nowhere: the row's answer. Knobs: `things` (how many),
`room` (its sides in metres), `beside` (how often a thing is related to another, not to a wall). Columns: `entries`
(the scene graph, walls and ceiling last, as the paper's rows have it), `room`. Metres as in `furniture`.

changes: after STAR-R1 (2505.15804): shapes before and after, of which some changed colour, shape or size. Knobs: `low`,
`high` (how many shapes), `most` (at most how many changes), `mirrored` (how often the second view is a mirror's).
The question names the shapes of the first view, as the paper's does. Columns: `changes` (triplets `[index from 1,
attribute, value]`), `table`. Both: `form`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gamutrl.core import Part, Prompt, image
from gamutrl.data.worlds import base, furniture, render, scenes, sheets
from gamutrl.data.worlds.base import Query, Solution, Split, Task
from gamutrl.data.worlds.furniture import Thing

STYLES = base.STYLES
NAMES = ("table", "sofa", "bed", "desk", "shelf", "chair", "lamp", "plant")
SIZES = {
    "table": (1.5, 1.0, 0.8),
    "sofa": (2.0, 1.0, 0.8),
    "bed": (2.0, 1.5, 0.5),
    "desk": (1.5, 0.5, 0.8),
    "shelf": (1.0, 0.5, 2.0),
    "chair": (0.5, 0.5, 1.0),
    "lamp": (0.5, 0.5, 1.5),
    "plant": (0.5, 0.5, 1.0),
}
WALLS = ("south_wall", "north_wall", "east_wall", "west_wall")
BESIDE = ("left of", "right of", "in front", "behind")
VALUES = {"color": ("colour", scenes.COLOURS), "shape": ("shape", scenes.SHAPES)}
"""The attributes that change, beside the size: their keys and values."""
SMALL, LARGE = 11, 17
"""The sides of small and large shapes."""


def demonstrate_turns(
    row: Prompt, error_rate: float = 0.0, seed: int = 0, *, tries: int = 2, style: str = "direct"
) -> list[str]:
    """The layout in at most so many tries: each but the last is wrong with probability `error_rate`, and a right one
    is the last."""
    said: list[str] = []
    for k in range(tries):
        said.append(demonstrate(row, style, error_rate if k + 1 < tries else 0.0, seed * tries + k))
        if said[-1] == demonstrate(row, style):
            break
    return said


# Placing


def draw_room(room: Sequence[float], things: Sequence[Thing]) -> render.Canvas:
    """The room from above, north up; a thing is a rectangle of its own colour, later ones on top."""
    sheet = sheets.Sheet(render.SIZE, (200, 200, 200))
    scale = (render.SIZE - 4) / max(room[0], room[1])
    sheet.rectangle([2, render.SIZE - 2 - room[1] * scale, 2 + room[0] * scale, render.SIZE - 2], fill=(245, 240, 230))
    for number, thing in enumerate(things):
        if thing.position is not None:
            x, y, _ = thing.position
            wide, deep, _ = (side / 2 for side in thing.extent)
            left, right = 2 + (x - wide) * scale, 2 + (x + wide) * scale
            low, high = render.SIZE - 2 - (y - deep) * scale, render.SIZE - 2 - (y + deep) * scale
            colour = render.COLOURS[scenes.COLOURS[number % len(scenes.COLOURS)]]
            sheet.rectangle([left, high, right, low], fill=colour, outline=sheets.INK)
    return np.asarray(sheet.picture)


def shell(room: Sequence[float]) -> list[Thing]:
    """The room's walls, middle and ceiling; each wall as long as the side it stands on, turned with it."""
    fixed = furniture.shell((room[0], room[1], room[2]))
    return [replace(t, size=(t.size[1], t.size[0], t.size[2])) if t.angle % 180 else t for t in fixed]


def placed(facts: Mapping[str, Any], positions: Mapping[str, Sequence[float]]) -> list[Thing]:
    """A row's things at these positions, by name; those that are not named have none."""
    things = []
    for entry in facts["things"]:
        thing = _thing(entry)
        at = positions.get(thing.name)
        things.append(replace(thing, position=None if at is None else (at[0], at[1], at[2])))
    return things


def physics(facts: Mapping[str, Any], things: Sequence[Thing]) -> tuple[float, float]:
    """How many pairs collide, and how many things lie where no relation of theirs allows, as shares."""
    room = tuple(facts["room"])
    everything = [*things, *shell(facts["room"])]
    by_name = {thing.name: thing for thing in everything}
    kept = [furniture.is_placed(thing, by_name, room) for thing in things]
    return furniture.collision_ratio(everything), 1 - sum(kept) / len(kept)


def graded(facts: Mapping[str, Any], things: Sequence[Thing]) -> int:
    """A judge by rule, 0 to 50: 10 points for things inside the room, 20 where they should be, 20 apart from others."""
    room = facts["room"]
    collisions, violations = physics(facts, things)
    there = [thing for thing in things if thing.position is not None]
    inside = [
        all(half - 1e-3 <= at <= side - half + 1e-3 for at, side, half in zip(t.position, room, _half(t)))  # type: ignore[arg-type]
        for t in there
    ]
    share = sum(inside) / len(things)
    apart = (1 - min(1.0, 4 * collisions)) * len(there) / len(things)
    return round(10 * share) + round(20 * (1 - violations)) + round(20 * apart)


def _draw_place(
    rng: random.Random,
    split: Split,
    things: int = 3,
    room: Sequence[float] = (6.0, 6.0, 3.0),
    beside: float = 0.6,
) -> Any:
    """Things one after another, each related to one before (with probability `beside`) or to a wall, at a place that
    works."""
    if not 1 <= things <= len(NAMES):
        raise ValueError(f"A room holds from 1 to {len(NAMES)} things, not {things}.")
    size = (float(room[0]), float(room[1]), float(room[2]))
    for _ in range(200):
        done: list[Thing] = []
        everything = {thing.name: thing for thing in shell(size)}
        for name in rng.sample(NAMES, things):
            thing = _put(rng, name, done, everything, size, beside)
            if thing is None:
                break
            done.append(thing)
            everything[name] = thing
        if len(done) == things:
            entries = [
                {"name": t.name, "size": list(t.size), "relations": [list(r) for r in t.relations]} for t in done
            ]
            positions = {t.name: list(t.position or ()) for t in done}
            facts = {"room": list(size), "things": entries, "solution": positions}
            return facts, {"asked": _ask_place(facts)}
    raise ValueError(f"No room of {size} holds {things} things: make it larger.")


def _put(
    rng: random.Random,
    name: str,
    done: Sequence[Thing],
    everything: Mapping[str, Thing],
    room: furniture.Point,
    beside: float,
) -> Thing | None:
    """A thing with a relation, at a place on the floor that the relation allows and nothing else takes."""
    for _ in range(20):
        if done and rng.random() < beside:
            other, relation = rng.choice(list(done)), rng.choice(BESIDE)
        else:
            other, relation = everything[rng.choice(WALLS)], "on"
        thing = Thing(name, SIZES[name], on_floor=True, relations=((relation, other.name, False),))
        ranges = furniture.allowed(thing, other, relation, False, room)
        if any(low > high for low, high in ranges):
            continue
        x, y, z = (_within(rng, low, high) for low, high in ranges)
        thing = replace(thing, position=(x, y, z))
        inside = all(half <= at <= side - half for at, side, half in zip((x, y, z), room, _half(thing)))
        if (
            inside
            and furniture.is_placed(thing, everything, room)
            and not any(furniture.collide(thing, other) for other in done)
        ):
            return thing
    return None


def _within(rng: random.Random, low: float, high: float) -> float:
    """A number in a range, on quarters where the range has one."""
    first, last = -int(-low * 4 // 1), int(high * 4 // 1)
    return rng.randint(first, last) / 4 if first <= last else low


def _half(thing: Thing) -> list[float]:
    return [side / 2 for side in thing.extent]


def _thing(entry: Mapping[str, Any]) -> Thing:
    relations = tuple((r[0], r[1], r[2]) for r in entry["relations"])
    return Thing(entry["name"], tuple(entry["size"]), on_floor=True, relations=relations)


def _written(positions: Mapping[str, Sequence[float]]) -> str:
    items = [{"new_object_id": name, **dict(zip("xyz", at))} for name, at in positions.items()]
    return json.dumps(items)


def _solve_place(facts: dict[str, Any], query: Query) -> Solution:
    said = [f"{t['name']} {t['relations'][0][0]} {t['relations'][0][1]}" for t in facts["things"]]
    answer = _written(facts["solution"])
    wrong = [_written(positions) for positions in _mistakes(facts) if _faulty(facts, positions)]
    return Solution(answer, ", ".join(said), [answer, *wrong])


def _mistakes(facts: Mapping[str, Any]) -> Iterator[dict[str, list[float]]]:
    """The solution seen in a mirror from west to east or from south to north; with one thing moved to the middle."""
    wide, deep, _ = facts["room"]
    right: dict[str, list[float]] = facts["solution"]
    yield {name: [wide - x, y, z] for name, (x, y, z) in right.items()}
    yield {name: [x, deep - y, z] for name, (x, y, z) in right.items()}
    for moved in right:
        yield {name: [wide / 2, deep / 2, at[2]] if name == moved else at for name, at in right.items()}


def _faulty(facts: Mapping[str, Any], positions: Mapping[str, Sequence[float]]) -> bool:
    return physics(facts, placed(facts, positions)) != (0.0, 0.0)


def _ask_place(facts: Mapping[str, Any]) -> str:
    wide, deep, high = facts["room"]
    things = [
        f"{t['name']} {'x'.join(f'{side:g}' for side in t['size'])} {t['relations'][0][0]} {t['relations'][0][1]}"
        for t in facts["things"]
    ]
    return f"Room {wide:g}x{deep:g}x{high:g}. Place: {'; '.join(things)}."


def entries_of(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scene graph as MetaSpatial's rows have it: things first, then walls, the middle of the room, the ceiling."""
    movable = [
        {
            "new_object_id": entry["name"],
            "size_in_meters": dict(zip(("length", "width", "height"), entry["size"])),
            "is_on_the_floor": True,
            "rotation": {"z_angle": 0.0},
            "placement": {
                "objects_in_room": [
                    {"object_id": name, "preposition": relation, "is_adjacent": adjacent}
                    for relation, name, adjacent in entry["relations"]
                    if name not in WALLS
                ],
                "room_layout_elements": [
                    {"layout_element_id": name, "preposition": relation, "is_adjacent": adjacent}
                    for relation, name, adjacent in entry["relations"]
                    if name in WALLS
                ],
            },
        }
        for entry in facts["things"]
    ]
    fixed = [
        {
            "new_object_id": thing.name,
            "size_in_meters": dict(zip(("length", "width", "height"), thing.size)),
            "position": dict(zip("xyz", thing.position or ())),
            "rotation": {"z_angle": thing.angle},
        }
        for thing in shell(facts["room"])
    ]
    return movable + fixed


# Changes


def _draw_changes(
    rng: random.Random, split: Split, low: int = 2, high: int = 5, most: int = 2, mirrored: float = 0.0
) -> Any:
    """Shapes before and after: 1 to `most` attributes changed, each of another shape."""
    before = [_sized(thing, rng.choice((SMALL, LARGE))) for thing in scenes.place(rng, _kinds(rng, low, high))]
    after = [dict(thing) for thing in before]
    changes = []
    for index in sorted(rng.sample(range(len(before)), rng.randint(1, min(most, len(before))))):
        attribute = rng.choice(("color", "shape", "size"))
        if attribute == "size":
            value = _other_size(before[index])
            after[index] = _sized(after[index], SMALL if value == "small" else LARGE)
        else:
            key, values = VALUES[attribute]
            value = rng.choice([other for other in values if other != before[index][key]])
            after[index][key] = value
        changes.append([index + 1, attribute, value])
    mirror = rng.random() < mirrored
    if mirror:
        after = [_mirrored(thing) for thing in after]
    facts = {"before": before, "after": after, "changes": changes, "mirrored": mirror}
    return facts, {"table": attribute_table(facts)}


def _kinds(rng: random.Random, low: int, high: int) -> list[scenes.Kind]:
    return rng.sample(scenes.KINDS, rng.randint(low, high))


def _sized(thing: dict[str, Any], side: int) -> dict[str, Any]:
    """The shape with another size, in its cell."""
    cell = scenes.CELLS.index(thing["cell"])
    left, top = cell % 3 * render.CELL, cell // 3 * render.CELL
    x, y = (min(at, edge + render.CELL - side) for at, edge in zip(thing["box"][:2], (left, top)))
    return thing | {"box": [x, y, x + side, y + side]}


def _size_of(thing: Mapping[str, Any]) -> str:
    return "large" if thing["box"][2] - thing["box"][0] == LARGE else "small"


def _mirrored(thing: dict[str, Any]) -> dict[str, Any]:
    x1, y1, x2, y2 = thing["box"]
    return thing | {"box": [render.SIZE - x2, y1, render.SIZE - x1, y2]}


def attribute_table(facts: Mapping[str, Any], when: str = "before") -> str:
    """The shapes before (or "after"), in reading order of the first view: `1 small red circle, 2 large blue cross`."""
    return ", ".join(f"{i + 1} {_size_of(t)} {scenes.name(t)}" for i, t in enumerate(facts[when]))


def _solve_changes(facts: dict[str, Any], query: Query) -> Solution:
    changes = facts["changes"]
    wrong = [*_less_or_more(facts), *([*changes[:k], change, *changes[k + 1 :]] for k, change in _otherwise(facts))]
    answer = _listed(changes)
    choices = dict.fromkeys([answer, *map(_listed, wrong)])
    return Solution(answer, attribute_table(facts, "after"), list(choices))


def _listed(changes: Sequence[Sequence[Any]]) -> str:
    return ", ".join(".".join(map(str, change)) for change in changes)


def _less_or_more(facts: Mapping[str, Any]) -> Iterator[list[list[Any]]]:
    """The changes with one left out, or with one of another shape besides."""
    changes = facts["changes"]
    if len(changes) > 1:
        yield from (changes[:k] + changes[k + 1 :] for k in range(len(changes)))
    changed = {index for index, _, _ in changes}
    for index, thing in enumerate(facts["before"], 1):
        if index not in changed:
            yield sorted([*changes, [index, "size", _other_size(thing)]])


def _otherwise(facts: Mapping[str, Any]) -> Iterator[tuple[int, list[Any]]]:
    """For each change, the wrong value, and the wrong attribute, that it might be mistaken for."""
    for k, (index, attribute, value) in enumerate(facts["changes"]):
        for other, (key, values) in VALUES.items():
            left = [v for v in values if v not in (value, facts["before"][index - 1][key])]
            yield k, [index, other, left[index % len(left)]]
        if attribute != "size":
            yield k, [index, "size", _other_size(facts["before"][index - 1])]


def _other_size(thing: Mapping[str, Any]) -> str:
    return "small" if _size_of(thing) == "large" else "large"


def _media_changes(facts: dict[str, Any]) -> list[Part]:
    return [image(render.picture(scenes.draw_canvas(facts[when]))) for when in ("before", "after")]


def _media_place(facts: dict[str, Any]) -> list[Part]:
    return [image(render.picture(draw_room(facts["room"], [])))]


def _with_columns(row: Prompt) -> Prompt:
    facts = row.columns["facts"]
    if row.columns["task"] == "changes":
        more = {"changes": facts["changes"], "table": attribute_table(facts)}
    else:
        more = {"entries": entries_of(facts), "room": facts["room"]}
    return replace(row, columns={**row.columns, **more})


_TASKS: dict[str, Task] = {
    "place": Task(_draw_place, lambda q: q["asked"], _solve_place, _media_place, _ask_place),
    "changes": Task(
        _draw_changes,
        lambda q: f"{q['table']}. What changed? index.attribute.value",
        _solve_changes,
        _media_changes,
        attribute_table,
        ("1.color.red", "1.shape.circle", "1.size.small"),
    ),
}
TASKS = tuple(_TASKS)

_OFFERED = base.Offered("rooms", _TASKS, _with_columns)
rows, demonstrate, answers = _OFFERED.rows, _OFFERED.demonstrate, _OFFERED.answers
