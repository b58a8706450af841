"""Rollouts as a page: what `gamut rollout --out` writes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gamutrl.core import Batch
from gamutrl.report.page import fill, write
from gamutrl.report.pictures import Pictures
from gamutrl.report.story import asked, told
from gamutrl.training.samples import describe_prompt, describe_rollout


def write_rollouts(
    batch: Batch, rewards: Sequence[Mapping[str, float | None]], about: Mapping[str, Any], file: Path
) -> Path:
    """Write a batch's rollouts, row by row, to one self-contained page.

    rewards: of each rollout, by name. about: `title` and `change` of the system, and its name as `system`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = Pictures(folder)
        rows = []
        for p, prompt in enumerate(batch.prompts):
            row = describe_prompt(prompt, folder)
            numbers = [r for r in range(len(batch.rollouts)) if int(batch.prompt_R[r]) == p]
            rollouts = []
            for r in numbers:
                values = {key: math.nan if value is None else value for key, value in rewards[r].items()}
                total = {"total": values.pop("total")} if "total" in values else {}
                rollouts.append(told(describe_rollout(batch.rollouts[r], folder, total | values), pictures, row))
            rows.append((asked(row, pictures), rollouts))
        page = fill(
            "rollouts.html.j2", title=about.get("system") or "rollouts", about=about, rows=rows, pictures=pictures
        )
        return write(page, file)
