"""The first phase: the vision tower learns to see before any text is read.

Small linear heads on every visual token say what object has its centre there: its kind, its colour, its box. That is a
dense signal at a tenth of the cost of language, and the heads are thrown away afterwards.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from gamutrl.data.worlds import digits, render, scenes

COLOURS = (*render.COLOURS, "white")
KINDS = ("none", *render.SHAPES, *(f"digit {d}" for d in range(10)), *(f"number {n}" for n in range(20)))
GRID = 4
"""Visual tokens a side."""


class Heads(nn.Module):
    """What each visual token shows: kind, colour, and box relative to the token's place, in units of its side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kind = nn.Linear(width, len(KINDS))
        self.colour = nn.Linear(width, len(COLOURS))
        self.box = nn.Linear(width, 4)

    def forward(self, features: Tensor, kind: Tensor, colour: Tensor, box: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The loss; the shares of objects whose kind and whose colour are right, and the mean error in pixels."""
        present = kind > 0
        logits = self.kind(features)
        shown = features[present]
        colours, boxes = self.colour(shown), self.box(shown)
        loss = (
            F.cross_entropy(logits.flatten(0, 1), kind.flatten())
            + 0.3 * F.cross_entropy(colours, colour[present])
            + 2.0 * F.l1_loss(boxes, box[present])
        )
        with torch.no_grad():
            seen = {
                "kind": (logits.argmax(-1) == kind)[present].float().mean().item(),
                "colour": (colours.argmax(-1) == colour[present]).float().mean().item(),
                "pixels": (boxes - box[present]).abs().mean().item() * render.SIZE / GRID,
            }
        return loss, seen


def canvas(rng: random.Random) -> tuple[render.Canvas, list[tuple[str, str, list[int]]]]:
    """A canvas of any world, and the kind, colour and box of each object on it."""
    world = rng.random()
    if world < 0.5:
        things = scenes.place(rng, rng.choices(scenes.KINDS, k=rng.randint(1, 7)), overlap=rng.random() < 0.25)
        return scenes.draw_canvas(things), [(thing["shape"], thing["colour"], thing["box"]) for thing in things]
    if world < 0.9:
        grid = rng.choice((3, 3, 3, 4))
        shown = digits.place(rng, "train", rng.choices(range(10), k=rng.randint(2, grid * grid)), grid)
        return digits.draw_canvas(shown), [(f"digit {digit['digit']}", "white", digit["box"]) for digit in shown]
    signs = scenes.place_numbers(rng, rng.randint(2, 4), 20)
    return scenes.draw_numbers(signs), [(f"number {sign['number']}", sign["colour"], sign["box"]) for sign in signs]


class Canvases(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Batch k of canvases with what each visual token shows, a function of (seed, k) only."""

    def __init__(self, steps: int, seed: int, size: int = 64) -> None:
        self.steps, self.seed, self.size = steps, seed, size

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = random.Random(f"canvases/{self.seed}/{k}")
        pixels = np.empty((self.size, 3, render.SIZE, render.SIZE), np.uint8)
        kind = np.zeros((self.size, GRID * GRID), np.int64)
        colour = np.zeros_like(kind)
        box = np.zeros((self.size, GRID * GRID, 4), np.float32)
        side = render.SIZE // GRID
        for i in range(self.size):
            picture, objects = canvas(rng)
            pixels[i] = picture.transpose(2, 0, 1)
            for what, paint, (x1, y1, x2, y2) in objects:
                column, row = min(GRID - 1, (x1 + x2) // 2 // side), min(GRID - 1, (y1 + y2) // 2 // side)
                token = row * GRID + column
                kind[i, token], colour[i, token] = KINDS.index(what), COLOURS.index(paint)
                corner = (column * side, row * side) * 2
                box[i, token] = [(edge - at) / side for edge, at in zip((x1, y1, x2, y2), corner)]
        return tuple(torch.from_numpy(array) for array in (pixels, kind, colour, box))  # type: ignore[return-value]
