"""What `var-tiny` and `mask-tiny` learn from: pictures with prompts, and the tokenizer that turns them into codes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gamutrl.data.worlds import pictures, render
from gamutrl.policies.next_scale.tokenizer import Quantizer, Tokenizer
from gamutrl.zoo.train import Phase

SIZE = 30
"""The side of a picture, in pixels."""
WORDS = 14
"""How many words a prompt may have, with its start."""
DIGITS, TINTED = 0.4, 0.3
"""The share of pictures that show a digit, and of those that show it in a colour: a style that is scarce."""
LEARNED = ("digit", "object", "pair")
"""The tasks that the transformers learn, as far as a few minutes go; the tokenizer learns the pictures of all."""
TASKS = {"object": 0.4, "pair": 0.2, "layout": 0.15, "relation": 0.15, "count": 0.1}

CHECKPOINT_SECONDS = 120


@dataclass(frozen=True, eq=False)
class Bank:
    """Pictures in uint8 `[B, S, S, 3]`, the prompt of each, and of which task of the world it is."""

    picture_B: np.ndarray
    prompts: list[str]
    tasks: list[str]

    def only(self, tasks: Sequence[str]) -> Bank:
        """The pictures of some tasks."""
        kept = [i for i, task in enumerate(self.tasks) if task in tasks]
        return Bank(self.picture_B[kept], [self.prompts[i] for i in kept], [self.tasks[i] for i in kept])

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
    """Train a tokenizer in place, from where a run in this folder stopped."""
    adam = torch.optim.AdamW(tokenizer.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    phase = Phase("tokens-one", tokenizer, [adam])
    phase.resume(folder)
    hits_V = torch.zeros(tokenizer.config.codes)

    def loss_of(index: Tensor) -> tuple[Tensor, dict[str, float]]:
        picture, _ = shown.take(index)
        back, quantised, codes = tokenizer(picture)
        hits_V.mul_(0.98).add_(codes.flatten().bincount(minlength=len(hits_V)))
        if phase.step % 20 == 0 and phase.step < 0.7 * steps:
            revive(tokenizer.quantize, tokenizer.features(picture), hits_V)
        off = back - picture
        hue = off - off.mean(1, keepdim=True)
        error = off.abs().mean() + off.square().mean() + 2 * hue.abs().mean()
        used = (hits_V > 0.5).float().mean().item()
        return error + quantised, {"error": error.item(), "quantised": quantised.item(), "used": used}

    drive(phase, loss_of, len(shown.prompts), steps, 2e-3, folder, seed)
    return phase


def train_scales(tokenizer: Tokenizer, one: Tokenizer, shown: Bank, steps: int, folder: Path, seed: int = 0) -> Phase:
    """Train several scales' codes of what a tokenizer of one scale sees, whose convolutions are kept."""
    kept = {name: value for name, value in one.state_dict().items() if not name.startswith("quantize.")}
    tokenizer.load_state_dict(kept, strict=False)
    feature_B = torch.cat([features(one, shown, part) for part in torch.arange(len(shown.prompts)).split(256)])
    quantizer = tokenizer.quantize.requires_grad_(True)
    quantizer.quant_resi.pass_on()
    spread = torch.randperm(len(feature_B))[: tokenizer.config.codes]
    with torch.no_grad():
        quantizer.embedding.weight.copy_(feature_B[spread, :, 2, 3])
    phase = Phase("tokens-many", quantizer, [torch.optim.AdamW(quantizer.parameters(), betas=(0.9, 0.98))])
    phase.resume(folder)
    hits_V = torch.zeros(tokenizer.config.codes)

    def loss_of(index: Tensor) -> tuple[Tensor, dict[str, float]]:
        feature = feature_B[index]
        _, loss, codes = quantizer(feature)
        hits_V.mul_(0.98).add_(codes.flatten().bincount(minlength=len(hits_V)))
        if phase.step % 20 == 0 and phase.step < 0.7 * steps:
            revive(quantizer, feature, hits_V)
        with torch.no_grad():
            missing = (quantizer.total(codes) - feature).square().mean() / feature.var()
        return loss, {"missing": missing.item(), "used": (hits_V > 0.5).float().mean().item()}

    drive(phase, loss_of, len(feature_B), steps, 2e-3, folder, seed)
    quantizer.requires_grad_(False)
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
    loss_of: Callable[[Tensor], tuple[Tensor, dict[str, float]]],
    rows: int,
    steps: int,
    rate: float,
    folder: Path,
    seed: int,
    size: int = 32,
) -> None:
    """Every step that a phase has still to take, on batches that are a function of seed and step; saves as it goes."""
    begun = saved = time.monotonic()
    before = phase.seconds
    for index in batches(rows, size, phase.step, steps, seed):
        torch.manual_seed(seed * 1_000_003 + phase.step)
        loss, seen = loss_of(index)
        left = (steps - phase.step) / (0.4 * steps)
        phase.update(loss, rate * min(1.0, (phase.step + 1) / 50, max(left, 0.01)))
        phase.measure(seen)
        now = time.monotonic()
        phase.seconds = before + now - begun
        if now - saved > CHECKPOINT_SECONDS or phase.step == steps:
            phase.save(folder)
            saved = now
        if phase.step % 25 == 0:
            told = " ".join(f"{name} {value:.3f}" for name, value in phase.measured.items())
            print(f"{phase.name} {phase.step}/{steps} {phase.seconds:.0f} s {told}", flush=True)


def batches(rows: int, size: int, first: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of each step from `first` on: every row once before any comes again."""
    a_round = rows // size
    for step in range(first, steps):
        if step % a_round == 0 or step == first:
            order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed * 7919 + step // a_round))
        yield order[step % a_round * size :][:size]
