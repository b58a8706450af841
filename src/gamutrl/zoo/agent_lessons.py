"""What `agent-tiny` is taught: each system's task, in its own notation, through the environment that its recipe uses.

A lesson is demonstrated in styles of unequal worth (a look and the right answer, a look that goes astray first, an
answer at once that is a guess), so that the model can do all of them and reinforcement learning chooses. What stands
after the question (`asked`) tells a model that knows all systems which one is meant: recipes put the same there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gamutrl.core import Prompt, Rollout
from gamutrl.data.sources import Changed, WorldRows
from gamutrl.data.transforms import WithSuffix
from gamutrl.data.worlds import charts, clutter, films, forms, games, library, scenes, turns
from gamutrl.data.worlds.turns import AtOnce, Demonstration, Drawn, Grounded, Look, Writer
from gamutrl.environments import Environment, SingleTurn, looking
from gamutrl.environments.playing import Playing
from gamutrl.environments.proposing import Proposing
from gamutrl.environments.refining import Refining, room_grade
from gamutrl.environments.tools.charts import PointAt, ZoomPanel
from gamutrl.environments.tools.crop import View
from gamutrl.environments.tools.detect import Exact
from gamutrl.environments.tools.frames import PickFrames
from gamutrl.environments.tools.pages import Search
from gamutrl.rewards.answers import accuracy, same_text
from gamutrl.rewards.tags import tag_text

Target = Callable[[Prompt, int], Any]
"""`(prompt, seed) -> a text, or the texts of several turns`."""
VIEW = (72, 72)
"""The size in which the model sees all pictures and writes coordinates."""


def answered(prompt: Prompt, rollout: Rollout) -> float:
    """Whether the last turn's tagged answer is the row's."""
    return accuracy(rollout.turns[-1].text, prompt.answer, compare=same_text)


@dataclass(frozen=True)
class Lesson:
    """A system's task, how often it comes, and how it is demonstrated.

    targets: `(share, target)`. asked: stands after the question. right: how right a rollout of the model is, in [0, 1].
    """

    system: str
    world: str
    task: str
    targets: Sequence[tuple[float, Target]]
    knobs: Mapping[str, Any] = field(default_factory=dict)
    asked: str = ""
    environment: Environment = SingleTurn()
    weight: float = 1.0
    right: Callable[[Prompt, Rollout], float] = answered
    max_tokens: int = 96

    @property
    def name(self) -> str:
        return f"{self.system}: {self.world} {self.task}"

    def rows(self, split: str, size: int = 0) -> Changed:
        """Its prompts as the model meets them."""
        return Changed(WorldRows(self.world, self.task, split, self.knobs, size), WithSuffix(self.asked))  # type: ignore[arg-type]


# How the systems' tasks are demonstrated, where the worlds' own demonstrations do not say it


@dataclass(frozen=True)
class Unsure:
    """Looks with probability `look` where one must, `idle` where one need not; without a look an answer is a guess.

    write: the notation. detour: how often a look goes astray first. error_rate: of answers after a look.
    """

    write: Writer
    look: float = 0.6
    idle: float = 0.3
    detour: float = 0.2
    error_rate: float = 0.05
    guess: float = 0.5

    def __call__(self, prompt: Prompt, seed: int) -> list[str]:
        rng, columns = random.Random(f"{prompt.id}/unsure/{seed}"), prompt.columns
        if columns["evidence"]:
            if rng.random() < self.look:
                return Demonstration(self.write, self.error_rate, self.detour)(prompt, seed)
            return [AtOnce("direct", self.guess)(prompt, seed)]
        said = [AtOnce("work", self.error_rate)(prompt, seed)]
        if rng.random() < self.idle and (box := _asked_about(prompt, rng)):
            said.insert(0, self.write(box))
        return said


def _asked_about(prompt: Prompt, rng: random.Random) -> Look | None:
    """A look at what the question is about, where nothing need be looked at."""
    facts, query = prompt.columns["facts"], prompt.columns["query"]
    if prompt.columns["world"] == "films":
        return Look("look at a frame", {"frames": [rng.randint(1, facts["frames"])]})
    found = [thing for thing in facts["things"] if thing["shape"] == query.get("shape")]
    return Look(f"look at the {query['shape']}", {"box": found[0]["box"]}) if found else None


@dataclass(frozen=True)
class Seeking:
    """Looks at one shape after another for the digit that is asked for: at all of them, or at some and then guesses.

    thorough: how often at all. What was seen is told before the answer.
    """

    write: Writer
    thorough: float = 0.35

    def __call__(self, prompt: Prompt, seed: int) -> list[str]:
        rng = random.Random(f"{prompt.id}/seeking/{seed}")
        things, asked = prompt.columns["facts"]["things"], prompt.columns["query"]["digit"]
        seen = things if rng.random() < self.thorough else rng.sample(things, rng.randint(0, len(things) - 1))
        left = [thing for thing in things if thing not in seen] or seen
        answer = next((thing for thing in seen if thing["digit"] == asked), None) or rng.choice(left)
        said = [self.write(Look(f"look at the {scenes.name(thing)}", {"box": thing["box"]})) for thing in seen]
        told = ", ".join(f"{scenes.name(thing)} {thing['digit']}" for thing in seen)
        return [*said, forms.write("think", scenes.name(answer), told)]


@dataclass(frozen=True)
class Told:
    """A target by any function of a world, called as `tell(row, seed=…, **options)`."""

    tell: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, prompt: Prompt, seed: int) -> Any:
        return self.tell(prompt, seed=seed, **self.options)


def terminated_right(prompt: Prompt, rollout: Rollout) -> float:
    """Whether the `ans` of the last turn is the row's answer."""
    return float(f'"ans": "{prompt.answer}"' in rollout.turns[-1].text)


