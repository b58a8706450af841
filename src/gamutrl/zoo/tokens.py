"""What `var-tiny` and `mask-tiny` learn from: pictures with prompts, and the tokenizer that turns them into codes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamutrl.data.worlds import pictures, render
from gamutrl.policies.next_scale.tokenizer import Quantizer, Tokenizer
from gamutrl.zoo.autoencoder import Codebook, clusters, convolutions, nearest
from gamutrl.zoo.phases import Measured, Phase, walk

SIZE = 24
"""The side of a picture, in pixels."""
WORDS = 14
"""How many words a prompt may have, with its start."""
DIGITS, TINTED = 0.2, 0.3
"""The share of pictures that show a digit, and of those that show it in a colour: a style that is scarce."""
TASKS = {"object": 0.45, "pair": 0.25, "count": 0.14, "layout": 0.08, "relation": 0.08}
"""The shares of tasks among pictures of shapes. `object` names 16 kinds in training and 4 others in its test rows; that
these can be drawn, too, is learned from pairs and counts, which name them."""

CONVOLUTION_RATE = 2e-3
SCALES_RATE = 1e-3
GROUND = 6.0
"""What it costs a tokenizer not to give zeros where nothing is shown."""
PLACES, PLACES_SCALE = 2.0, 10.0
"""What it costs that the first code does not tell where things are; what its vector, a mean over much that is zero, is
multiplied with."""


@dataclass(frozen=True, eq=False)
class Bank:
    """Pictures in uint8 `[B, S, S, 3]`, the prompt of each, and of which task of the world it is."""

    picture_B: np.ndarray
    prompts: list[str]
    tasks: list[str]

    def take(self, index: Tensor) -> tuple[Tensor, list[str]]:
        """Some of them: pictures `[N, 3, S, S]` in [-1, 1], and prompts."""
        chosen = torch.from_numpy(self.picture_B[index.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1
        return chosen, [self.prompts[i] for i in index.tolist()]


def bank(count: int, seed: int) -> Bank:
    """`count` pictures of the world's training rows."""
    rng = random.Random(f"bank/{seed}")
    tasks = ["digit" if rng.random() < DIGITS else _task(rng) for _ in range(count)]
    made = {task: iter(pictures.rows("train", tasks.count(task), seed, task=task)) for task in dict.fromkeys(tasks)}
    shown, prompts = np.empty((count, SIZE, SIZE, 3), np.uint8), []
    for i, task in enumerate(tasks):
        row = next(made[task])
        canvas = pictures.draw(row.columns["facts"], SIZE)
        if task == "digit" and rng.random() < TINTED:
            canvas = tinted(canvas, rng.choice(list(render.COLOURS.values())))
        shown[i] = canvas
        prompts.append(row.columns["prompt"])
    return Bank(shown, prompts, tasks)


def tinted(canvas: render.Canvas, colour: tuple[int, int, int]) -> render.Canvas:
    """What is white on the canvas, in a colour."""
    ink = (canvas.astype(np.float32) - pictures.SHADE) / (render.WHITE[0] - pictures.SHADE)
    return np.asarray(pictures.SHADE + ink * (np.asarray(colour, np.float32) - pictures.SHADE) + 0.5, np.uint8)


def _task(rng: random.Random) -> str:
    return rng.choices(list(TASKS), list(TASKS.values()))[0]


