"""What a layout of a room is worth: whether it can be read, what collides, which relations are broken (MetaSpatial,
2503.18470).

A row has the columns `entries`, a scene graph whose entries without a position are to be placed, and `room`, its sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, tensor

from gamutrl.core import Batch, Context, Message, Prompt, Rollout, image, text
from gamutrl.data.worlds import furniture, render, rooms
from gamutrl.data.worlds.furniture import Thing
from gamutrl.rewards.asking import ask
from gamutrl.rewards.combine import discounted_mean
from gamutrl.rewards.parsing import json_in, loads, numbers
from gamutrl.rewards.tags import tag_format, tag_text

Entries = Sequence[Mapping[str, Any]]
GRADES = (
    "This is a room from above, made for: {wish}. Grade it from 1 to 10 for realism and consistency in space, for "
    "function, for layout and furniture, for colours and materials, and as a whole. Reply with a JSON list of five "
    "numbers."
)
LONGEST = 20_000
"""Characters of an answer that are read."""


@dataclass(frozen=True)
class Furnished:
    """A room: what was placed, what was there before (walls, ceiling), and its sides in metres."""

    placed: Sequence[Thing]
    fixed: Sequence[Thing]
    sides: tuple[float, float, float]

    def faults(self, margin: float | None = None) -> Iterator[tuple[Thing, float, float]]:
        """Each thing placed, with the share of all others that it collides with, and 1 if none of its relations holds.

        margin: see `furniture.allowed`.
        """
        everything = [*self.placed, *self.fixed]
        by_name = {thing.name: thing for thing in everything}
        for thing in self.placed:
            hits = sum(furniture.collide(thing, other) for other in everything if other is not thing)
            kept = furniture.is_placed(thing, by_name, self.sides, margin=margin)
            yield thing, hits / (len(everything) - 1), float(not kept)

    def ratios(self, margin: float | None = None) -> tuple[float, float]:
        """The share of pairs that collide, and of things placed whose relations are broken."""
        broken = [missed for _, _, missed in self.faults(margin)]
        return furniture.collision_ratio([*self.placed, *self.fixed]), sum(broken) / len(broken)

    @property
    def grade(self) -> int:
        """What a judge by rule gives, 0 to 50."""
        return rooms.graded({"room": self.sides}, self.placed)


def layout_in(said: str) -> dict[str, list[float]]:
    """The positions that an answer gives, by name; items that are none are left out."""
    value = json_in(tag_text(said, missing="empty"))
    items = value if isinstance(value, list) else []
    found: dict[str, list[float]] = {}
    for item in items[:256]:
        if isinstance(item, dict) and isinstance(item.get("new_object_id"), str):
            place = numbers([item.get(axis) for axis in "xyz"], 3)
            if place is not None:
                found[item["new_object_id"]] = list(place)
    return found


def furnished(said: str, entries: Entries, room: Any) -> Furnished | None:
    """The room as an answer furnishes it; None unless it places all that is to be placed, and nothing else."""
    positions = layout_in(said[:LONGEST])
    things = [furniture.thing_of(entry) for entry in entries]
    if not positions or set(positions) != {thing.name for thing in things if thing.position is None}:
        return None
    placed = [replace(t, position=tuple(positions[t.name])) for t in things if t.position is None]  # type: ignore[arg-type]
    x, y, z = room.values() if isinstance(room, Mapping) else room
    return Furnished(placed, [thing for thing in things if thing.position is not None], (float(x), float(y), float(z)))


def readable(said: str, things: int) -> float:
    """0 without the tags, 0.1 if the answer is no JSON, 0.5 if it holds another number of items, else 1."""
    if not tag_format(said, strip=True):
        return 0.0
    layout = loads(tag_text(said, missing="empty"))
    return 0.1 if not isinstance(layout, list | dict | str) else 0.5 if len(layout) != things else 1.0


def total(layout: float, grade: float | None, collisions: float, broken: float, *, physics: float = 0.2) -> float:
    """Half of how readable it is; if it is, and there is a grade (0 to 50), that grade too, less what physics costs."""
    if layout < 1 or grade is None:
        return 0.5 * layout
    return grade / 50 + 0.5 * layout - physics * (collisions + broken)


def worth(prompt: Prompt, said: str) -> float:
    """The reward of one layout of the row's room, judged by rule: a grade for `refining.Refining`."""
    entries = prompt.columns["entries"]
    layout = readable(said, sum(not entry.get("position") for entry in entries))
    made = furnished(said, entries, prompt.columns["room"])
    return total(layout, None, 0.0, 0.0) if made is None else total(layout, made.grade, *made.ratios())


def sound(said: str, entries: Entries, room: Any) -> float:
    """1 if every thing lies where a relation of its own wants it, and nothing collides."""
    made = furnished(said, entries, room)
    return float(made is not None and made.ratios() == (0.0, 0.0))


def kept(said: str, entries: Entries, room: Any) -> float:
    """The share of things that lie where a relation of their own wants them; 0 for a room that was not furnished."""
    made = furnished(said, entries, room)
    return 0.0 if made is None else 1 - made.ratios()[1]


def collisions(said: str, entries: Entries, room: Any) -> float | None:
    """The share of pairs that collide, in rooms that were furnished."""
    made = furnished(said, entries, room)
    return None if made is None else made.ratios()[0]


@dataclass(frozen=True)
class Refined:
    """The discounted mean of a trajectory's tries. judge: a responder that grades their pictures; "": the rule."""

    gamma: float = 0.9
    judge: str = ""

    def __call__(self, batch: Batch, context: Context) -> Tensor:
        rewards: list[list[float]] = [[] for _ in batch.rollouts]
        for t in range(max((len(rollout.turns) for rollout in batch.rollouts), default=0)):
            made_R = [furnished_by(rollout, t) for rollout in batch.rollouts]
            grades = [None if made is None else made.grade for made in made_R]
            if self.judge:
                asked = [None if made is None else _shown(r, made) for r, made in zip(batch.rollouts, made_R)]
                grades = [_grade(reply) for reply in ask(batch, context, self.judge, asked)]
            for mine, rollout, made, grade in zip(rewards, batch.rollouts, made_R, grades):
                if t < len(rollout.turns):
                    things = sum(not entry.get("position") for entry in rollout.prompt.columns["entries"])
                    layout = readable(rollout.turns[t].text, things)
                    physics = (0.0, 0.0) if made is None else made.ratios()
                    mine.append(total(layout, None if made is None else grade, *physics))
        return tensor([discounted_mean(mine, self.gamma) for mine in rewards])


def furnished_by(rollout: Rollout, t: int) -> Furnished | None:
    """The room as a rollout's turn furnishes it; None where it does not, or there is no such turn."""
    columns = rollout.prompt.columns
    return furnished(rollout.turns[t].text, columns["entries"], columns["room"]) if t < len(rollout.turns) else None


def _shown(rollout: Rollout, made: Furnished) -> list[Message]:
    picture = image(render.picture(rooms.draw_room(made.sides, made.placed)))
    wish = rollout.prompt.columns.get("user_preference", "any use")
    return [Message("user", (picture, text(GRADES.replace("{wish}", str(wish)))))]


def _grade(reply: str | None) -> int | None:
    """The sum of five grades, each within 0 to 10; None where there are none."""
    grades = numbers(json_in(reply or ""))
    return sum(int(min(10, max(0, grade))) for grade in grades[:5]) if grades else None