def scored(prompt: Prompt, rollout: Rollout) -> float:
    """Whether the move scores."""
    return float(rollout.turns[-1].info.get("reward", -1.0) > 0)


def well_picked(prompt: Prompt, rollout: Rollout) -> float:
    """Whether the first reader that is asked is the best one for the kind of chart."""
    reliable = charts.RELIABLE[prompt.columns["facts"]["kind"]]
    return float(tag_text(rollout.turns[-1].text, missing="empty")[:1] == str(reliable.index(max(reliable))))


def furnished(prompt: Prompt, rollout: Rollout) -> float:
    """Whether the last layout keeps all relations and nothing collides."""
    return float(room_grade(prompt, rollout.turns[-1].text) >= 1)


@dataclass(frozen=True)
class Boxes:
    """Active-O3: the regions to look at, on a coarse grid, exact, or misplaced."""

    coarse: float = 0.5
    error_rate: float = 0.25

    def __call__(self, prompt: Prompt, seed: int) -> str:
        rng = random.Random(f"{prompt.id}/boxes/{seed}")
        return AtOnce("coarse" if rng.random() < self.coarse else "fine", self.error_rate)(prompt, seed)


def found(prompt: Prompt, rollout: Rollout) -> float:
    """The share of targets that a detector finds in the regions proposed."""
    targets = prompt.columns["targets"]
    boxes = [one["bbox_2d"] for one in rollout.turns[-1].info.get("found", [])]
    hit = sum(any(abs(72 * b[0] - t[0]) < 1 and abs(72 * b[1] - t[1]) < 1 for b in boxes) for t in targets)
    return hit / max(1, len(targets))


# The lessons

SIDE = 504
PAGE = {"form": "think", "side": SIDE, "low": 2, "high": 3, "inks": (4.5,)}
COUNT = {"low": 2, "high": 4, "most": 3}

ASKED = {
    "deepeyes": " Call image_zoom_in_tool if needed.",
    "pixel_reasoner": " Crop or select frames if needed.",
    "cof": " Zoom in on regions, or answer.",
    "ground_r1": " Look at regions in <box></box>.",
    "vigorl": " Look at points by search_coordinate.",
    "vilasr": " Draw boxes, then answer.",
    "grit": " Reply <think></think><rethink></rethink><answer></answer> with boxes.",
    "active_o3": " Propose regions.",
    "vrag_rl": " Use <search></search>, <bbox></bbox>.",
}
"""What stands after the questions of systems whose form of answer does not tell them from others."""


