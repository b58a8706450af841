"""Trains the reader of handwritten digits (`rewards.digits`) on scikit-learn's scans, the held-out fifth left out.

`python -m gamutrl.zoo.digit_reader` writes its weights into the package and prints its held-out accuracy.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torch import Tensor

from gamutrl.data.worlds import pictures, render
from gamutrl.data.worlds.base import Split
from gamutrl.rewards.digits import NONE, WEIGHTS, DigitReader

_SIDE = 16


def examples(split: Split, copies: int, seed: int, *, clean: bool = False) -> tuple[Tensor, Tensor]:
    """Every scan of a split `copies` times, `[B, 1, 16, 16]`, each seen another way, and what it shows.

    clean: as the world draws it, without noise, blur or pictures that show no digit.
    """
    rng = random.Random(seed)
    seen: list[NDArray[np.float32]] = []
    shown: list[int] = []
    for digit, scans in enumerate(render.scans(split)):
        for scan in scans * copies:
            side = 0.75 if clean else rng.uniform(0.6, 1.0)
            x, y = (min(max((1 - side) / 2 + rng.uniform(-0.08, 0.08), 0), 1 - side) for _ in range(2))
            thing = {"digit": digit, "scan": scan, "box": [x, y, x + side, y + side]}
            grey = pictures.draw([thing], 32).mean(2).reshape(_SIDE, 2, _SIDE, 2).mean((1, 3)) / 255
            seen.append(grey.astype(np.float32) if clean else _worn(grey, rng))
            shown.append(digit)
    if not clean:
        others = _without_digit(seen, rng, len(seen) // 8)
        seen, shown = seen + others, shown + [NONE] * len(others)
    return torch.from_numpy(np.stack(seen))[:, None], torch.tensor(shown)


def _worn(grey: NDArray, rng: random.Random) -> NDArray[np.float32]:
    """The picture with another ground and ink, blurred, with noise: as a generator might draw it."""
    noise = np.random.default_rng(rng.getrandbits(32))
    low, high = rng.uniform(0, 0.15), rng.uniform(0.65, 1.0)
    level = (grey - grey.min()) / max(float(np.ptp(grey)), 1e-6)
    worn = gaussian_filter(low + (high - low) * level, rng.uniform(0, 0.6))
    return (worn + noise.normal(0, rng.uniform(0, 0.1), worn.shape)).clip(0, 1).astype(np.float32)


def _without_digit(seen: list[NDArray[np.float32]], rng: random.Random, count: int) -> list[NDArray[np.float32]]:
    """Grounds, noise, shapes, two digits in one picture, halves of digits, pixels out of place."""
    made = []
    for i in range(count):
        one, other = rng.sample(seen, 2)
        noise = np.random.default_rng(rng.getrandbits(32))
        match i % 6:
            case 0:
                made.append(_worn(np.full((_SIDE, _SIDE), rng.random()), rng))
            case 1:
                rough = noise.random((_SIDE, _SIDE))
                made.append(_worn(gaussian_filter(rough, rng.uniform(0, 2)), rng))
            case 2:
                row = pictures.rows("train", 1, rng.getrandbits(30), task="any")[0]
                shape = pictures.draw(pictures.placed(row), 32).mean(2).reshape(_SIDE, 2, _SIDE, 2).mean((1, 3))
                made.append(_worn(shape / 255, rng))
            case 3:
                made.append(np.maximum(one, np.roll(other, rng.choice((-5, 5)), rng.randrange(2))))
            case 4:
                half = one.copy()
                half[rng.choice((slice(0, 8), slice(8, 16)))] = one.min()
                made.append(half)
            case _:
                made.append(noise.permuted(one.ravel()).reshape(one.shape).astype(np.float32))
    return made


def train(*, seed: int = 0, copies: int = 24, epochs: int = 6) -> DigitReader:
    """A reader trained from nothing."""
    torch.manual_seed(seed)
    model = DigitReader()
    seen_BCHW, shown_B = examples("train", copies, seed)
    steps = epochs * (len(seen_BCHW) // 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        if step % (len(seen_BCHW) // 128) == 0:
            order_B = torch.randperm(len(seen_BCHW))
        at = step % (len(seen_BCHW) // 128) * 128
        chosen = order_B[at : at + 128]
        loss = torch.nn.functional.nll_loss(model(seen_BCHW[chosen]), shown_B[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def accuracy(model: DigitReader, split: Split = "test", *, clean: bool = True) -> float:
    """How often the model is right about a split's scans, as the world draws them or worn."""
    seen_BCHW, shown_B = examples(split, 1, 1, clean=clean)
    with torch.no_grad():
        return float((model(seen_BCHW).argmax(1) == shown_B).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    model = train(seed=args.seed)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, args.out)
    print(f"held-out scans {accuracy(model):.4f}, worn (no digit among them) {accuracy(model, clean=False):.4f}")


if __name__ == "__main__":
    main()
