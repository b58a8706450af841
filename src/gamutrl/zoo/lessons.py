"""What `vlm-tiny` is taught: which tasks, in which forms, and how well each is demonstrated.

Two halves. Plain questions are answered exactly: there the model learns to see. Questions in the recipes' forms are
demonstrated in styles of unequal worth (boxes right but coarse, answers at once but often wrong, reasoning spelled out
and right): there it becomes half-competent, so that reinforcement learning has something to choose from.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from gamutrl.core import Part, Prompt
from gamutrl.data.worlds import clips, digits, puzzles, scenes

Styles = tuple[tuple[float, str, float], ...]
"""(share, style, error rate) of the demonstrations."""

EXACT: Styles = ((1.0, "fine", 0.0),)
BOXES: Styles = ((0.55, "coarse", 0.05), (0.45, "fine", 0.05))
REASONED: Styles = ((0.5, "direct", 0.45), (0.5, "work", 0.05))
GUESSED: Styles = ((1.0, "direct", 0.35),)


@dataclass(frozen=True)
class Lesson:
    """A task of a world with its knobs, how often it comes, and how it is demonstrated."""

    world: ModuleType
    task: str
    weight: float
    styles: Styles = EXACT
    knobs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """Media, and one or more questions about them, each with its reply."""

    media: list[Part]
    dialogues: list[tuple[str, str]]


def _lessons(world: ModuleType, weight: float, styles: Styles, tasks: str, **knobs: Any) -> list[Lesson]:
    return [Lesson(world, task, weight, styles, knobs) for task in tasks.split()]


THINK = {"form": "think"}
FIRST: list[Lesson] = [
    *_lessons(digits, 1.5, EXACT, "read", low=4),
    *_lessons(scenes, 1.0, EXACT, "read caption everything", low=3, high=7),
    *_lessons(digits, 0.7, EXACT, "everything classify locate"),
    *_lessons(scenes, 0.7, EXACT, "locate attribute point"),
    *_lessons(scenes, 0.5, EXACT, "numbers", steps=1),
]
"""Dense reading, until language has learned to look."""
STILLS: list[Lesson] = [
    # seeing
    *_lessons(scenes, 1.0, EXACT, "count attribute relation compare statement locate detect point numbers"),
    *_lessons(scenes, 0.5, EXACT, "options arithmetic"),
    *_lessons(scenes, 0.3, EXACT, "locate detect count", overlap=True),
    *_lessons(scenes, 0.5, EXACT, "numbers", steps=1),
    *_lessons(digits, 1.5, EXACT, "read count locate detect sum"),
    *_lessons(digits, 1.0, EXACT, "classify"),
    # the recipes' forms
    *_lessons(scenes, 1.0, BOXES, "locate detect", boxes="position", **THINK),
    *_lessons(scenes, 1.0, BOXES, "locate detect", boxes="bbox_2d", **THINK),
    *_lessons(scenes, 0.8, BOXES, "locate detect", boxes="native"),
    *_lessons(digits, 0.8, BOXES, "locate detect", boxes="position", **THINK),
    *_lessons(digits, 0.4, BOXES, "locate detect", boxes="bbox_2d", **THINK),
    *_lessons(digits, 0.4, BOXES, "locate detect", boxes="native"),
    *_lessons(scenes, 0.6, REASONED, "count attribute relation compare statement options arithmetic", **THINK),
    *_lessons(scenes, 0.3, REASONED, "options", guessable=0.6, **THINK),
    *_lessons(scenes, 0.3, REASONED, "options", misleading=0.4, **THINK),
    *_lessons(scenes, 0.6, REASONED, "numbers attribute count", form="info"),
    *_lessons(digits, 0.8, REASONED, "count sum", **THINK),
    *_lessons(digits, 0.5, GUESSED, "classify", **THINK),
    *_lessons(digits, 0.4, GUESSED, "count sum classify", form="answer"),
    *_lessons(scenes, 0.2, GUESSED, "count attribute relation statement", form="answer"),
    *_lessons(puzzles, 0.4, EXACT, "full", shape=(2, 1)),
    *_lessons(puzzles, 0.4, EXACT, "full", shape=(3, 1)),
    *_lessons(puzzles, 0.4, EXACT, "full", shape=(2, 2)),
    *_lessons(puzzles, 0.3, REASONED, "full pair", shape=(2, 1), **THINK),
    *_lessons(puzzles, 0.3, REASONED, "full pair", shape=(3, 1), **THINK),
    *_lessons(puzzles, 0.3, REASONED, "full pair", shape=(2, 2), **THINK),
]
SEVERAL: list[Lesson] = [
    *_lessons(scenes, 1.0, EXACT, "images"),
    *_lessons(digits, 1.0, EXACT, "images sum_images"),
    *_lessons(scenes, 1.0, REASONED, "images", **THINK),
    *_lessons(digits, 1.0, REASONED, "images sum_images", **THINK),
]
CLIPS: list[Lesson] = [
    *_lessons(clips, 1.0, EXACT, "caption direction order count span truths choice"),
    *_lessons(digits, 0.7, EXACT, "order direction"),
    *_lessons(clips, 1.0, REASONED, "direction order count span truths choice", **THINK),
    *_lessons(digits, 0.5, REASONED, "order direction", **THINK),
]


def examples(lessons: list[Lesson], n: int, seed: int, branches: int = 3, varied: bool = False) -> Iterator[Example]:
    """`n` training examples: a lesson each, and more plain questions about what it shows where its world has them.

    varied: of different kinds, each as likely; else mostly about where the objects are.
    """
    rng = random.Random(f"lessons/{seed}")
    weights = [lesson.weight for lesson in lessons]
    for i, lesson in enumerate(rng.choices(lessons, weights, k=n)):
        (row,) = lesson.world.rows("train", 1, seed * 100_000 + i, task=lesson.task, **lesson.knobs)
        ((_, style, error_rate),) = rng.choices(lesson.styles, [share for share, _, _ in lesson.styles])
        dialogues = [(row.messages[0].text, lesson.world.demonstrate(row, style, error_rate, seed))]
        more = varied_dialogues if varied else more_dialogues
        yield Example(row.media, dialogues + more(rng, lesson.world, row, branches - 1))


def more_dialogues(rng: random.Random, world: ModuleType, row: Prompt, n: int) -> list[tuple[str, str]]:
    """At most `n` more plain questions about a row's canvas, answered exactly."""
    facts = row.columns["facts"]
    if not _has_more(world, row):
        return []
    asked = world.more_questions(rng, facts)
    return [world.answer_to(task, facts, query) for task, query in rng.sample(asked, min(n, len(asked)))]


def varied_dialogues(rng: random.Random, world: ModuleType, row: Prompt, n: int) -> list[tuple[str, str]]:
    """The same about a row's canvas or clip, of different kinds."""
    facts = row.columns["facts"]
    if world is not clips and not _has_more(world, row):
        return []
    asked = [(task, query) for task, query in world.varied_questions(rng, facts) if task != row.columns["task"]]
    return [world.answer_to(task, facts, query) for task, query in rng.sample(asked, min(n, len(asked)))]


def _has_more(world: ModuleType, row: Prompt) -> bool:
    facts = row.columns["facts"]
    if len(row.media) != 1 or row.media[0].kind != "image" or not facts or world is puzzles:
        return False
    if world is digits:
        return row.columns["query"].get("grid", 3) == 3
    return "number" not in facts[0]