def train_tokenizer(tokenizer: Tokenizer, shown: Bank, steps: int, folder: Path, seed: int = 0) -> Phase:
    """Train a tokenizer of one scale in place, from where a run in this folder stopped; 16 pictures a step.

    An autoencoder without codes for the first third of the way; then the codebook is begun from what it gives. Code 0
    is the ground's: else many codes are, and which of them stands where is hard to predict and says nothing.
    """
    quantizer = tokenizer.requires_grad_(True).quantize.requires_grad_(False)
    quantizer.quant_resi.pass_on()
    book = Codebook(quantizer.embedding.weight[1:])
    phase = convolutions("tokens-one", tokenizer)
    begin = steps // 3

    def loss_of(index: Tensor) -> Measured:
        picture, _ = shown.take(index)
        if phase.step == begin:
            first = torch.arange(min(1024, len(shown.prompts)))
            book.begin(rows(features(tokenizer, shown, first))[~ground(tokenizer, shown.take(first)[0]).flatten()])
            quantizer.embedding.weight[0] = 0.0
        feature = tokenizer.features(picture)
        row_ND, ground_N = rows(feature), ground(tokenizer, picture).flatten()
        bare = row_ND[ground_N].square().mean()
        coded, pull = feature, 1e-2 * feature.square().mean()
        if phase.step >= begin:
            fixed_ND = row_ND.detach()
            code_N = nearest(fixed_ND, quantizer.embedding.weight).masked_fill(ground_N, 0)
            value = quantizer.part(code_N.view(len(index), -1), 0)
            pull = 0.25 * (feature - value).square().mean() / fixed_ND.var()
            coded = feature + (value - feature).detach()
            if phase.step < 0.85 * steps:
                thing_N = ~ground_N & (code_N > 0)
                book.follow(fixed_ND[thing_N], code_N[thing_N] - 1, phase.step)
        error = difference(drawn(tokenizer, coded), picture)
        told = {"error": error.item(), "pull": pull.item(), "ground": bare.item(), "used": book.used}
        return error + pull + GROUND * bare, told

    drive(phase, loss_of, len(shown.prompts), steps, CONVOLUTION_RATE, folder, seed, 16)
    tokenizer.requires_grad_(False)
    return phase