def _acted(tools: tuple[str, ...], error_rate: float = 0.05) -> Demonstration:
    """OpenThinkIMG: one of these tools on the mark that is asked for, then the answer; without a tool, a guess."""
    options: dict[str, Any] = {"tools": tools or ("Point",), "hasty": float(not tools), "form": "actions"}
    return Demonstration(turns.json_action, error_rate, options=options)


LESSONS: tuple[Lesson, ...] = (
    # DeepEyes: half of the questions need a closer look, half do not.
    Lesson(
        "deepeyes",
        "pages",
        "mixed",
        ((1.0, Unsure(turns.zoom_call, look=0.6, idle=0.4)),),
        PAGE,
        ASKED["deepeyes"],
        looking.zoom(frame=VIEW, square=True),
        weight=1.6,
    ),
    # Pixel-Reasoner: crops that often go astray, and frames of a film.
    Lesson(
        "pixel_reasoner",
        "pages",
        "digit",
        ((1.0, Unsure(turns.crop_or_frames_call, look=0.5, detour=0.35)),),
        {**PAGE, "inks": (6.0,)},
        ASKED["pixel_reasoner"],
        looking.zoom_or_frames(frame=VIEW, square=True, calls=3),
        weight=1.2,
    ),
    Lesson(
        "pixel_reasoner",
        "films",
        "digit",
        ((1.0, Unsure(turns.crop_or_frames_call, look=0.5, detour=0.3)),),
        {"form": "think", "frames": 9, "others": 0},
        ASKED["pixel_reasoner"],
        looking.zoom_or_frames(frame=VIEW, square=True, calls=3, select=PickFrames(films.frames_of)),
        weight=1.0,
    ),
    # Chain-of-Focus
    Lesson(
        "cof",
        "pages",
        "mixed",
        ((1.0, Unsure(turns.zoom_call, look=0.6, idle=0.5)),),
        PAGE,
        ASKED["cof"],
        looking.zoom_several(frame=VIEW, square=True, turns=4),
    ),
    # Ground-R1
    Lesson(
        "ground_r1",
        "pages",
        "digit",
        ((1.0, Unsure(turns.box_tag, look=0.7, detour=0.25)),),
        PAGE,
        ASKED["ground_r1"],
        looking.evidence(frame=VIEW, square=True, turns=3),
    ),
    # ViGoRL
    Lesson(
        "vigorl",
        "pages",
        "digit",
        ((1.0, Unsure(turns.point_call, look=0.6, detour=0.25)),),
        PAGE,
        ASKED["vigorl"],
        looking.points(frame=VIEW, half=63, side=144),
        weight=0.5,
    ),
    Lesson(
        "vigorl",
        "pages",
        "find",
        ((1.0, Seeking(turns.point_call)),),
        PAGE,
        ASKED["vigorl"],
        looking.points(frame=VIEW, half=63, side=144),
        weight=1.0,
    ),
    # ViLaSR
    Lesson(
        "vilasr",
        "scenes",
        "relation",
        ((0.55, Drawn(0.05, detour=0.15)), (0.45, Drawn(0.5, looks=False))),
        {"form": "plain", "low": 2, "high": 3},
        ASKED["vilasr"],
        looking.drawing(frame=VIEW, turns=4, pictures=8, width=1, labels=False),
        max_tokens=128,
    ),
    # GRIT
    Lesson(
        "grit",
        "scenes",
        "count",
        ((0.55, Grounded(0.05, detour=0.2)), (0.45, Grounded(0.4, looks=False))),
        {"form": "plain", **COUNT},
        ASKED["grit"],
        max_tokens=128,
        weight=0.6,
    ),
    Lesson(
        "grit",
        "scenes",
        "relation",
        ((0.55, Grounded(0.05, detour=0.1)), (0.45, Grounded(0.5, looks=False))),
        {"form": "plain", "low": 2, "high": 3},
        ASKED["grit"],
        max_tokens=128,
        weight=0.6,
    ),
    # Active-O3
    Lesson(
        "active_o3",
        "clutter",
        "regions",
        ((1.0, Boxes()),),
        {"form": "think", "boxes": "bbox_2d", "patches": 2, "each": 3, "others": 12, "size": 4.0, "side": SIDE},
        ASKED["active_o3"],
        Proposing(Exact(clutter.detect)),
        right=found,
        max_tokens=128,
    ),
    # OpenThinkIMG
    Lesson(
        "openthinkimg",
        "charts",
        "value",
        (
            (0.3, _acted(("Point",))),
            (0.25, _acted(("ZoomInSubfigure",), error_rate=0.2)),
            (0.45, _acted((), error_rate=0.3)),
        ),
        {"form": "actions", "kind": "bar", "marks": 3},
        "",
        looking.chart_actions(
            {"ZoomInSubfigure": ZoomPanel(charts.panels_of), "Point": PointAt(charts.place_of)}, rounds=4
        ),
        right=terminated_right,
    ),
    # VRAG-RL
    Lesson(
        "vrag_rl",
        "library",
        "digit",
        (
            (0.55, Demonstration(turns.search_or_crop_tag, 0.05, 0.2, {"stray": 0.3})),
            (0.45, Demonstration(turns.search_or_crop_tag, 0.0, 0.0, {"hasty": 1.0, "stray": 0.3})),
        ),
        {"form": "think", "pages": 24, "collections": 50, "side": 432},
        ASKED["vrag_rl"],
        looking.searching(Search(library.collection_of), frame=VIEW, square=True, view=View()),
    ),
    # G1
    Lesson(
        "g1",
        "games",
        "2048",
        (
            (0.6, Told(games.perceived, {"error_rate": 0.25, "misread": 0.25})),
            (0.4, Told(games.perceived, {"style": "direct", "error_rate": 0.5, "misread": 0.6})),
        ),
        {"form": "perception", "size": 3, "plays": (0, 8), "telling": True},
        "",
        Playing(),
        right=scored,
        max_tokens=128,
    ),
    # VISTA
    Lesson(
        "vista",
        "charts",
        "value",
        ((1.0, Told(charts.choose_readers, {"error_rate": 0.65})),),
        {"form": "plain", "kind": "any", "marks": 3},
        charts.OFFERED,
        weight=0.5,
        right=well_picked,
        max_tokens=24,
    ),
    # STAR-R1
    Lesson(
        "star_r1",
        "rooms",
        "changes",
        ((0.5, AtOnce("work", 0.1)), (0.5, AtOnce("direct", 0.4))),
        {"form": "think", "low": 2, "high": 3, "most": 2},
    ),
    # MetaSpatial
    Lesson(
        "metaspatial",
        "rooms",
        "place",
        ((1.0, Demonstration(None, 0.6)),),
        {"form": "think", "things": 2, "room": (4.0, 4.0, 3.0)},
        "",
        Refining(turns=2),
        weight=1.0,
        right=furnished,
        max_tokens=160,
    ),
)


def drawn(lessons: Sequence[Lesson], n: int, seed: int) -> Iterator[tuple[Lesson, Prompt, Any]]:
    """`n` of the lessons, by weight: each with a row, and what is said of it."""
    rng = random.Random(f"agent/{seed}")
    for i, lesson in enumerate(rng.choices(lessons, [lesson.weight for lesson in lessons], k=n)):
        (row,) = lesson.rows("train").source.module.rows(  # type: ignore[attr-defined]
            "train", 1, seed * 100_000 + i, task=lesson.task, **lesson.knobs
        )
        row = WithSuffix(lesson.asked)(row, 0)
        ((_, target),) = rng.choices(lesson.targets, [share for share, _ in lesson.targets])
        yield lesson, row, target(row, seed)
