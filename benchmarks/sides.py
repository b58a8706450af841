"""What benchmarks of one step against another's have in common: our step, steps taken in turn, the table, the JSON."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from gamutrl.core import Batch, Prompt
from gamutrl.policies.base import Policy
from gamutrl.training.rl import RL
from gamutrl.training.session import Session
from gamutrl.training.update import update

Step = dict[str, float]
"""What one step took: wall seconds ("step"), CPU seconds ("cpu"), seconds of its parts, counts."""

TOLERANCE = {"gradients": 1e-3}
"""How far the two sides may be apart, 1e-4 unless it says more; gradients are small differences of large sums."""

PARTS = ("encode", "rollout", "reference", "update")


class Gamut:
    """Our side: the stage's own functions, called in their order."""

    def __init__(self, policy: Policy, stage: RL, prompts: list[Prompt], scratch: Path) -> None:
        self.policy, self.stage, self.prompts = policy, stage, prompts
        self.session = Session(scratch, {"policy": policy})
        self.optimizer = stage.optimizer.build(policy.parameters())
        for reference in stage.all_references():
            policy.keep_reference(reference.name)
        self.count = 0
        self.batch: Batch

    def step(self) -> Step:
        """One step; the seconds of its parts."""
        context = self.session.context(self.count, 1000)
        self.count += 1
        marks = [time.perf_counter()]
        with torch.no_grad():
            batch = self.stage.rollout(self.stage, self.prompts, context)
            batch = self.stage.with_advantage(self.stage.score(context, batch), context)
            marks.append(time.perf_counter())
            self.batch = self.stage.prepare(self.stage, batch, context)
        marks.append(time.perf_counter())
        update(self.stage, self.policy, self.optimizer, self.batch, context, self.session)
        marks.append(time.perf_counter())
        parts = [after - before for before, after in itertools.pairwise(marks)]
        return dict(zip(("rollout", "reference", "update"), parts)) | {"tokens": float(self.batch.mask_NT.sum())}


def options(description: str, steps: int) -> argparse.ArgumentParser:
    """The options that all of them take."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--steps", type=int, default=steps, help="timed steps of each side (one more warms up)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def chosen(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given, with threads set and libraries quiet."""
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return given


def timed(step: Callable[[], Step]) -> Step:
    """A step with its wall and CPU seconds."""
    began, cpu = time.perf_counter(), time.process_time()
    parts = step()
    return {"step": time.perf_counter() - began, "cpu": time.process_time() - cpu, **parts}


def median(steps: Sequence[Step]) -> Step:
    return {key: statistics.median(step[key] for step in steps) for key in steps[0]}


def against(theirs: Sequence[Step], ours: Sequence[Step], name: str) -> dict[str, Any]:
    """Two sides' timed steps as figures: `ratio` is how many times as fast ours is."""
    sides = {name: median(theirs), "gamut": median(ours)}
    result: dict[str, Any] = {
        f"{kind}ratio": sides[name][key] / sides["gamut"][key] for kind, key in (("", "step"), ("cpu_", "cpu"))
    }
    for side, middle in sides.items():
        result |= {f"{side}_seconds": middle["step"], f"{side}_cpu_seconds": middle["cpu"]}
        if parts := {key: middle[key] for key in PARTS if key in middle}:
            result[f"{side}_parts"] = parts
    fastest = (min(step["step"] for step in steps) for steps in (theirs, ours))
    return result | {"fastest_seconds": dict(zip(sides, fastest))}


def table(result: Mapping[str, Any], title: str = "") -> None:
    """The figures of `against` as lines: each side, and its parts below it."""
    print(f"{title:20}{'median s':>10}{'fastest s':>11}{'CPU s':>8}")
    for side, fastest in result["fastest_seconds"].items():
        print(f"{side:20}{result[f'{side}_seconds']:10.3f}{fastest:11.3f}{result[f'{side}_cpu_seconds']:8.2f}")
        for key, seconds in result.get(f"{side}_parts", {}).items():
            print(f"  {key:18}{seconds:10.3f}")
    print(f"ratio {result['ratio']:.2f} (of CPU time {result['cpu_ratio']:.2f})")


def tell(result: Mapping[str, Any], as_json: bool, lines: Callable[[], None], differences: Mapping[str, float]) -> None:
    """The result, as JSON or as lines; exits with an error where the two sides do not compute the same."""
    if as_json:
        print(json.dumps({**result, "largest_differences": differences}))
    else:
        lines()
        for name, difference in differences.items():
            print(f"{name} differ by at most {difference:.1e}")
    if any(not difference < TOLERANCE.get(name, 1e-4) for name, difference in differences.items()):
        sys.exit("The two sides do not compute the same: the times can't be compared.")