def ground(tokenizer: Tokenizer, picture: Tensor) -> Tensor:
    """Where pictures show nothing, of the size of the map of codes: `[N, H, W]` bool."""
    off = (picture - picture[:, :, :1, :1]).abs().amax(1)
    return F.max_pool2d(off, tokenizer.config.pixels // tokenizer.config.scales[-1]) < 0.02


def sharpen(tokenizer: Tokenizer, shown: Bank, steps: int, folder: Path, seed: int = 0) -> Phase:
    """Train the decoder alone, so that the codes stay what they are, from where a run in this folder stopped."""
    parts = nn.ModuleDict({"first": tokenizer.post_quant_conv, "rest": tokenizer.decoder}).requires_grad_(True)
    phase = convolutions(f"decoder-{len(tokenizer.config.scales)}", parts)

    def loss_of(index: Tensor) -> Measured:
        picture, _ = shown.take(index)
        with torch.no_grad():
            feature = tokenizer.quantize.total(tokenizer.encode(picture))
        error = difference(drawn(tokenizer, feature), picture)
        return error, {"error": error.item()}

    drive(phase, loss_of, len(shown.prompts), steps, CONVOLUTION_RATE, folder, seed)
    parts.requires_grad_(False)
    return phase


def drawn(tokenizer: Tokenizer, feature_NCHW: Tensor) -> Tensor:
    """Pictures of features, with a gradient everywhere."""
    return F.pixel_shuffle(tokenizer.decoder(tokenizer.post_quant_conv(feature_NCHW)), tokenizer.config.patch)


def difference(drawn: Tensor, picture: Tensor) -> Tensor:
    """How far pictures are from what they should be: hue counts twice, and what lies on the ground four times."""
    off = (drawn - picture).abs()
    hue = (drawn - drawn.mean(1, keepdim=True) - picture + picture.mean(1, keepdim=True)).abs()
    weight = 1 + 3 * ((picture - picture[:, :, :1, :1]).abs().amax(1, keepdim=True) > 0.1)
    return ((off + hue) * weight).mean()


def rows(feature_NCHW: Tensor) -> Tensor:
    """Features as vectors, one a place."""
    return feature_NCHW.permute(0, 2, 3, 1).flatten(0, 2)


def train_scales(tokenizer: Tokenizer, one: Tokenizer, shown: Bank, steps: int, folder: Path, seed: int = 0) -> Phase:
    """Train a tokenizer of several scales in place, from where a run in this folder stopped; 16 pictures a step.

    It begins with the convolutions of a tokenizer of one scale. All codes of a scale are drawn at once, so what they
    have to agree on must be said before them: the one code of the first scale is made to tell which places hold
    something, by a linear map that is thrown away afterwards. That costs of the picture, so it counts less and less.
    """
    kept = {name: value for name, value in one.state_dict().items() if not name.startswith("quantize.")}
    tokenizer.load_state_dict(kept, strict=False)
    quantizer = tokenizer.requires_grad_(True).quantize
    quantizer.quant_resi.pass_on()
    with torch.no_grad():
        seen = features(one, shown, torch.arange(min(2048, len(shown.prompts))))
        things_ND = rows(seen)[one.quantize.codes(seen).flatten() > 0]
        quantizer.embedding.weight.copy_(clusters(things_ND, tokenizer.config.codes))
    where = nn.Linear(tokenizer.config.latent, tokenizer.config.scales[-1] ** 2)
    phase = convolutions("tokens-many", nn.ModuleDict({"tokenizer": tokenizer, "where": where}))
    hits_V = torch.zeros(tokenizer.config.codes)

    def loss_of(index: Tensor) -> Measured:
        picture, _ = shown.take(index)
        feature, ground_NHW = tokenizer.features(picture), ground(tokenizer, picture)
        coded, pull, codes = quantizer(feature)
        hits_V.mul_(0.98).add_(codes.flatten().bincount(minlength=len(hits_V)))
        if phase.step % 20 == 0 and phase.step < 0.7 * steps:
            revive(quantizer, feature.detach(), hits_V)
        mean_ND = quantizer.seen(feature, 0)[:, 0]
        first_ND = mean_ND + (quantizer.embedding(codes[:, 0]) - mean_ND).detach()
        thing_NP = (~ground_NHW).flatten(1).float()
        places = F.binary_cross_entropy_with_logits(where(PLACES_SCALE * first_ND), thing_NP)
        error, bare = difference(drawn(tokenizer, coded), picture), rows(feature)[ground_NHW.flatten()].square().mean()
        weight = PLACES * min(1.0, 2 - 2 * phase.step / steps)
        told = {"error": error.item(), "pull": pull.item(), "ground": bare.item(), "places": places.item()}
        told["used"] = (hits_V > 0.5).float().mean().item()
        return error + pull + GROUND * bare + weight * places, told

    drive(phase, loss_of, len(shown.prompts), steps, SCALES_RATE, folder, seed, 16)
    tokenizer.requires_grad_(False)
    return phase


@torch.no_grad()
def features(tokenizer: Tokenizer, shown: Bank, index: Tensor) -> Tensor:
    return tokenizer.features(shown.take(index)[0])


@torch.no_grad()
def codes(tokenizer: Tokenizer, shown: Bank) -> Tensor:
    """The codes of all pictures, `[B, L]`."""
    parts = torch.arange(len(shown.prompts)).split(256)
    return torch.cat([tokenizer.quantize.codes(features(tokenizer, shown, part)) for part in parts])


@torch.no_grad()
def revive(quantizer: Quantizer, feature: Tensor, hits_V: Tensor) -> None:
    """Codes that nothing is near to become what is missing somewhere now."""
    dead = (hits_V < 0.5).nonzero().flatten()
    if not len(dead):
        return
    rest, missing = feature, []
    for k in range(len(quantizer.scales)):
        missing.append(quantizer.seen(rest, k).flatten(0, 1))
        rest = rest - quantizer.part(quantizer.nearest(rest, k), k)
    pool = torch.cat(missing)
    chosen = torch.randint(len(pool), (len(dead),))
    quantizer.embedding.weight[dead] = pool[chosen] + 0.01 * torch.randn(len(dead), pool.shape[1])
    hits_V[dead] = 1.0


def drive(
    phase: Phase,
    loss_of: Callable[[Tensor], Measured],
    rows: int,
    steps: int,
    rate: float,
    folder: Path,
    seed: int,
    size: int = 32,
) -> Phase:
    """Take the steps that a phase has still to take, on batches and noise that are a function of seed and step."""

    def seeded(index: Tensor) -> Measured:
        torch.manual_seed(seed * 1_000_003 + phase.step)
        return loss_of(index)

    taken = partial(batches, rows, size, seed=seed)
    return walk(phase, steps, taken, seeded, folder, rate=rate, warmup=50, decay=0.4, least=0.01)


def batches(rows: int, size: int, first: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of each step from `first` on: every row once before any comes again."""
    a_round = rows // size
    for step in range(first, steps):
        if step % a_round == 0 or step == first:
            order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed * 7919 + step // a_round))
        yield order[step % a_round * size :][:size]
