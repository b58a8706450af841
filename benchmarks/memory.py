"""How near the estimate of `gamut train --dry-run` comes to what a step takes.

One step of the setting shared by the benchmarks (`setting.py`): resident memory at its highest, less what the process
held before the model was loaded; on a GPU, what was allocated there.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/memory.py [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from setting import PROMPTS, SHAPE, Ours
from transformers.utils import logging as transformers_logging

from gamutrl.cli.memory import GIB, estimate, skeleton
from gamutrl.policies.models import TextModel
from gamutrl.training.session import peak_memory_gib
from gamutrl.zoo import random


def resident_gib() -> float:
    """What the process holds now."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / GIB
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / GIB


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = options.parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        folder = random.build("qwen2_5_vl", Path(scratch) / "model", scale=1.0, **SHAPE)
        model = TextModel(str(folder), dtype="float32")
        module = skeleton(model)
        before = resident_gib()
        ours = Ours(folder, Path(scratch))
        ours.step()
        measured = peak_memory_gib() - before
        tokens = max(len(ours.policy.segments.prompt(prompt.messages)) for prompt in ours.prompts)
    told = estimate(model, module, replace(ours.stage, prompts_per_step=PROMPTS), tokens)
    estimated = told.total / GIB
    result = {
        "ratio": estimated / measured,
        "estimated_gib": estimated,
        "measured_gib": measured,
        "parts_gib": {name: size / GIB for name, size in told.parts.items()},
        "device": told.device,
    }
    if chosen.json:
        print(json.dumps(result))
        return
    for name, size in result["parts_gib"].items():
        print(f"  {name:22}{size:8.3f} GiB")
    print(f"{'estimated':24}{estimated:8.3f} GiB\n{'measured':24}{measured:8.3f} GiB on {told.device}")
    print(f"ratio {result['ratio']:.2f}")


if __name__ == "__main__":
    main()
