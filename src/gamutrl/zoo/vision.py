"""The first phase: the vision tower learns to see, in the words of the language model.

What a visual token shows is read off with the word embeddings that language will use: its kind and its colour by their
similarity to the token itself, its box through one linear map an edge. So the model finds pictures written in words it
knows, and has only to learn to look them up. That is a dense signal at a tenth of the cost of language. The maps are
thrown away afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from gamutrl.data.worlds import digits, puzzles, render, scenes

COLOURS = (*render.COLOURS, "white")
KINDS = ("-", *render.SHAPES, *(str(number) for number in range(20)))
GRID = 3
"""Visual tokens a side."""
TINTS = 27
"""The mean colour of each 8-pixel patch of a cell."""

Shown = tuple[str, str, Sequence[int]]
"""The kind, the colour and the box of an object."""


class Heads(nn.Module):
    """What each visual token shows: kind, colour, the box's edges in pixels, and how the cell is tinted."""

    def __init__(self, width: int, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.edges = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(4))
        self.tint = nn.Linear(width, TINTS)
        self.scale = nn.Parameter(torch.tensor(4.5))
        self.words = [_spellings(tokenizer, names) for names in (KINDS, COLOURS, [*map(str, range(render.SIZE + 1))])]
        for edge in self.edges:
            nn.init.orthogonal_(edge.get_parameter("weight"))

    def forward(
        self, features: Tensor, embedding: Tensor, kind: Tensor, colour: Tensor, box: Tensor, tint: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss; the shares of objects whose kind and whose colour are right, and the mean error in pixels."""
        kinds, colours, numbers = (
            torch.stack([embedding[spelling].mean(0) for spelling in words]) for words in self.words
        )
        present = kind > 0
        shown, scale = features[present], self.scale.exp()
        kind_logits = scale * features @ kinds.T
        colour_logits = scale * shown @ colours.T
        edge_logits = scale * torch.stack([edge(shown) for edge in self.edges], 1) @ numbers.T
        places = torch.arange(render.SIZE + 1)
        near = (-0.5 * (places - box[present][..., None]).square()).softmax(-1)
        loss = (
            F.cross_entropy(kind_logits.flatten(0, 1), kind.flatten())
            + 0.5 * F.cross_entropy(colour_logits, colour[present])
            + F.cross_entropy(edge_logits.flatten(0, 1), near.flatten(0, 1))
            + 0.5 * F.mse_loss(self.tint(features), tint)
        )
        with torch.no_grad():
            seen = {
                "kind": (kind_logits.argmax(-1) == kind)[present].float().mean().item(),
                "colour": (colour_logits.argmax(-1) == colour[present]).float().mean().item(),
                "pixels": (edge_logits.argmax(-1) - box[present]).abs().float().mean().item(),
                "size": features.norm(dim=-1).mean().item(),
            }
        return loss, seen


def _spellings(tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> list[list[int]]:
    """The tokens that write each word: alone, and after a space, where that is one token of its own."""
    spelled = [[tokenizer.encode(text, add_special_tokens=False) for text in (word, f" {word}")] for word in words]
    return [[tokens[0] for tokens in forms if len(tokens) == 1] for forms in spelled]


def canvas(rng: random.Random) -> tuple[render.Canvas, list[Shown]]:
    """A canvas of any world, and what is on it."""
    world = rng.random()
    if world < 0.45:
        things = scenes.place(rng, rng.choices(scenes.KINDS, k=rng.randint(1, 9)), overlap=rng.random() < 0.2)
        return scenes.draw_canvas(things), [(thing["shape"], thing["colour"], thing["box"]) for thing in things]
    if world < 0.8:
        shown = digits.place(rng, "train", rng.choices(range(10), k=rng.randint(1, 9)))
        drawn = render.blank((12, 12, 12))
        for digit in shown:
            render.paint(drawn, varied(render.digit_stamp(digit["scan"]), rng), render.WHITE, *digit["box"][:2])
        return drawn, [(str(digit["digit"]), "white", digit["box"]) for digit in shown]
    if world < 0.9:
        signs = scenes.place_numbers(rng, rng.randint(2, 6), 20)
        return scenes.draw_numbers(signs), [(str(sign["number"]), sign["colour"], sign["box"]) for sign in signs]
    shape = rng.choice(((1, 1), (2, 1), (3, 1), (2, 2)))
    pieces = shape[0] * shape[1]
    return puzzles.cut(puzzles.landscape(rng.getrandbits(48)), shape, rng.sample(range(pieces), pieces)), []


def varied(stamp: render.Stamp, rng: random.Random) -> render.Stamp:
    """A scan turned, stretched and slanted a little, half of the time: there are only some 1,400 to learn from."""
    if rng.random() < 0.5:
        return stamp
    angle, slant = rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, slant], [0.0, 1.0]]) @ np.diag([rng.uniform(0.9, 1.12), rng.uniform(0.9, 1.12)])
    centre = (np.array(stamp.shape) - 1) / 2
    moved = ndimage.affine_transform(stamp, matrix, centre - matrix @ centre, order=1)
    return np.asarray(moved * rng.uniform(0.8, 1.0), np.float32)


class Canvases(Dataset[tuple[Tensor, ...]]):
    """Batch k of canvases with what each visual token shows, a function of (seed, k) only."""

    def __init__(self, steps: int, seed: int, size: int = 64) -> None:
        self.steps, self.seed, self.size = steps, seed, size

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> tuple[Tensor, ...]:
        rng = random.Random(f"canvases/{self.seed}/{k}")
        pixels = np.empty((self.size, 3, render.SIZE, render.SIZE), np.uint8)
        kind = np.zeros((self.size, GRID * GRID), np.int64)
        colour = np.zeros_like(kind)
        box = np.zeros((self.size, GRID * GRID, 4), np.int64)
        for i in range(self.size):
            picture, objects = canvas(rng)
            pixels[i] = picture.transpose(2, 0, 1)
            for what, paint, (x1, y1, x2, y2) in objects:
                token = (y1 + y2) // 2 // render.CELL * GRID + (x1 + x2) // 2 // render.CELL
                kind[i, token], colour[i, token] = KINDS.index(what), COLOURS.index(paint)
                box[i, token] = x1, y1, x2, y2
        patches = pixels.reshape(self.size, 3, GRID, 3, 8, GRID, 3, 8).mean((4, 7), dtype=np.float32)
        tint = patches.transpose(0, 2, 4, 1, 3, 5).reshape(self.size, GRID * GRID, TINTS) / 127.5 - 1
        return tuple(torch.from_numpy(array) for array in (pixels, kind, colour, box, tint))
