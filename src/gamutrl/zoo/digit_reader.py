"""Trains the reader of handwritten digits (`rewards.digits`) on scikit-learn's scans, the held-out fifth left out.

`python -m gamutrl.zoo.digit_reader` writes its weights into the package and prints its held-out accuracy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, nll_loss

from gamutrl.data.worlds import pictures, render
from gamutrl.data.worlds.base import Split
from gamutrl.rewards.digits import NONE, WEIGHTS, DigitReader

_SIDE = 16


def scans(split: Split) -> tuple[Tensor, Tensor]:
    """A split's scans, `[B, 1, 16, 16]` in [0, 1], and their digits."""
    of_digit = render.scans(split)
    numbers = [scan for found in of_digit for scan in found]
    shown = torch.tensor([digit for digit, found in enumerate(of_digit) for _ in found])
    return torch.from_numpy(np.stack([render.digit_stamp(scan) for scan in numbers]))[:, None], shown


def worn(scan_B: Tensor, generator: torch.Generator) -> Tensor:
    """Scans in other places and sizes, with other grounds and inks, blurred, with noise: as a generator draws them."""

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(scan_B), 1, 1, 1, generator=generator)

    side = drawn(0.6, 1.0)[:, 0, 0]
    shift = [drawn(-0.16, 0.16)[:, 0, 0] for _ in range(2)]
    zero = torch.zeros_like(side)
    rows = (torch.cat([1 / side, zero, shift[0]], 1), torch.cat([zero, 1 / side, shift[1]], 1))
    placed = grid_sample(
        scan_B, affine_grid(torch.stack(rows, 1), list(scan_B.shape), align_corners=False), align_corners=False
    )
    soft = drawn(0, 1)
    blurred = (1 - soft) * placed + soft * avg_pool2d(placed, 3, stride=1, padding=1)
    return _inked(blurred, drawn, generator)


def without_digit(scan_B: Tensor, generator: torch.Generator) -> Tensor:
    """Grounds, noise, two digits in one picture, halves of digits, pixels out of place; in equal parts."""
    count = len(scan_B)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    rough = avg_pool2d(torch.rand(scan_B.shape, generator=generator), 3, stride=1, padding=1)
    half = scan_B.clone()
    half[::2, :, :8] = 0
    half[1::2, :, :, 8:] = 0
    mixed = scan_B.flatten(1)[:, torch.randperm(_SIDE * _SIDE, generator=generator)].view_as(scan_B)
    square = torch.zeros_like(scan_B)
    square[..., 2:9, 3:10] = 1
    kinds = (
        drawn(0, 1).expand_as(scan_B),
        rough,
        torch.maximum(scan_B.roll(-5, 3), scan_B.roll(count // 2, 0).roll(5, 3)),
        half,
        mixed,
        square.roll((3, 2), (2, 3)),
    )
    chosen = torch.arange(count) % len(kinds)
    picked = torch.stack(kinds)[chosen, torch.arange(count)]
    return _inked(picked, drawn, generator)


def _inked(level_B: Tensor, drawn: Callable[[float, float], Tensor], generator: torch.Generator) -> Tensor:
    low, high = drawn(0, 0.15), drawn(0.65, 1.0)
    noise = drawn(0, 0.1) * torch.randn(level_B.shape, generator=generator)
    return (low + (high - low) * level_B + noise).clamp(0, 1)


def train(*, seed: int = 0, steps: int = 450, batch: int = 128) -> DigitReader:
    """A reader trained from nothing; an eighth of what it sees shows no digit."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = DigitReader()
    scan_B, shown_B = scans("train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(scan_B), (batch,), generator=generator)
        others = chosen[: batch // 8]
        seen = torch.cat([worn(scan_B[chosen], generator), without_digit(scan_B[others], generator)])
        wanted = torch.cat([shown_B[chosen], torch.full((len(others),), NONE)])
        loss = nll_loss(model(seen), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def accuracy(model: DigitReader, split: Split = "test") -> dict[str, float]:
    """How often the model is right about a split: scans as the world draws them, worn ones, and what is no digit."""
    generator = torch.Generator().manual_seed(1)
    scan_B, shown_B = scans(split)
    box = [0.125, 0.125, 0.875, 0.875]
    drawn = [
        pictures.draw([{"digit": digit, "scan": scan, "box": box}], 32)
        for digit, found in enumerate(render.scans(split))
        for scan in found
    ]
    clean = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return {
            "drawn": float((model(clean).argmax(1) == shown_B).float().mean()),
            "worn": float((model(worn(scan_B, generator)).argmax(1) == shown_B).float().mean()),
            "no digit": float((model(without_digit(scan_B, generator)).argmax(1) == NONE).float().mean()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    model = train(seed=args.seed)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, args.out)
    print(", ".join(f"{name} {value:.3f}" for name, value in accuracy(model).items()))


if __name__ == "__main__":
    main()
