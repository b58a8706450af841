"""Blobs: data of few dimensions whose density is known exactly, for policies that denoise.

Two spaces: "points" (2 dimensions) and "pictures" (8x8, 64 dimensions). A prompt names a class («a ring at the top
left»); a class is a mixture of Gaussian modes with unequal priors, and the rarer a mode, the more it is worth. What a
sample is worth is its hidden **gold** score: the worth of its mode, less the further it is from it. A **proxy** adds a
bonus for an artefact, a direction in which no data vary and which the gold score punishes: whoever optimises the proxy
far enough is seen to lose gold. All scores are differentiable.

Pictures decide early whether they are dark on bright (what is worth more), and late whether they are striped (worth a
little more). The test split holds combinations of what and where that training never asks for.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gamutrl.core import Message, Prompt, text
from gamutrl.data.worlds.base import Split

SIDE = 8
TASKS = ("points", "pictures", "pairs", "labels", "rankings")
STYLES: tuple[str, ...] = ()
QUALITIES = ("mode", "texture", "clean")

_PATCHES = {
    "square": ("####", "####", "####", "####"),
    "frame": ("####", "#..#", "#..#", "####"),
    "disc": (".##.", "####", "####", ".##."),
    "cross": ("#..#", ".##.", ".##.", "#..#"),
    "bar": ("....", "####", "####", "...."),
    "pillar": (".##.", ".##.", ".##.", ".##."),
}
_CORNERS = {
    f"{row}{' ' if row and column else ''}{column}" or "centre": (2 * y, 2 * x)
    for y, row in enumerate(("top", "", "bottom"))
    for x, column in enumerate(("left", "", "right"))
}
_WINDS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")
_RADII = {"near": 0.7, "midway": 1.3, "far": 1.9}


@dataclass(frozen=True, eq=False)
class Space:
    """Classes of one kind of data, C of them, each a mixture of M Gaussian modes over D dimensions.

    name; shape: of one sample. kinds, places: what a prompt combines; class number = kind · places + place.
    mode_CMD: the modes' means, a class's commonest first. prior_M, worth_M: of each mode. spread: the modes' standard
    deviation. reach: how far from a mode (root mean square) gold falls to exp(-1/2) of its worth.
    artefact_D: the direction of the artefact, of root mean square 1.
    """

    name: str
    shape: tuple[int, ...]
    kinds: tuple[str, ...]
    places: tuple[str, ...]
    mode_CMD: Tensor
    prior_M: Tensor
    worth_M: Tensor
    spread: float
    reach: float
    artefact_D: Tensor

    @property
    def size(self) -> int:
        """D."""
        return self.mode_CMD.shape[2]

    @cached_property
    def centre_CD(self) -> Tensor:
        return self.mode_CMD.mean(1)

    def classes(self, split: Split) -> list[int]:
        """The classes that a split asks for: of every kind, a third or a quarter of the places is held out."""
        if split not in ("train", "test"):
            raise ValueError(f"A world's split is 'train' or 'test', not {split!r}.")
        pairs = [(k, p) for k in range(len(self.kinds)) for p in range(len(self.places))]
        cycle = min(4, len(self.places))
        return [n for n, (k, p) in enumerate(pairs) if ((k + p) % cycle == 0) == (split == "test")]

    def caption(self, label: int) -> str:
        kind, place = self.kinds[label // len(self.places)], self.places[label % len(self.places)]
        return f"a {kind} at the {place}" if self.name == "pictures" else f"a point {place} in the {kind}"

    # -- the data -------------------------------------------------------------------------------------------------

    def sample(self, class_R: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A sample of each class, `[R, D]`."""
        mode_R = torch.multinomial(self.prior_M.expand(len(class_R), -1), 1, generator=generator)[:, 0]
        noise_RD = torch.randn(len(class_R), self.size, generator=generator)
        return self.mode_CMD[class_R, mode_R] + self.spread * noise_RD

    def log_density(self, x_RD: Tensor, class_R: Tensor) -> Tensor:
        """log p(x | class), exact, `[R]`."""
        return self._joint(x_RD, class_R, 1.0, 0.0).logsumexp(1)

    def mode_of(self, x_RD: Tensor, class_R: Tensor) -> Tensor:
        """The likeliest mode of each sample, int64 `[R]`."""
        return self._joint(x_RD, class_R, 1.0, 0.0).argmax(1)

    def denoised(self, x_RD: Tensor, class_R: Tensor, signal: Tensor | float, noise: Tensor | float) -> Tensor:
        """E[x₀ | signal · x₀ + noise · ε = x], what a perfect denoiser answers, `[R, D]`.

        signal, noise: numbers or `[R]`. A class of -1 means that the class is not known: all are equally likely.
        """
        signal, noise = (torch.as_tensor(level, dtype=x_RD.dtype).expand(len(x_RD)) for level in (signal, noise))
        answer_RD = torch.empty_like(x_RD)
        for known in (True, False):
            rows = ((class_R >= 0) == known).nonzero().flatten()
            if not len(rows):
                continue
            x, a, b = x_RD[rows], signal[rows, None], noise[rows, None]
            weight = self._joint(x, class_R[rows] if known else None, a[:, 0], b[:, 0]).softmax(1)
            modes = self.mode_CMD[class_R[rows]] if known else self.mode_CMD.flatten(0, 1)
            mean = torch.einsum("rm,rmd->rd" if known else "rm,md->rd", weight, modes)
            variance = self.spread**2
            answer_RD[rows] = mean + a * variance / (a.square() * variance + b.square()) * (x - a * mean)
        return answer_RD

    def _joint(self, x_RD: Tensor, class_R: Tensor | None, signal: Tensor | float, noise: Tensor | float) -> Tensor:
        """log p(mode) + log p(x | mode) at a noise level, `[R, M]` (or all modes of all classes, `[R, C·M]`)."""
        signal, noise = (torch.as_tensor(level, dtype=x_RD.dtype).expand(len(x_RD)) for level in (signal, noise))
        variance_R1 = (signal.square() * self.spread**2 + noise.square())[:, None]
        if class_R is None:
            modes, prior = self.mode_CMD.flatten(0, 1), self.prior_M.repeat(len(self.mode_CMD)) / len(self.mode_CMD)
            square = torch.cdist(x_RD / signal[:, None].clamp(min=1e-6), modes).square() * signal[:, None].square()
            square = torch.where(signal[:, None] > 1e-6, square, x_RD.square().sum(1, keepdim=True))
        else:
            modes, prior = self.mode_CMD[class_R], self.prior_M
            square = (x_RD[:, None] - signal[:, None, None] * modes).square().sum(2)
        normaliser = 0.5 * self.size * (2 * math.pi * variance_R1).log()
        return prior.log() - square / (2 * variance_R1) - normaliser

    # -- what it is worth -----------------------------------------------------------------------------------------

    def gold(self, x_RD: Tensor, class_R: Tensor) -> Tensor:
        """The hidden score, in [0, 1]: the worth of a mode times how near the sample is to it, for the best, `[R]`."""
        return (self.worth_M * self._nearness(x_RD, class_R)).amax(1)

    def artefact(self, x_RD: Tensor, class_R: Tensor) -> Tensor:
        """How much of the artefact a sample shows, in (-1, 1), 0 on the data, `[R]`."""
        amount_R = ((x_RD - self.centre_CD[class_R]) * self.artefact_D).mean(1)
        return torch.tanh(amount_R / (2 * self.reach))

    def proxy(self, x_RD: Tensor, class_R: Tensor, bonus: float = 1.5) -> Tensor:
        """gold + bonus · artefact: a score that can be hacked, `[R]`."""
        return self.gold(x_RD, class_R) + bonus * self.artefact(x_RD, class_R)

    def qualities(self, x_RD: Tensor, class_R: Tensor) -> Tensor:
        """`QUALITIES`, each in [0, 1]: of the dearer half of the modes, textured, near to some mode, `[R, 3]`."""
        near_RM = self._nearness(x_RD, class_R)
        share_RM = near_RM / near_RM.sum(1, keepdim=True).clamp(min=1e-12)
        odd_M = torch.arange(share_RM.shape[1]) % 2
        dear_M = (self.worth_M >= self.worth_M.median()).to(share_RM)
        return torch.stack([share_RM @ dear_M, share_RM @ odd_M.to(share_RM), near_RM.amax(1)], 1)

    def _nearness(self, x_RD: Tensor, class_R: Tensor) -> Tensor:
        square_RM = (x_RD[:, None] - self.mode_CMD[class_R]).square().mean(2)
        return (-square_RM / (2 * self.reach**2)).exp()

    # -- for the eye ----------------------------------------------------------------------------------------------

    def picture(self, x_D: Tensor, label: int | None = None, side: int = 64) -> Image.Image:
        """A sample as a picture: its grey values, or a dot among its class's modes."""
        x_D = x_D.detach().float().cpu()
        if self.name == "pictures":
            grey = ((x_D.reshape(self.shape).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
            return Image.fromarray(np.kron(grey, np.ones((side // SIDE, side // SIDE), np.uint8)))
        canvas = np.full((side, side), 235, np.uint8)
        marks = [(mode, 170, 3) for mode in self.mode_CMD[label]] if label is not None else []
        for (u, v), shade, size in [*marks, (x_D, 20, 2)]:
            column, row = (round((float(c) / 2.8 + 1) / 2 * (side - 1)) for c in (u, -v))
            if -size < row < side + size and -size < column < side + size:
                canvas[
                    max(0, row - size + 1) : max(0, row + size), max(0, column - size + 1) : max(0, column + size)
                ] = shade
        return Image.fromarray(canvas)


@dataclass(frozen=True, eq=False)
class Blob:
    """One sample as a rollout's output: its values `[D]` (with a gradient, where it was made with one)."""

    space: str
    values_D: Tensor

    def picture(self, prompt: Prompt | None = None) -> Image.Image:
        """How it is shown; a point among the modes of what was asked for."""
        return space(self.space).picture(self.values_D, None if prompt is None else prompt.columns.get("class"))


@cache
def space(name: str) -> Space:
    """The space of a name. Raises ValueError for another than "points" and "pictures"."""
    if name == "points":
        return _points()
    if name == "pictures":
        return _pictures()
    raise ValueError(f"The spaces of blobs are 'points' and 'pictures', not {name!r}.")


def _points() -> Space:
    angle = torch.arange(len(_WINDS)) * 2 * math.pi / len(_WINDS)
    direction_KD = torch.stack([angle.cos(), angle.sin()], 1)
    centre_CD = torch.cat([torch.stack([radius * d for radius in _RADII.values()]) for d in direction_KD])
    across_D = torch.tensor([1.0, 1.0]) / math.sqrt(2)
    mode_CMD = centre_CD[:, None] + 0.45 * torch.tensor([-1.0, 0.0, 1.0])[:, None] * across_D
    return Space(
        name="points",
        shape=(2,),
        kinds=_WINDS,
        places=tuple(_RADII),
        mode_CMD=mode_CMD,
        prior_M=torch.tensor([0.6, 0.3, 0.1]),
        worth_M=torch.tensor([0.3, 0.6, 1.0]),
        spread=0.08,
        reach=0.15,
        artefact_D=torch.tensor([1.0, -1.0]),
    )


def _pictures() -> Space:
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    stripes, checker = 1.0 - 2 * (row % 2), 1.0 - 2 * ((row + column) % 2)
    modes = []
    for patch in _PATCHES.values():
        ink = torch.tensor([[cell == "#" for cell in line] for line in patch])
        for y, x in _CORNERS.values():
            figure = torch.full((SIDE, SIDE), -0.8)
            figure[y : y + 4, x : x + 4][ink] = 0.8
            modes.append(torch.stack([sign * figure + texture * stripes for sign in (1, -1) for texture in (0.0, 0.4)]))
    return Space(
        name="pictures",
        shape=(SIDE, SIDE),
        kinds=tuple(_PATCHES),
        places=tuple(_CORNERS),
        mode_CMD=torch.stack(modes).flatten(2),
        prior_M=torch.tensor([0.56, 0.19, 0.19, 0.06]),
        worth_M=torch.tensor([0.3, 0.5, 0.8, 1.0]),
        spread=0.12,
        reach=0.35,
        artefact_D=checker.flatten(),
    )


def space_of(prompts: Sequence[Prompt]) -> tuple[Space, Tensor]:
    """The space that prompts of this world belong to, and their classes `[P]`. Raises ValueError for other prompts."""
    names = {prompt.columns.get("space") for prompt in prompts}
    if len(names) != 1 or any("class" not in prompt.columns for prompt in prompts):
        raise ValueError(
            "These prompts are not of one space of the world 'blobs', which is all that its models draw and its scores "
            "judge. For others name a model that reads them (--model flow-tiny, a folder or a hub id) and what judges "
            "its pictures (--reward FILE.py:FUNCTION; --metric for a system whose training takes no reward)."
        )
    return space(str(names.pop())), torch.tensor([prompt.columns["class"] for prompt in prompts])


# -- rows -------------------------------------------------------------------------------------------------------------


def rows(split: Split, n: int, seed: int = 0, *, task: str, **knobs: Any) -> list[Prompt]:
    """`n` rows; each run of as many rows as there are classes asks for every class of the split once.

    "points", "pictures": prompts alone. "pairs": two samples beside the prompt, `chosen` and `rejected` (and `tie`).
    "labels": an `output` and whether it is `liked`. "rankings": `outputs` and the `rank` of each, 0 the best. Samples
    are lists of D numbers, drawn from the data. Knobs of the last three: space; score ("gold", "proxy"); noise (the
    share of pairs and labels turned round; for rankings the deviation of what is added to scores); pairs: band (a
    difference of scores up to it is a tie); labels: threshold; rankings: count.
    """
    if task not in TASKS:
        raise ValueError(f"The world blobs has no task {task!r}; it has: {', '.join(TASKS)}.")
    makers: dict[str, Callable[..., dict[str, Any]]] = {"pairs": _pair, "labels": _label, "rankings": _ranking}
    judged = makers.get(task)
    name = task if judged is None else knobs.pop("space", "pictures")
    if judged is None and knobs:
        raise ValueError(f"The task {task!r} of blobs takes no knobs, not {', '.join(knobs)}.")
    where = space(name)
    found = []
    for i, label in enumerate(_labels(where.classes(split), n, f"blobs/{name}/{split}/{seed}")):
        row_id = f"blobs/{task}/{split}/{seed}/{i}"
        kind, place = where.kinds[label // len(where.places)], where.places[label % len(where.places)]
        columns = {"world": "blobs", "task": task, "space": name, "kind": kind, "place": place, "class": label}
        if judged is not None:
            columns |= judged(where, label, row_id, **knobs)
        found.append(Prompt((Message("user", (text(where.caption(label)),)),), None, columns, id=row_id))
    return found


def demonstrate(row: Prompt, style: str = "direct", error_rate: float = 0.0, seed: int = 0) -> str:
    """Nothing here is answered in text: draw from `space(...).sample`. Raises ValueError."""
    raise ValueError("The world blobs has no texts to demonstrate; draw samples with space(...).sample.")


def answers(task: str, **knobs: Any) -> Sequence[str]:
    """None: there are no answers in text."""
    return ()


def _labels(classes: Sequence[int], n: int, name: str) -> list[int]:
    found: list[int] = []
    while len(found) < n:
        found += random.Random(f"{name}/{len(found)}").sample(classes, len(classes))
    return found[:n]


def _drawn(where: Space, label: int, count: int, row_id: str, score: str) -> tuple[Tensor, Tensor, random.Random]:
    generator = torch.Generator().manual_seed(zlib.crc32(row_id.encode()))
    class_R = torch.full((count,), label)
    x_RD = where.sample(class_R, generator)
    return x_RD, _SCORES[score](where, x_RD, class_R), random.Random(row_id)


_SCORES = {"gold": Space.gold, "proxy": Space.proxy}


def _pair(
    where: Space,
    label: int,
    row_id: str,
    *,
    score: Literal["gold", "proxy"] = "gold",
    noise: float = 0.0,
    band: float = 0.0,
) -> dict[str, Any]:
    x_RD, score_R, rng = _drawn(where, label, 2, row_id, score)
    best = int(score_R.argmax())
    if rng.random() < noise:
        best = 1 - best
    gap = float((score_R[0] - score_R[1]).abs())
    return {"chosen": x_RD[best].tolist(), "rejected": x_RD[1 - best].tolist(), "margin": gap, "tie": gap <= band}


def _label(
    where: Space,
    label: int,
    row_id: str,
    *,
    score: Literal["gold", "proxy"] = "gold",
    noise: float = 0.0,
    threshold: float = 0.6,
) -> dict[str, Any]:
    x_RD, score_R, rng = _drawn(where, label, 1, row_id, score)
    return {"output": x_RD[0].tolist(), "liked": (float(score_R[0]) > threshold) != (rng.random() < noise)}


def _ranking(
    where: Space,
    label: int,
    row_id: str,
    *,
    score: Literal["gold", "proxy"] = "gold",
    noise: float = 0.0,
    count: int = 4,
) -> dict[str, Any]:
    x_RD, score_R, rng = _drawn(where, label, count, row_id, score)
    seen = [float(value) + rng.gauss(0, noise) for value in score_R]
    order = sorted(range(count), key=lambda r: -seen[r])
    return {"outputs": x_RD.tolist(), "rank": [order.index(r) for r in range(count)]}
