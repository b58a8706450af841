"""What `janus-tiny` is taught: to draw what is asked, to plan first, and to read pictures.

Plans are wrong now and then and the picture follows its plan, so there is something left for reinforcement learning to
choose from. Batch k of a phase is a function of the seed and k only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gamutrl.core import Prompt
from gamutrl.data.worlds import pictures, render
from gamutrl.data.worlds.pictures import Thing
from gamutrl.data.worlds.scenes import COLOURS, KINDS
from gamutrl.zoo.janus import BOI, COUNT, EOI, EOS, IMAGE, PAD, SIDE

DESCRIBE, PLAN, READ = "Describe: ", "Plan: ", "What is in the picture?"
"""What is put before a prompt to get a plan as a text of its own, or a plan that runs on into its picture; and what
asks for all that a picture shows."""

KINDS_OF_LESSON = {"draw": 0.4, "plan": 0.2, "describe": 0.1, "follow": 0.1, "read": 0.2}
ERRORS = 0.25
DROPPED = 0.1
DIGITS = 0.12


@dataclass(frozen=True)
class Lesson:
    """One sequence: words, then the codes of a picture, or a picture to look at among the words.

    spans: texts with whether they are to be learned. drawn: what is drawn after them. seen: what is looked at.
    """

    spans: tuple[tuple[str, bool], ...]
    drawn: render.Canvas | None = None
    seen: render.Canvas | None = None


@dataclass(frozen=True)
class Batch:
    """Lessons as tensors: tokens `[B, L]` right-padded, the targets of words (-100: none), and pictures.

    drawn_B, seen_B: which rows draw and look. start_B: where in L the codes begin.
    """

    ids_BL: Tensor
    target_BL: Tensor
    start_B: Tensor
    drawn_B: Tensor
    drawn_MCHW: Tensor
    seen_B: Tensor
    seen_MCHW: Tensor


def canvases(seed: int, count: int) -> Tensor:
    """Pictures of any kinds at any places, and digits, in [-1, 1], `[count, 3, SIDE, SIDE]`: what the codes learn."""
    rng = random.Random(f"canvases/{seed}")
    return pixels([pictures.draw(_scattered(rng), SIDE) for _ in range(count)])


def _scattered(rng: random.Random) -> list[Thing]:
    if rng.random() < DIGITS:
        return list(_digit(rng).columns["facts"])
    things = []
    for cell in rng.sample(range(4), rng.choice((1, 2, 2, 3, 4))):
        colour, shape = rng.choice(KINDS)
        side = rng.uniform(0.6, 0.8)
        x, y = ((cell % 2 + rng.uniform(0.08, 0.92 - side)) / 2, (cell // 2 + rng.uniform(0.08, 0.92 - side)) / 2)
        things.append({"shape": shape, "colour": colour, "box": [x, y, x + side / 2, y + side / 2]})
    return things


def pixels(found: Sequence[render.Canvas]) -> Tensor:
    """Canvases in uint8 to `[M, 3, H, W]` in [-1, 1], as the processor makes them."""
    if not found:
        return torch.zeros(0, 3, SIDE, SIDE)
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def lessons(seed: int, count: int) -> list[Lesson]:
    """`count` lessons."""
    rng = random.Random(f"lessons/{seed}")
    names, shares = list(KINDS_OF_LESSON), list(KINDS_OF_LESSON.values())
    rows = pictures.rows("train", count, seed, task="any")
    return [_lesson(rng, _digit(rng) if rng.random() < DIGITS else row, rng.choices(names, shares)[0]) for row in rows]


def _digit(rng: random.Random) -> Prompt:
    (row,) = pictures.rows("train", 1, rng.randrange(10**9), task="digit")
    return row


def _lesson(rng: random.Random, row: Prompt, kind: str) -> Lesson:
    things = [dict(thing) for thing in pictures.placed(row, rng.randrange(1, 10**6))]
    wanted, grid = row.columns["prompt"], row.columns["grid"]
    if kind in ("plan", "describe") and rng.random() < ERRORS and "colour" in things[0]:
        wrong = rng.choice(things)
        wrong["colour"] = rng.choice([colour for colour in COLOURS if colour != wrong["colour"]])
    plan, canvas = pictures.plan(things, grid), pictures.draw(things, SIDE)
    if kind == "read":
        return _reading(rng, row, plan, canvas)
    if kind == "describe":
        return Lesson(((asked(DESCRIBE + wanted), False), (plan + EOS, True)))
    if kind == "plan":
        return Lesson(((asked(PLAN + wanted), False), (plan + BOI, True)), drawn=canvas)
    if kind == "follow":
        wanted = f"{wanted}. {plan}"
    elif rng.random() < DROPPED:
        return Lesson(((PAD * rng.randint(5, 12), False), (BOI, False)), drawn=canvas)
    return Lesson(((asked(wanted), False), (BOI, False)), drawn=canvas)


def _reading(rng: random.Random, row: Prompt, plan: str, canvas: render.Canvas) -> Lesson:
    """A question about a picture, answered at once, after thinking, or by all that there is."""
    form = rng.choice(("all", "answer", "think"))
    question = READ if form == "all" else row.columns["question"]
    answer = row.columns["question_answer"]
    reply = {"all": plan, "answer": answer, "think": f"<think>{plan}</think><answer>{answer}</answer>"}[form]
    shown = BOI + IMAGE * COUNT + EOI
    question = f"Think. {question}" if form == "think" else question
    return Lesson(((asked(shown + question), False), (reply + EOS, True)), seen=canvas)


def asked(text: str) -> str:
    """A user's message, up to where the model speaks."""
    return f"<|User|>{text}<|Assistant|>"


def batch(found: Sequence[Lesson], tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Lessons in tensors."""
    texts = tokenizer([text for lesson in found for text, _ in lesson.spans], add_special_tokens=False)["input_ids"]
    pieces = iter(texts)
    ids: list[list[int]] = []
    targets: list[list[int]] = []
    for lesson in found:
        row, target = [tokenizer.bos_token_id], [-100]
        for _, learned in lesson.spans:
            tokens = next(pieces)
            row += tokens
            target += tokens if learned else [-100] * len(tokens)
        ids.append(row)
        targets.append(target)
    drawn = torch.tensor([lesson.drawn is not None for lesson in found])
    length = max(len(row) + (COUNT if draws else 0) for row, draws in zip(ids, drawn.tolist()))
    ids_BL = torch.full((len(found), length), tokenizer.pad_token_id)
    target_BL = torch.full((len(found), length), -100)
    for b, (row, target) in enumerate(zip(ids, targets)):
        ids_BL[b, : len(row)] = torch.tensor(row)
        target_BL[b, : len(target)] = torch.tensor(target)
    return Batch(
        ids_BL,
        target_BL,
        torch.tensor([len(row) for row in ids]),
        drawn,
        pixels([lesson.drawn for lesson in found if lesson.drawn is not None]),
        torch.tensor([lesson.seen is not None for lesson in found]),
        pixels([lesson.seen for lesson in found if lesson.seen is not None]),
    )


def words() -> list[str]:
    """Texts that hold every word of the lessons, for the tokenizer."""
    spoken = [*pictures.WORDS, "What", "Where", "Which", "How", "many", "is", "in", "from", "color", "shape", "picture"]
    spoken += ["Plan", "Describe", "Think", "?", ":", ".", "digit"]
    tags = ["<think>", "</think>", "<answer>", "</answer>"] * 50
    lines = [f"{word} {word} {word.capitalize()}" for word in spoken] * 40
    return [*lines, *tags, *(text for lesson in lessons(0, 400) for text, _ in lesson.spans)]
